using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using Npgsql;

namespace Agency.Platform;

/// <summary>The database cannot be brought to what this build needs; the message says why and what to do.</summary>
public sealed class MigrationException(string message, Exception? cause = null) : Exception(message, cause);

/// <summary>One embedded SQL file: <c>migrations/domain/0001_name.sql</c>.</summary>
public sealed record Migration(string Domain, string Name, string Sql)
{
    public string Checksum { get; } = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Sql)));

    /// <summary>Those of these assemblies, the platform's first, then by domain and name.</summary>
    public static IReadOnlyList<Migration> In(IEnumerable<Assembly> assemblies) =>
    [
        .. from assembly in assemblies.Append(typeof(Migration).Assembly).Distinct()
           from resource in assembly.GetManifestResourceNames()
           let parts = resource.Split('/')
           where parts is ["migrations", _, _]
           orderby parts[1] == "platform" ? 0 : parts[1] == "embedded" ? 1 : 2, parts[1], parts[2]
           select new Migration(parts[1], parts[2], Read(assembly, resource)),
    ];

    private static string Read(Assembly assembly, string resource)
    {
        using var reader = new StreamReader(assembly.GetManifestResourceStream(resource)!);
        return reader.ReadToEnd();
    }
}

/// <summary>Creates the database, its two roles and its tables, and applies what is new. Safe to run from many processes at once.</summary>
public static class Migrator
{
    /// <summary>Any number will do, as long as it stays the same.</summary>
    private const long Lock = 0x4147454E4359;

    // Who asks for a table behind a long reader holds up all that come after, so it is asked for again and again.
    private const string LockTimeout = "5s";
    private const int MaxLockWaits = 60;
    private static readonly TimeSpan BetweenLockWaits = TimeSpan.FromSeconds(1);

