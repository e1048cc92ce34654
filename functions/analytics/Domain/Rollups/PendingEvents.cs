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
            $"delete from analytics.pending_batches where batch_id = any({batches.Keys.ToArray()}) returning batch_id, purged",
            row => (Batch: row.GetGuid(0), Purged: row.GetBoolean(1)),
            cancel);
        var events = new List<TrackedEvent>();
        foreach (var (batch, purged) in pending)
            // Which may have been read before it was redacted, or after.
            events.AddRange(purged && batches[batch].Count > 0
                ? (await EventRows.ReadAsync(work, $"{EventRows.Among(batches[batch])} and e.batch_id = {batch}", cancel)).Select(r => r.Event)
                : batches[batch]);
        return await Identities.ResolveAsync(work, events, cancel);
    }
}
