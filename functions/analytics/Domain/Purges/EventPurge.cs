using System.Text.Json;
using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics;

/// <summary>Which events are to go. What is null does not matter; something is given.</summary>
/// <param name="Visitors">All numbers of one person.</param>
/// <param name="Event">The events' name.</param>
/// <param name="From">The first moment.</param>
/// <param name="To">The first moment after it.</param>
public sealed record PurgeCriteria(long[]? Visitors, string? Event, DateTime? From, DateTime? To)
{
    /// <summary>Of a purge that was asked for; null when there is none of this id.</summary>
    public static Task<PurgeCriteria?> FindAsync(UnitOfWork work, Guid id, CancellationToken cancel) => work.QueryFirstAsync(
        $"select visitors, event, from_time, to_time from analytics.purges where id = {id}",
        row => new PurgeCriteria(
            row.IsDBNull(0) ? null : row.GetFieldValue<long[]>(0), row.IsDBNull(1) ? null : row.GetString(1),
            row.GetFieldValue<DateTime?>(2), row.GetFieldValue<DateTime?>(3)),
        cancel);

    /// <summary>True when it is about all that there is of a person.</summary>
    public bool IsWholePerson => this is { Visitors: not null, Event: null, From: null, To: null };

    /// <summary>The events that go, as a condition on <c>analytics.events e</c>, made anew for each statement.</summary>
    public Sql Condition => $"{(Visitors is null ? (Sql)$"true" : $"e.visitor = any({Visitors})")} and {Rest}";

    /// <summary>The events that count for somebody else, and stay, but bear an id of the person; a condition likewise.</summary>
    public Sql OfOthers => $"e.device = any({Visitors}) and e.visitor <> all({Visitors}) and {Rest}";

    private Sql Rest => $"""
        {(Event is null ? (Sql)$"true" : $"e.name = {Event}")}
        and {(From is null ? (Sql)$"true" : $"e.occurred_at >= {From}")} and {(To is null ? (Sql)$"true" : $"e.occurred_at < {To}")}
        """;

    /// <summary><see cref="Condition"/> for an event that is not at hand as a row.</summary>
    public bool Holds(TrackedEvent e) => (Visitors is null || (Visitor.Of(e) is { } visitor && Visitors.Contains(visitor)))
        && (Event is null || e.Event == Event) && !(e.Time < From) && !(e.Time >= To);
}

/// <summary>
/// Takes events out of their table, the rollups, the log and what was queued of it, piece by piece: each in one transaction and under the
/// organisation's lock. A process that dies leaves the pieces that are done, and to run it again does the others.
/// </summary>
public static class EventPurge
{
    /// <summary>Events in one piece, unless a test wants fewer.</summary>
    public const int MaxEvents = 20_000;

    /// <summary>Each has at most <see cref="EventReader.MaxEvents"/>.</summary>
    private const int MaxBatches = MaxEvents / EventReader.MaxEvents;

    /// <summary>What is kept and not yet counted comes first: what is counted meanwhile is found by its hour then.</summary>
    private static readonly Stage[] Stages = [PendingAsync, CountedAsync, OfOthersAsync];

    /// <summary>What is to be done, in pieces.</summary>
    private delegate Task<List<Piece>> Stage(UnitOfWork work, PurgeCriteria criteria, int atMost, CancellationToken cancel);

    /// <summary>Done again as long as there is more of it.</summary>
    private delegate Task<(int Removed, bool More)> Piece(UnitOfWork work);

    /// <summary>Removes all of them. What is tracked meanwhile may stay.</summary>
    /// <param name="scopes">Gives each transaction a scope of its own.</param>
    /// <param name="caller">On whose behalf.</param>
    /// <param name="removed">Called in each transaction with the number of events that it removes; may be null.</param>
    /// <param name="atMost">Events in one transaction.</param>
    public static async Task RunAsync(
        IServiceScopeFactory scopes, Caller caller, PurgeCriteria criteria, Func<UnitOfWork, int, Task>? removed, CancellationToken cancel, int atMost = MaxEvents)
    {
        foreach (var stage in Stages)
            foreach (var piece in await scopes.RunAsync(caller, work => stage(work, criteria, atMost, cancel)))
                while (await InTransactionAsync(piece))
                {
                    // There is more of it.
                }

        Task<bool> InTransactionAsync(Piece piece) => scopes.RunAsync(caller, work => work.TransactAsync(
            async () =>
            {
                await RollupTables.LockAsync(work, cancel);
                var (events, more) = await piece(work);
                if (removed is not null)
                    await removed(work, events);
                return more;
            },
            cancel));
    }

