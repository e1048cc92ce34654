using Agency.Platform;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.Logging;

namespace Agency.Embedded;

/// <summary>
/// The event log on PostgreSQL alone: the outbox, read by position. A group's records are handled in parallel lanes by subject; the
/// offset is kept once a batch has ended. Parked records of the group are delivered again when they are due.
/// </summary>
public sealed partial class EmbeddedEventLog(Database database, LogSignal signal, GroupLock locks, ILogger<EmbeddedEventLog> log) : IEventLog
{
    private const int BatchSize = 256;
    private const int Lanes = 8;

    /// <summary>As stored, that is compressed: an event may be megabytes, and a batch is held in memory.</summary>
    private const long BatchBytes = 4 * 1024 * 1024;
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan ParkedPoll = TimeSpan.FromMilliseconds(250);

    /// <summary>How long a redelivery may take before another process may try the record too.</summary>
    private static readonly TimeSpan ParkedLease = TimeSpan.FromMinutes(2);

    public async Task SubscribeAsync(LogSubscription subscription, CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                if (await locks.TryTakeAsync(subscription.Group, subscription.Topic, stopping) is { } held)
                {
                    using var both = CancellationTokenSource.CreateLinkedTokenSource(stopping, held);
                    try
                    {
                        Task[] loops = [ReadAsync(subscription, both.Token), RedeliverAsync(subscription, both.Token)];
                        await Task.WhenAny(loops);
                        // When one fails the other would go on, and the group would read no more, or redeliver nothing.
                        await both.CancelAsync();
                        await Task.WhenAll(loops);
                    }
                    finally
                    {
                        await locks.ReleaseAsync(subscription.Group, subscription.Topic);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                // Stopping, or the lock is lost: the loop's condition tells which.
            }
            catch (Exception failure)
            {
                // Whatever it is: a group that stopped reading would stand still, and nobody would be told.
                LogAway(failure, subscription.Group);
            }

            await Task.Delay(Poll, stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task ReadAsync(LogSubscription subscription, CancellationToken stopping)
    {
        var wake = signal.Register(IsPattern(subscription.Topic) ? LogSignal.Any : subscription.Topic);
        var offset = await OffsetAsync(subscription, stopping);
        while (!stopping.IsCancellationRequested)
        {
            var records = await FetchAsync(subscription.Topic, offset, stopping);
            if (records.Count == 0)
            {
                await wake.WaitAsync(Poll, stopping);
                continue;
            }

            if (!await TryDeliverAsync(subscription, records))
            {
                // Handlers park what they cannot do, so this is an outage: the same records again, in a while.
                await Task.Delay(Poll, stopping);
                continue;
            }

            offset = records[^1].Offset;
            await KeepOffsetAsync(subscription, offset);
        }
    }

    private static bool IsPattern(string topic) => topic.StartsWith('^');

    private async Task<bool> TryDeliverAsync(LogSubscription subscription, List<KafkaRecord> records)
    {
        try
        {
            if (subscription.IsBatched)
            {
                await subscription.Deliver(records);
                return true;
            }

            // One lane handles one record after the other; a subject stays in its lane, so its order holds.
            await Task.WhenAll(records
                .GroupBy(r => (uint)string.GetHashCode(System.Text.Encoding.UTF8.GetString(r.Key), StringComparison.Ordinal) % Lanes)
                .Select(async lane =>
                {
                    await Task.Yield();
                    foreach (var record in lane)
                        await subscription.Deliver([record]);
                }));
            return true;
        }
        catch (Exception failure)
        {
            // The edge between the log and a function: the log goes on, whatever a function throws.
            LogUndelivered(failure, subscription.Group);
            return false;
        }
    }

    private async Task<long> OffsetAsync(LogSubscription subscription, CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand(
            "select position from embedded.consumer_offsets where group_name = $1 and topic = $2");
        command.Parameters.Add(new() { Value = subscription.Group });
        command.Parameters.Add(new() { Value = subscription.Topic });
        return await command.ExecuteScalarAsync(cancel) as long? ?? 0;
    }

    private async Task KeepOffsetAsync(LogSubscription subscription, long offset)
    {
        // Losing this in a crash costs a redelivery, which the inbox recognises; so the disk is not waited for.
        await using var batch = database.System.CreateBatch();
        batch.BatchCommands.Add(new("select set_config('synchronous_commit', 'off', true)"));
        batch.BatchCommands.Add(new("""
            insert into embedded.consumer_offsets (group_name, topic, position) values ($1, $2, $3)
            on conflict (group_name, topic) do update set position = excluded.position, updated_at = now()
            """)
        {
            Parameters = { new() { Value = subscription.Group }, new() { Value = subscription.Topic }, new() { Value = offset } },
        });
        await batch.ExecuteNonQueryAsync();
    }

    private async Task<List<KafkaRecord>> FetchAsync(string topic, long after, CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand($"""
            select position, event_id, type, tenant_id, subject, version, recorded_at, trace_parent, data, topic
            from (
              select e.*, sum(pg_column_size(data)) over (order by position) - pg_column_size(data) as bytes_before
              from (select * from platform.events where topic {(IsPattern(topic) ? "~" : "=")} $1 and position > $2 order by position limit $3) as e
            ) as sized
            where bytes_before < $4
            order by position
            """);
        command.Parameters.Add(new() { Value = topic });
        command.Parameters.Add(new() { Value = after });
        command.Parameters.Add(new() { Value = BatchSize });
        command.Parameters.Add(new() { Value = BatchBytes });
        await using var reader = await command.ExecuteReaderAsync(cancel);
        var records = new List<KafkaRecord>();
        while (await reader.ReadAsync(cancel))
            records.Add(new CloudEvent(
                reader.GetGuid(1), reader.GetString(9), reader.GetString(2), reader.GetString(3), reader.GetString(4), reader.GetInt64(5),
                reader.GetFieldValue<DateTimeOffset>(6), reader.IsDBNull(7) ? null : reader.GetString(7),
                reader.GetFieldValue<byte[]>(8)).ToRecord(reader.GetInt64(0)));
        return records;
    }

    private async Task RedeliverAsync(LogSubscription subscription, CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            var due = await TakeParkedAsync(subscription, stopping);
            foreach (var record in due)
                await TryDeliverAsync(subscription, [record]);
            if (due.Count == 0)
                await Task.Delay(ParkedPoll, stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>The oldest parked record of each subject, where it is due.</summary>
    private async Task<List<KafkaRecord>> TakeParkedAsync(LogSubscription subscription, CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand($"""
            update platform.parked p
            set next_attempt_at = now() + $3
            where id in (
              select id from platform.parked due
              where group_name = $1 and topic {(IsPattern(subscription.Topic) ? "~" : "=")} $2 and state <> 'dead' and next_attempt_at <= now()
                and not exists (
                  select from platform.parked older
                  where older.group_name = due.group_name and older.tenant_id = due.tenant_id and older.topic = due.topic
                    and older.subject = due.subject and older.id < due.id)
              order by next_attempt_at
              limit 32
              for update skip locked)
            returning id, headers, data, topic
            """);
        command.Parameters.Add(new() { Value = subscription.Group });
        command.Parameters.Add(new() { Value = subscription.Topic });
        command.Parameters.Add(new() { Value = ParkedLease });
        await using var reader = await command.ExecuteReaderAsync(cancel);
        var records = new List<KafkaRecord>();
        while (await reader.ReadAsync(cancel))
            records.Add(Inbox.Redelivery(reader.GetInt64(0), reader.GetString(3), reader.GetFieldValue<byte[]>(1), reader.GetFieldValue<byte[]>(2)));
        return records;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Group} cannot read the log; trying again in a second.")]
    private partial void LogAway(Exception failure, string group);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Group} took no delivery; the records will come again.")]
    private partial void LogUndelivered(Exception failure, string group);
}
