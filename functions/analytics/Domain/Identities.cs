using Agency.Platform;

namespace Agency.Analytics;

/// <summary>Persons who go by several ids: an anonymous id that was identified as a user's, a former user id that is an alias.</summary>
public static class Identities
{
    /// <summary>Whom this visitor is known to be: another, or himself.</summary>
    public static async Task<long> ResolveAsync(UnitOfWork work, long visitor, CancellationToken cancel) =>
        await work.QueryFirstAsync($"select same_as from analytics.identities where visitor = {visitor}", row => (long?)row.GetInt64(0), cancel) ?? visitor;

    /// <summary>All numbers of the person that this visitor is.</summary>
    public static async Task<long[]> NumbersAsync(UnitOfWork work, long visitor, CancellationToken cancel)
    {
        var person = await ResolveAsync(work, visitor, cancel);
        return [person, .. await work.QueryAsync($"select visitor from analytics.identities where same_as = {person}", row => row.GetInt64(0), cancel)];
    }

    /// <summary>
    /// Whom each event counts for. An identity may have become known after the event was kept, so its row is brought up to date too.
    /// </summary>
    public static async Task<IReadOnlyList<(TrackedEvent Event, long? Visitor)>> ResolveAsync(
        UnitOfWork work, List<TrackedEvent> events, CancellationToken cancel)
    {
        var seen = events.ConvertAll(e => (Event: e, Visitor: Visitor.Of(e)));
        var known = (await work.QueryAsync(
            $"select visitor, same_as from analytics.identities where visitor = any({seen.Select(s => s.Visitor).OfType<long>().Distinct().ToArray()})",
            row => (row.GetInt64(0), row.GetInt64(1)),
            cancel)).ToDictionary();
        var others = known.Count == 0 ? [] : seen.FindAll(s => s.Visitor is { } visitor && known.ContainsKey(visitor));
        if (others.Count == 0)
            return seen;
        await work.ExecuteAsync(
            $"""
            update analytics.events e set visitor = known.visitor
            from unnest({others.ConvertAll(o => o.Event.Event).ToArray()}, {others.ConvertAll(o => o.Event.Time.UtcDateTime).ToArray()},
              {others.ConvertAll(o => o.Event.MessageId).ToArray()}, {others.ConvertAll(o => known[o.Visitor!.Value]).ToArray()})
              as known (name, occurred_at, message_id, visitor)
            where e.name = known.name and e.occurred_at = known.occurred_at and e.message_id = known.message_id and e.visitor <> known.visitor
            """,
            cancel);
        return seen.ConvertAll(s => (s.Event, s.Visitor is { } visitor && known.TryGetValue(visitor, out var other) ? other : s.Visitor));
    }

    /// <summary>Makes one visitor the same person as another from now on, and tells of it; <see cref="JoinAsync"/> brings his history after.</summary>
    /// <returns>False when he is known to be somebody else already.</returns>
    public static async Task<bool> SameAsync(UnitOfWork work, long visitor, long other, CancellationToken cancel)
    {
        // Whoever makes an alias of an alias waits for the first, so that the table stays flat.
        await work.ExecuteAsync($"select pg_advisory_xact_lock(hashtextextended('agency identities ' || current_setting('agency.tenant'), 0))", cancel);
        other = await ResolveAsync(work, other, cancel);
        var known = await ResolveAsync(work, visitor, cancel);
        if (known == other)
            return true;
        if (known != visitor)
            return false;
        await work.ExecuteAsync($"update analytics.identities set same_as = {other} where same_as = {visitor}", cancel);
        await work.ExecuteAsync($"insert into analytics.identities (visitor, same_as) values ({visitor}, {other})", cancel);
        work.Append(new VisitorsJoinedEvent(visitor), Guid.CreateVersion7(), 1);
        return true;
    }

    /// <summary>Makes the history of a visitor that of whom he is known to be. The organisation's lock is held.</summary>
    public static async Task JoinAsync(UnitOfWork work, long visitor, CancellationToken cancel)
    {
        var person = await ResolveAsync(work, visitor, cancel);
        var tables = new RollupTables(work);
        var history = (await tables.SessionsAsync([(visitor, DateTime.UnixEpoch, DateTime.UtcNow.AddYears(1))], cancel))[visitor].ToList();
        if (person == visitor || history.Count == 0)
            return;
        var (low, high) = (history[0].Start, history.Max(s => s.Last));
        var moved = await work.QueryAsync(
            $"""
            update analytics.events e set visitor = {person}
            from unnest({history.ConvertAll(s => s.Start).ToArray()}, {history.ConvertAll(s => s.Last).ToArray()}) as session (start, last)
            where {await EventRows.CountedAsync(work, new(low, high.AddMicroseconds(1)), cancel)}
              and e.occurred_at >= session.start and e.occurred_at <= session.last and e.visitor = {visitor}
            returning date_trunc('hour', e.occurred_at, 'UTC')
            """,
            row => row.GetFieldValue<DateTime>(0),
            cancel);
        var near = (await tables.SessionsAsync([(person, low - Session.Silence, high + Session.Silence)], cancel))[person].ToList();
        var joined = Session.Join([.. history, .. near]);
        var rollup = new Rollup();
        await tables.ReplaceSessionsAsync(
            rollup,
            [visitor, person],
            [.. history.Select(s => (visitor, s)), .. near.Except(joined).Select(s => (person, s))],
            [.. joined.Except(near).Select(s => (person, s))],
            cancel);
        await tables.AddSumsAsync(rollup, cancel);
        await tables.RecountMembersAsync(moved, cancel);
    }
}