    /// <summary>
    /// Removes in one transaction what has come of a person since <see cref="RunAsync"/>, and what else tells of them. Afterwards the ids stand
    /// for somebody new. Nobody can join them to others at this moment: <see cref="Identities.LockAsync"/> is held.
    /// </summary>
    /// <returns>How many events.</returns>
    public static async Task<int> EndAsync(UnitOfWork work, PurgeCriteria criteria, CancellationToken cancel)
    {
        // In the order of those who bring histories together.
        await RollupTables.LockAsync(work, cancel);
        if (criteria.IsWholePerson)
            await Identities.ForgetAsync(work, criteria.Visitors!, cancel);
        var events = 0;
        foreach (var stage in Stages)
            foreach (var piece in await stage(work, criteria, MaxEvents, cancel))
                for (var more = true; more;)
                {
                    (var removed, more) = await piece(work);
                    events += removed;
                }

        // Those of events that were refused; the others went with their events.
        await work.ExecuteAsync(
            $"""
            delete from analytics.violations
            where visitor = any({criteria.Visitors}) and refused and ({criteria.Event} is null or event = {criteria.Event})
              and ({criteria.From} is null or at >= {criteria.From}) and ({criteria.To} is null or at < {criteria.To})
            """,
            cancel);
        // A client may have put the person's id into message ids. An event that is sent again is known by its own, so no replay is missed.
        await work.ExecuteAsync($"delete from platform.idempotency where position(convert_to('\"messageId\":\"', 'UTF8') in body) > 0", cancel);
        return events;
    }

    private static async Task<List<Piece>> PendingAsync(UnitOfWork work, PurgeCriteria criteria, int atMost, CancellationToken cancel) =>
    [
        .. (await work.QueryAsync($"select batch_id from analytics.pending_batches order by batch_id", row => row.GetGuid(0), cancel)).Chunk(MaxBatches)
            .Select(batches => (Piece)(w => RemovePendingAsync(w, criteria, batches, cancel))),
    ];

    /// <summary>Some hours of one day, UTC, that have events which are counted and may be meant: as many as have together at most so many.</summary>
    private static async Task<List<Piece>> CountedAsync(UnitOfWork work, PurgeCriteria criteria, int atMost, CancellationToken cancel)
    {
        var hours = await work.QueryAsync(
            criteria.Visitors is { } visitors
                // How many there are in each is not known; a person has few.
                ? (Sql)$"""
                    select distinct hour, 0::bigint from analytics.sessions,
                      generate_series(date_trunc('hour', start, 'UTC'), last, interval '1 hour') as hour
                    where visitor = any({visitors}) and ({criteria.From} is null or hour > {criteria.From}::timestamptz - interval '1 hour')
                      and ({criteria.To} is null or hour < {criteria.To})
                    order by hour
                    """
                : $"""
                    select start, sum(events)::bigint from analytics.event_counts
                    where resolution = 'hour' and ({criteria.Event} is null or name = {criteria.Event})
                      and ({criteria.From} is null or start > {criteria.From}::timestamptz - interval '1 hour') and ({criteria.To} is null or start < {criteria.To})
                    group by start order by start
                    """,
            row => (Start: row.GetFieldValue<DateTime>(0), Events: row.GetInt64(1)),
            cancel);
        var ranges = new List<(TimeRange Range, long Events)>();
        foreach (var (start, events) in hours)
            if (ranges is [.., var last] && last.Range.From.Date == start.Date && last.Events + events <= atMost)
                ranges[^1] = (last.Range with { To = start.AddHours(1) }, last.Events + events);
            else
                ranges.Add((new(start, start.AddHours(1)), events));
        return ranges.ConvertAll(r => (Piece)(w => RemoveAsync(w, criteria, r.Range, atMost, cancel)));
    }

