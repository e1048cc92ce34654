using Agency.Platform;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.Embedded;

/// <summary>
/// Follows the log from where it stands at start and takes out of this process's cache what any process has changed. It is no
/// consumer group: every process reads every event, and what was before the start was never in this cache.
/// </summary>
public sealed partial class CacheInvalidation(Database database, LogSignal signal, ReadCache cache, ILogger<CacheInvalidation> log) : BackgroundService
{
    private const int Batch = 1000;
    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(500);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var wake = signal.Register(LogSignal.Any);
        long? position = null;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                if (position is null)
                {
                    position = await HeadAsync(stoppingToken);
                    // What was read while it was not known where the log stands may have changed since.
                    cache.Clear();
                }

                var (read, last) = await EvictAsync(position.Value, stoppingToken);
                position = last;
                if (read < Batch)
                    await wake.WaitAsync(Poll, stoppingToken);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (NpgsqlException failure)
            {
                // Blind until the database answers again; the position is kept, so nothing is missed then.
                cache.Clear();
                LogAway(failure);
                await Task.Delay(TimeSpan.FromSeconds(1), stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task<long> HeadAsync(CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand("select position from platform.log_head");
        return (long)(await command.ExecuteScalarAsync(cancel))!;
    }

    private async Task<(int Read, long Last)> EvictAsync(long after, CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand(
            "select position, tenant_id, topic, subject from platform.events where position > $1 order by position limit $2");
        command.Parameters.Add(new() { Value = after });
        command.Parameters.Add(new() { Value = Batch });
        await using var reader = await command.ExecuteReaderAsync(cancel);
        var read = 0;
        for (; await reader.ReadAsync(cancel); read++)
        {
            after = reader.GetInt64(0);
            cache.Evict(reader.GetString(1), reader.GetString(2), reader.GetString(3));
        }

        return (read, after);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The cache cannot follow the log and is emptied; trying again in a second.")]
    private partial void LogAway(Exception failure);
}