    /// <returns>How many migrations were applied.</returns>
    /// <exception cref="MigrationException">The server cannot be reached or refuses, or an applied migration's file has changed.</exception>
    public static async Task<int> RunAsync(
        PostgresSettings settings, IEnumerable<Assembly> withEmbeddedSql, Action<string>? progress, CancellationToken cancel)
    {
        try
        {
            await CreateDatabaseAsync(settings.Admin, cancel);
            await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(settings.Admin) { Pooling = false, CommandTimeout = 0 }.ConnectionString);
            await connection.OpenAsync(cancel);
            // However long another process migrates, and however much there is to change.
            await ExecuteAsync(connection, $"select pg_advisory_lock({Lock})", cancel);
            await ExecuteAsync(connection, Ledger, cancel);
            await ExecuteAsync(connection, Roles(settings), cancel);
            var count = await ApplyAsync(connection, Migration.In(withEmbeddedSql), progress, cancel);
            await using var types = new NpgsqlCommand("insert into platform.event_types select unnest($1) on conflict do nothing", connection);
            types.Parameters.Add(new() { Value = EventTypes.In(withEmbeddedSql) });
            await types.ExecuteNonQueryAsync(cancel);
            return count;
        }
        catch (PostgresException refused)
        {
            throw new MigrationException($"PostgreSQL refused the migration: {refused.MessageText} ({refused.SqlState}).", refused);
        }
        catch (NpgsqlException unreachable)
        {
            throw new MigrationException($"PostgreSQL cannot be reached: {unreachable.Message}. Check that it runs and the connection string.", unreachable);
        }
    }

    /// <summary>Those of these migrations that the database does not have yet; all of them when it has no ledger.</summary>
    public static async Task<IReadOnlyList<Migration>> PendingAsync(NpgsqlDataSource system, IReadOnlyList<Migration> migrations, CancellationToken cancel)
    {
        await using var command = system.CreateCommand("select domain || '/' || name from platform.migrations");
        var applied = new HashSet<string>();
        try
        {
            await using var reader = await command.ExecuteReaderAsync(cancel);
            while (await reader.ReadAsync(cancel))
                applied.Add(reader.GetString(0));
        }
        catch (PostgresException missing) when (missing.SqlState is PostgresErrorCodes.UndefinedTable or PostgresErrorCodes.InvalidSchemaName)
        {
            // An empty database: nothing has been applied.
        }

        return [.. migrations.Where(m => !applied.Contains($"{m.Domain}/{m.Name}"))];
    }

    private static async Task<int> ApplyAsync(
        NpgsqlConnection connection, IReadOnlyList<Migration> migrations, Action<string>? progress, CancellationToken cancel)
    {
        var applied = new Dictionary<(string, string), string>();
        await using (var command = new NpgsqlCommand("select domain, name, checksum from platform.migrations", connection))
        await using (var reader = await command.ExecuteReaderAsync(cancel))
            while (await reader.ReadAsync(cancel))
                applied.Add((reader.GetString(0), reader.GetString(1)), reader.GetString(2));

        var count = 0;
        foreach (var migration in migrations)
        {
            if (applied.TryGetValue((migration.Domain, migration.Name), out var checksum))
            {
                if (checksum != migration.Checksum)
                    throw new MigrationException(
                        $"The migration {migration.Domain}/{migration.Name} has changed since it was applied. Restore the file, and put the change in a new one.");
                continue;
            }

            progress?.Invoke($"{migration.Domain}/{migration.Name}");
            for (var waits = 1; !await TryApplyAsync(connection, migration, waits == MaxLockWaits, cancel); waits++)
                await Task.Delay(BetweenLockWaits, cancel);
            count++;
        }

        return count;
    }

    /// <returns>False when somebody else holds a table that it needs.</returns>
    private static async Task<bool> TryApplyAsync(NpgsqlConnection connection, Migration migration, bool isLast, CancellationToken cancel)
    {
        await using var transaction = await connection.BeginTransactionAsync(cancel);
        await ExecuteAsync(connection, $"create schema if not exists {migration.Domain}; select platform.open_schema('{migration.Domain}')", cancel);
        try
        {
            await ExecuteAsync(connection, $"set local lock_timeout = '{LockTimeout}'", cancel);
            await ExecuteAsync(connection, migration.Sql, cancel);
        }
        catch (PostgresException busy) when (busy.SqlState == PostgresErrorCodes.LockNotAvailable && !isLast)
        {
            return false;
        }
        catch (PostgresException failure)
        {
            throw new MigrationException(
                $"The migration {migration.Domain}/{migration.Name} failed and was undone: {failure.MessageText} ({failure.SqlState}, at character {failure.Position}).", failure);
        }

        await using var record = new NpgsqlCommand("insert into platform.migrations (domain, name, checksum) values ($1, $2, $3)", connection);
        record.Parameters.Add(new() { Value = migration.Domain });
        record.Parameters.Add(new() { Value = migration.Name });
        record.Parameters.Add(new() { Value = migration.Checksum });
        await record.ExecuteNonQueryAsync(cancel);
        await transaction.CommitAsync(cancel);
        return true;
    }

    private static async Task CreateDatabaseAsync(string adminConnectionString, CancellationToken cancel)
    {
        var settings = new NpgsqlConnectionStringBuilder(adminConnectionString) { Pooling = false };
        var name = settings.Database!;
        try
        {
            await using var probe = new NpgsqlConnection(settings.ConnectionString);
            await probe.OpenAsync(cancel);
        }
        catch (PostgresException missing) when (missing.SqlState == PostgresErrorCodes.InvalidCatalogName)
        {
            settings.Database = "postgres";
            await using var server = new NpgsqlConnection(settings.ConnectionString);
            await server.OpenAsync(cancel);
            try
            {
                await ExecuteAsync(server, $"create database {Quote(name)}", cancel);
            }
            catch (PostgresException raced) when (raced.SqlState is PostgresErrorCodes.DuplicateDatabase or PostgresErrorCodes.UniqueViolation)
            {
                // Another process has just created it.
            }
        }
    }

    private static async Task ExecuteAsync(NpgsqlConnection connection, string sql, CancellationToken cancel)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(cancel);
    }

    private static string Quote(string name) => "\"" + name.Replace("\"", "\"\"", StringComparison.Ordinal) + "\"";

    private static string Literal(string text) => "'" + text.Replace("'", "''", StringComparison.Ordinal) + "'";

    private const string Ledger = """
        create schema if not exists platform;
        create table if not exists platform.migrations (
          domain text not null, name text not null, checksum text not null, applied_at timestamptz not null default now(),
          primary key (domain, name));
        """;

    /// <summary>
    /// The roles, and the functions by which a migration says who may use a table. The policies name the system role, so that it
    /// sees all rows without the superuser's BYPASSRLS, which managed servers do not give.
    /// </summary>
    private static string Roles(PostgresSettings settings)
    {
        var app = new NpgsqlConnectionStringBuilder(settings.App);
        var system = new NpgsqlConnectionStringBuilder(settings.System);
        return string.Create(CultureInfo.InvariantCulture, $$"""
            do $roles$
            begin
              -- Two databases of one server may migrate at once; a role is the server's.
              perform pg_advisory_xact_lock({{Lock}} + 1);
              {{Role(app)}}
              {{Role(system)}}
              execute format('grant connect on database %I to {{Quote(app.Username!)}}, {{Quote(system.Username!)}}', current_database());
            end
            $roles$;
            create or replace function platform.open_schema(name text) returns void language plpgsql as $f$
            begin
              execute format('grant usage on schema %I to {{Quote(app.Username!)}}, {{Quote(system.Username!)}}', name);
            end $f$;
            create or replace function platform.secure_table(name regclass) returns void language plpgsql as $f$
            begin
              execute format('alter table %s enable row level security', name);
              execute format('alter table %s force row level security', name);
              execute format('create policy tenant on %s using (tenant_id = (select current_setting(''agency.tenant'', true)))', name);
              execute format('create policy system on %s to {{Quote(system.Username!)}} using (true) with check (true)', name);
              execute format('grant select, insert, update, delete on %s to {{Quote(app.Username!)}}, {{Quote(system.Username!)}}', name);
            end $f$;
            create or replace function platform.refuse_change() returns trigger language plpgsql as $f$
            begin
              raise exception 'The rows of %.% are never changed.', tg_table_schema, tg_table_name using errcode = 'insufficient_privilege';
            end $f$;
            create or replace function platform.append_only_table(name regclass) returns void language plpgsql as $f$
            begin
              perform platform.secure_table(name);
              execute format('revoke update, delete on %s from {{Quote(app.Username!)}}, {{Quote(system.Username!)}}', name);
              execute format('create trigger append_only before update or delete or truncate on %s execute function platform.refuse_change()', name);
              -- Also where a session has turned ordinary triggers off.
              execute format('alter table %s enable always trigger append_only', name);
            end $f$;
            create or replace function platform.system_table(name regclass) returns void language plpgsql as $f$
            begin
              execute format('grant select, insert, update, delete on %s to {{Quote(system.Username!)}}', name);
            end $f$;
            create or replace function platform.readable_table(name regclass) returns void language plpgsql as $f$
            begin
              execute format('grant select on %s to {{Quote(app.Username!)}}', name);
            end $f$;
            create or replace function platform.system_function(name regprocedure) returns void language plpgsql as $f$
            begin
              execute format('grant execute on function %s to {{Quote(system.Username!)}}', name);
            end $f$;
            grant usage on schema platform to {{Quote(app.Username!)}}, {{Quote(system.Username!)}};
            grant select on platform.migrations to {{Quote(system.Username!)}};
            revoke execute on all functions in schema platform from public;
            """);

        static string Role(NpgsqlConnectionStringBuilder role) => $"""
            if not exists (select from pg_roles where rolname = {Literal(role.Username!)}) then
                create role {Quote(role.Username!)} login password {Literal(role.Password!)};
              else
                alter role {Quote(role.Username!)} login password {Literal(role.Password!)};
              end if;
            """;
    }
}
