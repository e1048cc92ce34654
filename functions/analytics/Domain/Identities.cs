using Agency.Platform;

namespace Agency.Analytics;

/// <summary>Persons who go by several ids: an anonymous id that was identified as a user's, a former user id that is an alias.</summary>
public static class Identities
{
    /// <summary>
    /// Whom each event counts for. An identity may have become known after the event was kept, so its row is brought up to date too.
    /// </summary>
    public static async Task<IReadOnlyList<(TrackedEvent Event, long? Visitor)>> ResolveAsync(
        UnitOfWork work, List<TrackedEvent> events, CancellationToken cancel)
    {
        var ids = events.Where(e => e.UserId is not null || e.AnonymousId is not null).Select(KeyOf).Distinct().ToList();
        var known = ids.Count == 0 ? [] : (await work.QueryAsync(
            $"""
            select i.anonymous, i.id, i.user_id
            from unnest({ids.ConvertAll(i => i.Anonymous).ToArray()}, {ids.ConvertAll(i => i.Id).ToArray()}) as asked (anonymous, id)
            join analytics.identities i using (anonymous, id)
            """,
            row => ((row.GetBoolean(0), row.GetString(1)), Visitor.Of(row.GetString(2), anonymous: false)),
            cancel)).ToDictionary();
        if (known.Count == 0)
            return events.ConvertAll(e => (e, Visitor.Of(e)));
        var resolved = events.ConvertAll(e => (Event: e, Visitor: known.TryGetValue(KeyOf(e), out var user) ? user : Visitor.Of(e)));
        var others = resolved.FindAll(r => r.Visitor is not null && r.Visitor != Visitor.Of(r.Event));
        await work.ExecuteAsync(
            $"""
            update analytics.events e set visitor = known.visitor
            from unnest({others.ConvertAll(o => o.Event.Event).ToArray()}, {others.ConvertAll(o => o.Event.Time.UtcDateTime).ToArray()},
              {others.ConvertAll(o => o.Event.MessageId).ToArray()}, {others.ConvertAll(o => o.Visitor!.Value).ToArray()})
              as known (name, occurred_at, message_id, visitor)
            where e.name = known.name and e.occurred_at = known.occurred_at and e.message_id = known.message_id and e.visitor <> known.visitor
            """,
            cancel);
        return resolved;
    }

    private static (bool Anonymous, string Id) KeyOf(TrackedEvent e) => (e.UserId is null, e.UserId ?? e.AnonymousId ?? "");
}
