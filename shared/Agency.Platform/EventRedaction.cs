namespace Agency.Platform;

/// <summary>
/// Takes personal data out of events that have been recorded: wherever the platform keeps a copy, in the log, parked or queued for a
/// webhook. The event stays, with its id and place; what was delivered to others is beyond reach.
/// </summary>
public static class EventRedaction
{
    /// <summary>In the transaction that <paramref name="work"/> is in.</summary>
    /// <param name="work">The transaction.</param>
    /// <param name="topic">The events' topic.</param>
    /// <param name="subjects">The subjects, all of whose events are rewritten.</param>
    /// <param name="redact">From an event's data to what may stay of it, JSON, UTF-8.</param>
    /// <param name="cancel">Ends it; nothing is changed.</param>
    public static async Task RedactAsync(
        UnitOfWork work, string topic, string[] subjects, Func<ReadOnlyMemory<byte>, byte[]> redact, CancellationToken cancel)
    {
        var events = await work.QueryAsync(
            $"select event_id, data from platform.events where topic = {topic} and subject = any({subjects}) order by event_id for update",
            row => (Id: row.GetGuid(0), Data: redact(row.GetFieldValue<byte[]>(1))),
            cancel);
        // A copy may be there still where the log's own is gone.
        var copies = await work.QueryAsync(
            $"select event_id, data from platform.parked where topic = {topic} and subject = any({subjects}) for update",
            row => (Id: row.GetGuid(0), Data: redact(row.GetFieldValue<byte[]>(1))),
            cancel);
        foreach (var (id, data) in events.Concat(copies).DistinctBy(e => e.Id))
        {
            await work.ExecuteAsync($"update platform.events set data = {new Json(data)} where event_id = {id}", cancel);
            await work.ExecuteAsync($"update platform.parked set data = {data} where event_id = {id}", cancel);
            await work.ExecuteAsync($"update platform.webhook_deliveries set data = {new Json(data)} where event_id = {id}", cancel);
        }
    }

    /// <summary>
    /// An event's data for a copy of it, <c>bytea</c>: what the log has left of it where the log has it, as it may have been read before it was
    /// redacted. Until the transaction ends it is not redacted; whoever redacts it then finds the copy.
    /// </summary>
    public static Sql Current(CloudEvent e) =>
        $"coalesce((select convert_to(data::text, 'UTF8') from platform.events where event_id = {e.Id} for share), {e.Data.ToArray()})";
}
