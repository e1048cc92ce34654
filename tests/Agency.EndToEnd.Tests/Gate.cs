using System.Globalization;
using Agency.Testing;
using Npgsql;

namespace Agency.EndToEnd.Tests;

/// <summary>
/// Holds the host at a named point, from the database, until it is opened: a lock that some statement of the host needs. So a test can
/// kill the host exactly there, and the product has no code for it.
/// </summary>
internal sealed class Gate : IAsyncDisposable
{
    // Any number that no other lock in the database has.
    private const long Key = 707_070;
    private readonly Platform _platform;
    private readonly NpgsqlConnection _session;
    private readonly string _waiting;

    private Gate(Platform platform, NpgsqlConnection session, string waiting) => (_platform, _session, _waiting) = (platform, session, waiting);

    /// <summary>
    /// Rows of users and messages whose name or id starts with "before commit" wait inside their transaction, those with "at commit" in the
    /// commit itself, which PostgreSQL then completes whether or not the host lives to learn of it.
    /// </summary>
    public static Task InstallAsync(Platform platform) => platform.ExecuteAsync(string.Create(CultureInfo.InvariantCulture, $$"""
        create schema if not exists testing;
        create or replace function testing.hold() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock({{Key}}); return null; end';
        create or replace trigger hold_insert after insert on users.users for each row
          when (new.name like 'before commit%') execute function testing.hold();
        create or replace trigger hold_insert after insert on analytics.events for each row
          when (new.message_id like 'before commit%') execute function testing.hold();
        drop trigger if exists hold_commit on users.users;
        create constraint trigger hold_commit after insert on users.users deferrable initially deferred for each row
          when (new.name like 'at commit%') execute function testing.hold();
        drop trigger if exists hold_commit on analytics.events;
        create constraint trigger hold_commit after insert on analytics.events deferrable initially deferred for each row
          when (new.message_id like 'at commit%') execute function testing.hold();
        """));

    /// <summary>Closes the gate of the installed triggers.</summary>
    public static Task<Gate> CloseAsync(Platform platform) => CloseAsync(
        platform, string.Create(CultureInfo.InvariantCulture, $"select pg_advisory_lock({Key})"),
        string.Create(CultureInfo.InvariantCulture, $"locktype = 'advisory' and objid = {Key}"));

    /// <summary>Lets nobody write this table; it can be read.</summary>
    public static Task<Gate> CloseTableAsync(Platform platform, string table) => CloseAsync(
        platform, $"begin; lock table {table} in exclusive mode", $"locktype = 'relation' and relation = '{table}'::regclass");

    /// <summary>Waits until so many of the host's statements stand at the gate.</summary>
    public Task StandAtAsync(int sessions) => HttpTesting.EventuallyAsync(
        () => _platform.ScalarAsync<long>(
            $"select count(*) from pg_locks where not granted and {_waiting} and database = (select oid from pg_database where datname = current_database())"),
        waiting => waiting >= sessions);

    /// <summary>Opens it, whatever has become of those who wait.</summary>
    public async ValueTask DisposeAsync() => await _session.DisposeAsync();

    private static async Task<Gate> CloseAsync(Platform platform, string sql, string waiting)
    {
        // Without a pool the session, and so the lock, ends when it is closed.
        var session = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(platform.Settings.Admin) { Pooling = false }.ConnectionString);
        await session.OpenAsync();
        await using var command = new NpgsqlCommand(sql, session);
        await command.ExecuteNonQueryAsync();
        return new(platform, session, waiting);
    }
}