    /// <summary>The days, UTC, on which others have events that bear an id of the person.</summary>
    private static async Task<List<Piece>> OfOthersAsync(UnitOfWork work, PurgeCriteria criteria, int atMost, CancellationToken cancel) => criteria.Visitors is null ? [] :
    [
        .. (await work.QueryAsync(
            $"select distinct date_trunc('day', e.occurred_at, 'UTC') as day from analytics.events e where {criteria.OfOthers} order by day",
            row => row.GetFieldValue<DateTime>(0),
            cancel)).Select(day => (Piece)(w => RemoveIdsAsync(w, criteria, new(day, day.AddDays(1)), atMost, cancel))),
    ];

    /// <summary>Removes what is kept and not yet counted of some batches. <see cref="PendingEvents"/> will find that it is gone.</summary>
    private static async Task<(int Removed, bool More)> RemovePendingAsync(UnitOfWork work, PurgeCriteria criteria, Guid[] batches, CancellationToken cancel)
    {
        var pending = await work.QueryAsync($"select batch_id from analytics.pending_batches where batch_id = any({batches})", row => row.GetGuid(0).ToString(), cancel);
        // The log tells which events they have; to look for them would be to read through their time, which may be years.
        var meant = (await work.QueryAsync(
            $"select data from platform.events where topic = {AnalyticsTopic.Name} and subject = any({pending.ToArray()})",
            row => EventReader.ReadTracked(row.GetFieldValue<byte[]>(0)).Where(criteria.Holds).Select(e => e with { Properties = default }).ToList(),
            cancel)).SelectMany(events => events).ToList();
        if (meant.Count == 0)
            return (0, false);
        var rows = await EventRows.DeleteAsync(work, $"{EventRows.Among(meant)} and {criteria.Condition}", cancel);
        await work.ExecuteAsync($"update analytics.pending_batches set purged = true where batch_id = any({rows.Select(r => r.Batch).Distinct().ToArray()})", cancel);
        await ForgetAsync(work, rows, cancel);
        return (rows.Count, false);
    }

    /// <summary>Removes what is counted of some hours of one day, and counts what is left.</summary>
    private static async Task<(int Removed, bool More)> RemoveAsync(UnitOfWork work, PurgeCriteria criteria, TimeRange hours, int atMost, CancellationToken cancel)
    {
        Sql meant = $"{await EventRows.CountedAsync(work, hours, cancel)} and {criteria.Condition}";
        // A day is in one partition, where a row's place names it.
        var rows = await EventRows.DeleteAsync(
            work,
            $"""
            e.occurred_at >= {hours.From} and e.occurred_at < {hours.To}
              and e.ctid = any(array(select e.ctid from analytics.events e where {meant} limit {atMost}))
            """,
            cancel);
        if (rows.Count == 0)
            return (0, false);
        var more = rows.Count == atMost && await work.QueryFirstAsync(
            $"select exists (select from analytics.events e where {await EventRows.CountedAsync(work, hours, cancel)} and {criteria.Condition})", row => row.GetBoolean(0), cancel);
        var rollup = new Rollup(-1);
        foreach (var row in rows)
            rollup.Add(row.Event, row.Visitor);
        var tables = new RollupTables(work);
        await RemoveFromSessionsAsync(work, tables, rollup, cancel);
        await tables.AddSumsAsync(rollup, cancel);
        // Who is left of an hour is counted once, with its last piece: there is always one, as the others leave something.
        if (!more || hours.To - hours.From > TimeSpan.FromHours(1))
            await tables.RecountMembersAsync(rows.Select(r => Interval.Floor(Interval.Hour, r.Event.Time.UtcDateTime)), cancel);
        await ForgetAsync(work, rows, cancel);
        return (rows.Count, more);
    }

