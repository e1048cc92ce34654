using Agency.Platform;

namespace Agency.Analytics;

/// <summary>What has been tracked and not yet counted.</summary>
public static class PendingEvents
{
    /// <summary>Takes batches for counting: from now on, if the transaction commits, they count. The organisation's lock is held.</summary>
    /// <param name="batches">As the log has them. Of a batch that is not pending nothing is taken.</param>
    /// <returns>Each event and whom it counts for.</returns>
    public static async Task<IReadOnlyList<(TrackedEvent Event, long? Visitor)>> TakeAsync(
        UnitOfWork work, Dictionary<Guid, IReadOnlyList<TrackedEvent>> batches, CancellationToken cancel)
    {
        if (batches.Count == 0)
            return [];
        var pending = await work.QueryAsync(
            $"delete from analytics.pending_batches where batch_id = any({batches.Keys.ToArray()}) returning batch_id, first_at, last_at, purged",
            row => (Batch: row.GetGuid(0), First: row.GetFieldValue<DateTime>(1), Last: row.GetFieldValue<DateTime>(2), Purged: row.GetBoolean(3)),
            cancel);
        var events = new List<TrackedEvent>();
        foreach (var (batch, first, last, purged) in pending)
            events.AddRange(purged
                ? (await EventRows.ReadAsync(work, $"e.occurred_at >= {first} and e.occurred_at <= {last} and e.batch_id = {batch}", cancel)).Select(r => r.Event)
                : batches[batch]);
        return await Identities.ResolveAsync(work, events, cancel);
    }
}
