using Agency.Platform;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.Embedded;

/// <summary>
/// Gives committed events their positions and tells who waits for them: readers in this process by a signal, those in others by
/// NOTIFY. Each process runs one; the database lets one at a time work. A writer never notifies inside its own transaction, since
/// PostgreSQL commits those one after the other.
/// </summary>
public sealed partial class Sequencer(Database database, LogSignal signal, ILogger<Sequencer> log) : BackgroundService, ICommitListener
{
    internal const string Channel = "agency_log";
    private const int Batch = 5000;

    /// <summary>Finds what a process that was killed after its commit has left.</summary>
    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(500);

    /// <summary>Under load, commits are gathered for so long.</summary>
    private static readonly TimeSpan Gather = TimeSpan.FromMilliseconds(2);

    private readonly SemaphoreSlim _committed = new(0, 1);
    private readonly string _me = Guid.NewGuid().ToString("N");

    public void Committed(IReadOnlyList<RecordedEvent> events)
    {
        if (_committed.CurrentCount > 0)
            return;
        try
        {
            _committed.Release();
        }
        catch (SemaphoreFullException)
        {
            // Another commit has asked already.
        }
    }

    /// <summary>Gives positions to all that is visible now.</summary>
    /// <returns>The topics that have something new.</returns>
    public static async Task<IReadOnlyCollection<string>> SequenceAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var topics = new HashSet<string>();
        while (true)
        {
            // No need to wait for the disk: whoever acts on a position commits later, and so flushes this commit too.
            await using var batch = new NpgsqlBatch(connection);
            batch.BatchCommands.Add(new("select set_config('synchronous_commit', 'off', true)"));
            batch.BatchCommands.Add(new("select topic, last_position from platform.sequence_events($1)") { Parameters = { new() { Value = Batch } } });
            await using var reader = await batch.ExecuteReaderAsync(cancel);
            await reader.NextResultAsync(cancel);
            var any = false;
            while (await reader.ReadAsync(cancel))
            {
                any = true;
                topics.Add(reader.GetString(0));
            }

            if (!any)
                return topics;
        }
    }

    public override void Dispose()
    {
        _committed.Dispose();
        base.Dispose();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(SequenceAsync(stoppingToken), ListenAsync(stoppingToken));

    private async Task SequenceAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                await _committed.WaitAsync(Poll, stopping);
                await Task.Delay(Gather, stopping);
                await using var connection = await database.System.OpenConnectionAsync(stopping);
                var topics = await SequenceAsync(connection, stopping);
                signal.WakeTopics(topics);
                if (topics.Count > 0)
                {
                    await using var notify = new NpgsqlCommand("select pg_notify($1, $2)", connection);
                    notify.Parameters.Add(new() { Value = Channel });
                    notify.Parameters.Add(new() { Value = string.Join(' ', topics.Prepend(_me)) });
                    await notify.ExecuteNonQueryAsync(stopping);
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception failure)
            {
                // Whatever it is: an end of one loop would be seen by nobody while the other goes on.
                LogAway(failure);
                await Task.Delay(TimeSpan.FromSeconds(1), stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task ListenAsync(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                await using var connection = database.NewSystemSession(keepAliveSeconds: 30);
                connection.Notification += (_, notification) =>
                {
                    // Our own readers have been woken already.
                    if (notification.Payload.Split(' ') is [var sender, .. var topics] && sender != _me)
                        signal.WakeTopics(topics);
                };
                await connection.OpenAsync(stopping);
                await using (var listen = new NpgsqlCommand($"listen {Channel}", connection))
                    await listen.ExecuteNonQueryAsync(stopping);
                while (true)
                    await connection.WaitAsync(stopping);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception failure)
            {
                LogAway(failure);
                await Task.Delay(TimeSpan.FromSeconds(1), stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The event log's database does not answer; trying again in a second.")]
    private partial void LogAway(Exception failure);
}
