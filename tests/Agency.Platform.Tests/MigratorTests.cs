using Agency.Testing;
using Npgsql;

namespace Agency.Platform.Tests;

public sealed class MigratorTests
{
    [Fact]
    public async Task Many_processes_may_migrate_at_once()
    {
        var settings = Fresh();
        var applied = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => Migrator.RunAsync(settings, [], null, CancellationToken.None)));
        Assert.Equal(Migration.In([]).Count, applied.Sum());
        Assert.Equal(0, await Migrator.RunAsync(settings, [], null, CancellationToken.None));
        await DropAsync(settings);
    }

    [Fact]
    public async Task A_migration_that_has_changed_since_is_refused()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.RunAsync("update platform.migrations set checksum = 'other' where domain = 'platform'");
        var refused = await Assert.ThrowsAsync<MigrationException>(() => Migrator.RunAsync(database.Settings, [], null, CancellationToken.None));
        Assert.Contains("platform/0001_platform.sql has changed", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_is_not_there_gets_a_sentence()
    {
        var refused = await Assert.ThrowsAsync<MigrationException>(() => Migrator.RunAsync(
            PostgresSettings.From("Host=127.0.0.1;Port=1;Username=u;Password=p;Database=d;Timeout=2"), [], null, CancellationToken.None));
        Assert.Contains("cannot be reached", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_connection_string_without_a_database_is_refused() =>
        Assert.Throws<ArgumentException>(() => PostgresSettings.From("Host=127.0.0.1;Username=u"));

    [Fact]
    public async Task The_apps_role_sees_nothing_without_an_organisation_and_cannot_become_another()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.RunAsync("""
            insert into platform.idempotency (tenant_id, caller, key, fingerprint) values ('acme', 'c', 'k', '')
            """);
        await using var app = NpgsqlDataSource.Create(database.Settings.App);
        Assert.Equal(0L, await ScalarAsync(app, "select count(*) from platform.idempotency"));
        Assert.Equal(1L, await ScalarAsync(app, "set agency.tenant = 'acme'; select count(*) from platform.idempotency"));
        await Assert.ThrowsAsync<PostgresException>(() => ScalarAsync(app, "set agency.tenant = 'acme'; insert into platform.idempotency (tenant_id, caller, key, fingerprint) values ('globex', 'c', 'k', '')"));
        await Assert.ThrowsAsync<PostgresException>(() => ScalarAsync(app, $"set role \"{new NpgsqlConnectionStringBuilder(database.Settings.System).Username}\""));
        await Assert.ThrowsAsync<PostgresException>(() => ScalarAsync(app, "select * from platform.sequence_events(1)"));
    }

    [Fact]
    public async Task Every_table_with_an_organisation_is_under_row_level_security()
    {
        await using var database = await TestDatabase.CreateAsync(typeof(Counters).Assembly);
        Assert.Empty(await database.QueryAsync<string>("""
            select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
              and not (c.relrowsecurity and c.relforcerowsecurity)
              and exists (select from information_schema.role_table_grants g
                          where g.table_schema = n.nspname and g.table_name = c.relname and g.grantee like '%\_app'
                            -- What belongs to nobody may be read by all.
                            and (g.privilege_type <> 'SELECT' or exists (
                              select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')))
            """));
    }

    private static async Task<object?> ScalarAsync(NpgsqlDataSource source, string sql)
    {
        await using var command = source.CreateCommand(sql);
        return await command.ExecuteScalarAsync();
    }

    private static PostgresSettings Fresh() => PostgresSettings.From(
        new NpgsqlConnectionStringBuilder(TestDatabase.Server) { Database = "m" + Guid.NewGuid().ToString("N") }.ConnectionString);

    private static async Task DropAsync(PostgresSettings settings)
    {
        var name = new NpgsqlConnectionStringBuilder(settings.Admin).Database;
        await using var server = NpgsqlDataSource.Create(TestDatabase.Server);
        await using var command = server.CreateCommand($"drop database {name} with (force)");
        await command.ExecuteNonQueryAsync();
    }
}
