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
    public async Task A_migration_waits_as_long_as_it_takes_for_its_turn_and_in_short_turns_for_its_tables()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.RunAsync("delete from platform.migrations where name = '0009_api_key_ends.sql'");
        await using var other = new NpgsqlConnection(database.Settings.Admin);
        await other.OpenAsync();
        await using var held = await other.BeginTransactionAsync();
        await new NpgsqlCommand("select pg_advisory_lock(x'4147454E4359'::bigint); lock table platform.api_keys in access share mode", other).ExecuteNonQueryAsync();

        var impatient = new NpgsqlConnectionStringBuilder(database.Settings.Admin) { CommandTimeout = 1 }.ConnectionString;
        var migrating = Migrator.RunAsync(new PostgresSettings(impatient, database.Settings.App, database.Settings.System), [], null, CancellationToken.None);
        await WaitsAsync("advisory", true);
        await Task.Delay(TimeSpan.FromSeconds(2));
        Assert.False(migrating.IsCompleted);

        await new NpgsqlCommand("select pg_advisory_unlock(x'4147454E4359'::bigint)", other).ExecuteNonQueryAsync();
        await WaitsAsync("relation", true);
        // Who comes after it waits no longer than it does.
        await WaitsAsync("relation", false);
        Assert.False(migrating.IsCompleted);
        await held.RollbackAsync();
        Assert.Equal(1, await migrating);

        Task WaitsAsync(string what, bool expected) => HttpTesting.EventuallyAsync(
            () => database.ScalarAsync<bool>($"select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and wait_event = '{what}')"),
            waits => waits == expected);
    }

    [Fact]
    public async Task Keys_that_keys_have_made_before_they_were_bound_end_with_their_makers()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.RunAsync("""
            delete from platform.migrations where name = '0009_api_key_ends.sql';
            insert into platform.api_keys (id, tenant_id, name, prefix, secret_hash, scopes, created_by, made_by, expires_at)
            select id, 'acme', name, name, sha256(name::bytea), '{}', created_by, made_by::uuid, expires_at::timestamptz from (values
              (gen_random_uuid(), 'by a user', 'me', null, null),
              ('00000000-0000-0000-0000-000000000001', 'ends', 'me', null, '2100-01-01Z'),
              ('00000000-0000-0000-0000-000000000002', 'made by it', 'api-key:00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', null),
              (gen_random_uuid(), 'made by that', 'api-key:00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000002', '2101-01-01Z'),
              (gen_random_uuid(), 'ends before', 'api-key:00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001', '2099-01-01Z'),
              (gen_random_uuid(), 'of a key that is gone', 'api-key:00000000-0000-0000-0000-000000000009', null, null)
            ) as k (id, name, created_by, made_by, expires_at)
            """);
        Assert.Equal(1, await Migrator.RunAsync(database.Settings, [], null, CancellationToken.None));
        Assert.Equal(
            ["by a user: never", "ends: 2100", "ends before: 2099", "made by it: 2100", "made by that: 2100", "of a key that is gone: now"],
            await database.QueryAsync<string>("""
                select name || ': ' || case when expires_at <= now() then 'now' else coalesce(to_char(expires_at at time zone 'UTC', 'YYYY'), 'never') end
                from platform.api_keys order by name collate "C"
                """));
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
