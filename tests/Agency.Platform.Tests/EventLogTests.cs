using Agency.Embedded;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Platform.Tests;

/// <summary>The two holes of a log read by identity or transaction id, and what follows when writers die.</summary>
public sealed class EventLogTests
{
    [Fact]
    public async Task An_event_that_commits_after_a_later_id_is_not_skipped()
    {
        await using var database = await TestDatabase.CreateAsync(typeof(Counters).Assembly);
        await using var slow = await OpenAsync(database);
        await using var quick = await OpenAsync(database);
        await using var slowTransaction = await slow.BeginTransactionAsync();
        await InsertAsync(slow, "slow", 1);
        await InsertAsync(quick, "quick", 1);
        Assert.Equal(["quick:1"], await SequencedAsync(database));
        await slowTransaction.CommitAsync();
        Assert.Equal(["quick:1", "slow:1"], await SequencedAsync(database));
    }

    [Fact]
    public async Task Versions_keep_their_order_when_transaction_ids_do_not()
    {
        await using var database = await TestDatabase.CreateAsync(typeof(Counters).Assembly);
        await using var early = await OpenAsync(database);
        await using var late = await OpenAsync(database);
        await using var earlyTransaction = await early.BeginTransactionAsync();
        // The transaction that writes the second version has the lower transaction id.
        await new NpgsqlCommand("select pg_current_xact_id()", early).ExecuteNonQueryAsync();
        await InsertAsync(late, "s", 1);
        await InsertAsync(early, "s", 2);
        await earlyTransaction.CommitAsync();
        Assert.Equal(["s:1", "s:2"], await SequencedAsync(database));
    }

    [Fact]
    public async Task A_version_is_recorded_once()
    {
        await using var database = await TestDatabase.CreateAsync(typeof(Counters).Assembly);
        await using var connection = await OpenAsync(database);
        await InsertAsync(connection, "s", 1);
        var refused = await Assert.ThrowsAsync<PostgresException>(() => InsertAsync(connection, "s", 1));
        Assert.Equal(PostgresErrorCodes.UniqueViolation, refused.SqlState);
    }