    /// <summary>The sessions that lost events are made again of what they have left; one may fall apart.</summary>
    private static async Task RemoveFromSessionsAsync(UnitOfWork work, RollupTables tables, Rollup rollup, CancellationToken cancel)
    {
        if (rollup.Times.Count == 0)
            return;
        var near = await tables.SessionsAsync([.. rollup.Times.Select(t => (t.Key, t.Value.Min(), t.Value.Max().AddMicroseconds(1)))], cancel);
        var hit = near.SelectMany(s => s.Where(session => rollup.Times[s.Key].Exists(t => t >= session.Start && t <= session.Last)), (s, session) => (Visitor: s.Key, Session: session)).ToList();
        if (hit.Count == 0)
            return;
        var range = new TimeRange(hit.Min(h => h.Session.Start), hit.Max(h => h.Session.Last).AddMicroseconds(1));
        var made = await work.QueryAsync(
            $"""
            with left_over as (
              select hit.visitor, hit.start, e.occurred_at as at, e.occurred_at - lag(e.occurred_at) over (partition by hit.visitor, hit.start order by e.occurred_at) < {Session.Silence} as goes_on
              from unnest({hit.ConvertAll(h => h.Visitor).ToArray()}, {hit.ConvertAll(h => h.Session.Start).ToArray()}, {hit.ConvertAll(h => h.Session.Last).ToArray()}) as hit (visitor, start, last)
              join analytics.events e on e.visitor = hit.visitor and e.occurred_at >= hit.start and e.occurred_at <= hit.last
              where {await EventRows.CountedAsync(work, range, cancel)}
            ), numbered as (
              select visitor, start, at, count(*) filter (where goes_on is not true) over (partition by visitor, start order by at rows unbounded preceding) as session from left_over
            )
            select visitor, min(at), max(at), count(*) from numbered group by visitor, start, session
            """,
            row => (Visitor: row.GetInt64(0), new Session(row.GetFieldValue<DateTime>(1), row.GetFieldValue<DateTime>(2), row.GetInt64(3))),
            cancel);
        await tables.ReplaceSessionsAsync(rollup, rollup.Times.Keys, hit, made, cancel);
    }

    /// <summary>Takes the person's id out of events that count for others, which changes no count.</summary>
    private static async Task<(int Removed, bool More)> RemoveIdsAsync(UnitOfWork work, PurgeCriteria criteria, TimeRange day, int atMost, CancellationToken cancel)
    {
        var rows = await work.QueryAsync(
            $"""
            update analytics.events e set anonymous_id = null, device = null
            where e.occurred_at >= {day.From} and e.occurred_at < {day.To} and e.ctid = any(array(
              select e.ctid from analytics.events e where e.occurred_at >= {day.From} and e.occurred_at < {day.To} and {criteria.OfOthers} limit {atMost}))
            returning e.message_id, e.batch_id
            """,
            row => (Message: row.GetString(0), Batch: row.GetGuid(1)),
            cancel);
        var messages = rows.Select(r => r.Message).ToHashSet();
        await RedactAsync(work, rows.Select(r => r.Batch), e => messages.Contains(e.MessageId) ? e with { AnonymousId = null } : e, cancel);
        return (0, rows.Count == atMost);
    }

    /// <summary>Also their message ids, so that they may be sent again, and the log's copies.</summary>
    private static async Task ForgetAsync(UnitOfWork work, List<EventRow> rows, CancellationToken cancel)
    {
        var messages = rows.Select(r => r.Event.MessageId).ToHashSet();
        await work.ExecuteAsync($"delete from analytics.message_ids where digest = any({messages.Select(MessageId.DigestOf).ToArray()})", cancel);
        await work.ExecuteAsync($"delete from analytics.violations where message_id = any({messages.ToArray()})", cancel);
        await RedactAsync(work, rows.Select(r => r.Batch), e => messages.Contains(e.MessageId) ? null : e, cancel);
    }

    private static Task RedactAsync(UnitOfWork work, IEnumerable<Guid> batches, Func<TrackedEvent, TrackedEvent?> redact, CancellationToken cancel) => EventRedaction.RedactAsync(
        work, AnalyticsTopic.Name, [.. batches.Distinct().Select(id => id.ToString())],
        data => JsonSerializer.SerializeToUtf8Bytes(new([.. EventReader.ReadTracked(data).Select(redact).OfType<TrackedEvent>()]), AnalyticsJson.Default.EventTrackedEvent),
        cancel);
}
