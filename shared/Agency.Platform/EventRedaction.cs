using System.Text;

namespace Agency.Platform;

/// <summary>
/// Takes personal data out of events that have been recorded: wherever the platform keeps a copy, in the log, parked or queued for a
/// webhook. The event stays, with its id and place; what was delivered to others is beyond reach.
/// </summary>
public static class EventRedaction
{
    /// <summary>Subjects: an event may have megabytes.</summary>
    private const int AtATime = 20;

    /// <summary>In the transaction that <paramref name="work"/> is in.</summary>
    /// <param name="work">The transaction.</param>
    /// <param name="topic">The events' topic.</param>
    /// <param name="subjects">The subjects, all of whose events are rewritten.</param>
    /// <param name="redact">From an event's data to what may stay of it, JSON, UTF-8.</param>
    /// <param name="cancel">Ends it; nothing is changed.</param>
    public static async Task RedactAsync(
        UnitOfWork work, string topic, string[] subjects, Func<ReadOnlyMemory<byte>, byte[]> redact, CancellationToken cancel)
    {
        // In the order in which they are locked elsewhere, more or less: what they are about is as old as they are.
        foreach (var some in subjects.Order(StringComparer.Ordinal).Chunk(AtATime))
        {
            var events = await work.QueryAsync(
                $"select event_id, data from platform.events where topic = {topic} and subject = any({some}) order by event_id for update",
                row => (Id: row.GetGuid(0), Data: Encoding.UTF8.GetString(redact(row.GetFieldValue<byte[]>(1)))),
                cancel);
            // A copy may be there still where the log's own is gone.
            var copies = await work.QueryAsync(
                $"select event_id, data from platform.parked where topic = {topic} and subject = any({some}) for update",
                row => (Id: row.GetGuid(0), Data: Encoding.UTF8.GetString(redact(row.GetFieldValue<byte[]>(1)))),
                cancel);
            var redacted = events.Concat(copies).DistinctBy(e => e.Id).ToList();
            await work.ExecuteAsync(
                $"""
                with redacted as materialized (
                  select * from unnest({redacted.ConvertAll(r => r.Id).ToArray()}, {redacted.ConvertAll(r => r.Data).ToArray()}) as redacted (event_id, data)
                ), logged as (
                  update platform.events e set data = redacted.data::json from redacted where e.event_id = redacted.event_id
                ), parked as (
                  update platform.parked p set data = convert_to(redacted.data, 'UTF8') from redacted where p.event_id = redacted.event_id
                )
                update platform.webhook_deliveries d set data = redacted.data::json
                from platform.webhooks w cross join redacted where d.webhook_id = w.id and d.event_id = redacted.event_id
                """,
                cancel);
        }
    }

    /// <summary>
    /// An event's data for a copy of it, <c>bytea</c>: what the log has left of it where the log has it, as it may have been read before it was
    /// redacted. Until the transaction ends it is not redacted; whoever redacts it then finds the copy.
    /// </summary>
    public static Sql Current(CloudEvent e) =>
        $"coalesce((select convert_to(data::text, 'UTF8') from platform.events where event_id = {e.Id} for share), {e.Data.ToArray()})";
}