    [Fact]
    public async Task A_rolled_back_command_leaves_no_event()
    {
        await using var host = await Counters.StartAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() =>
            Counters.BumpAsync(host.Services, "c", beforeCommit: () => throw new InvalidOperationException("crash before commit")));
        await Counters.BumpAsync(host.Services, "d");
        Assert.Equal(["d:1"], await Counters.EventuallyAsync(host.Database, nameof(NoteEffect), 1));
        Assert.Equal(0, await host.Database.ScalarAsync<long>("select count(*) from test.counters where id = 'c'"));
    }

    [Fact]
    public async Task Every_group_sees_every_event_once_and_in_order_while_writers_are_killed()
    {
        const int Subjects = 12, Writers = 8, Bumps = 60;
        await using var host = await Counters.StartAsync();
        using var stop = new CancellationTokenSource();
        var killer = KillConnectionsAsync(host.Database, stop.Token);
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(async () =>
        {
            var random = new Random(writer);
            for (var i = 0; i < Bumps; i++)
            {
                try
                {
                    await Counters.BumpAsync(
                        host.Services, $"s{random.Next(Subjects)}", beforeCommit: () => Task.Delay(random.Next(0, 8)));
                }
                catch (NpgsqlException)
                {
                    // The killer's work: whether this one committed is what the table will say.
                }
            }
        })));
        await stop.CancelAsync();
        Assert.True(await killer > 0);

        var expected = await host.Database.QueryAsync<string>("select id || ':' || v from test.counters, generate_series(1, version) v");
        foreach (var consumer in new[] { nameof(NoteEffect), nameof(NoteEffects) })
        {
            var effects = await Counters.EventuallyAsync(host.Database, consumer, expected.Count);
            Assert.Equal(expected.Order(), effects.Order());
            foreach (var subject in effects.Select(e => e.Split(':')).GroupBy(e => e[0], e => int.Parse(e[1])))
                Assert.Equal(subject.Order(), subject);
        }
    }

    [Fact]
    public async Task A_group_whose_reading_fails_reads_on()
    {
        await using var host = await Counters.StartAsync();
        // Sequences are not rolled back: the first time that the group keeps its place it fails, and no other time.
        await host.Database.RunAsync($"""
            create sequence test.failures;
            grant usage on sequence test.failures to public;
            create function test.fail_once() returns trigger language plpgsql as $f$
            begin
              if nextval('test.failures') = 1 then
                raise exception 'once';
              end if;
              return new;
            end $f$;
            create trigger fail_once before insert on embedded.consumer_offsets for each row
              when (new.group_name = '{nameof(NoteEffects)}') execute function test.fail_once();
            """);
        await Counters.BumpAsync(host.Services, "c");
        await Counters.EventuallyAsync(host.Database, nameof(NoteEffects), 1);
        await HttpTesting.EventuallyAsync(() => host.Database.ScalarAsync<bool>("select is_called from test.failures"), called => called);
        await Counters.BumpAsync(host.Services, "c");
        Assert.Equal(["c:1", "c:2"], await Counters.EventuallyAsync(host.Database, nameof(NoteEffects), 2));
    }

    [Fact]
    public async Task Reading_everything_again_changes_nothing()
    {
        await using var database = await TestDatabase.CreateAsync(typeof(Counters).Assembly);
        await using (var host = await Counters.StartAsync(database))
        {
            for (var i = 0; i < 20; i++)
                await Counters.BumpAsync(host.Services, $"s{i % 3}");
            await Counters.EventuallyAsync(database, nameof(NoteEffect), 20);
            await Counters.EventuallyAsync(database, nameof(NoteEffects), 20);
        }

        // As after a crash between the effect and the offset.
        await database.RunAsync("update embedded.consumer_offsets set position = 0");
        // A host without the consumers, so that old and new records come to them in one batch.
        await using (var writer = await TestHost.StartAsync([typeof(ListDeadLetters).Assembly], database))
        {
            await Counters.BumpAsync(writer.Services, "last");
            await HttpTesting.EventuallyAsync(
                () => database.ScalarAsync<long>("select count(*) from platform.events where position is null"), unread => unread == 0);
        }

        await using (var host = await Counters.StartAsync(database))
        {
            Assert.Equal(21, (await Counters.EventuallyAsync(database, nameof(NoteEffect), 21)).Count);
            Assert.Equal(21, (await Counters.EventuallyAsync(database, nameof(NoteEffects), 21)).Count);
        }
    }

    [Fact]
    public async Task Two_hosts_share_a_group_without_doubles()
    {
        await using var database = await TestDatabase.CreateAsync(typeof(Counters).Assembly);
        await using var one = await Counters.StartAsync(database);
        await using (var two = await Counters.StartAsync(database))
            await Task.WhenAll(Enumerable.Range(0, 60).Select(i => Counters.BumpAsync((i % 2 == 0 ? one : two).Services, $"s{i % 5}")));
        Assert.Equal(60, (await Counters.EventuallyAsync(database, nameof(NoteEffect), 60)).Count);
        await Task.Delay(300);
        Assert.Equal(60, (await Counters.EffectsAsync(database, nameof(NoteEffect))).Count);
    }

    private static async Task<int> KillConnectionsAsync(TestDatabase database, CancellationToken stop)
    {
        var killed = 0;
        await using var admin = NpgsqlDataSource.Create(database.Settings.Admin);
        while (!stop.IsCancellationRequested)
        {
            await Task.Delay(20, CancellationToken.None);
            await using var command = admin.CreateCommand("""
                select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and application_name = 'agency'
                order by random() limit 1
                """);
            killed += await command.ExecuteScalarAsync(CancellationToken.None) is true ? 1 : 0;
        }

        return killed;
    }

    private static async Task<NpgsqlConnection> OpenAsync(TestDatabase database)
    {
        var connection = new NpgsqlConnection(database.Settings.System);
        await connection.OpenAsync();
        return connection;
    }

    private static async Task InsertAsync(NpgsqlConnection connection, string subject, long version)
    {
        await using var command = new NpgsqlCommand(
            "insert into platform.events (event_id, tenant_id, topic, type, subject, version, data) values ($1, 'acme', 't', 'x.v1', $2, $3, '{}')", connection);
        command.Parameters.Add(new() { Value = Guid.NewGuid() });
        command.Parameters.Add(new() { Value = subject });
        command.Parameters.Add(new() { Value = version });
        await command.ExecuteNonQueryAsync();
    }

    private static async Task<List<string>> SequencedAsync(TestDatabase database)
    {
        await using var connection = await OpenAsync(database);
        await Sequencer.SequenceAsync(connection, CancellationToken.None);
        return await database.QueryAsync<string>("select subject || ':' || version from platform.events where position is not null order by position");
    }
}
