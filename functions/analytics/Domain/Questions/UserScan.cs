using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/users</c> with a filter or breakdown, from the events themselves.</summary>
public static class UserScan
{
    /// <param name="limit">Values of the breakdown: those with the most active users.</param>
    /// <returns>
    /// Counts of those who have an event that fits, in an interval, or in the range for the totals and the breakdown. New is who among them
    /// is there for the first time at all, with whatever event, in that interval or the range. Sessions are those that begin there and have
    /// an event that fits within the range; they are as long as they are, and a bounce has one event of whatever kind.
    /// </returns>
    /// <exception cref="ProblemException">400: too many events to read.</exception>
    public static async Task<AnalyticsDto> RunAsync(UnitOfWork work, TimeRange range, string interval, ScanQuery query, int limit, CancellationToken cancel)
    {
        using var scan = await work.ToScanAsync(range, query.Among(null), cancel);
        var starts = range.Starts(interval).ToList();
        var hasShareSeries = query.Breakdown is not null && RangeQuery.HasShareSeries(range, interval, limit);
        // The events are read once. Those of a visitor in one half of an hour are of one session, so it is looked up once for them. Then each
        // visitor and session counts once in all (kind 0), in each interval (1), for each value (2), and for each value that is shown in each
        // interval (3). The lowest bit of a visitor is 1 for an anonymous id.
        var rows = await work.QueryAsync(
            $"""
            with halves as materialized (
              select date_bin({Session.Silence}, e.occurred_at, 'epoch'::timestamptz) as half, {query.Property()?.Value ?? (Sql)$"null::text"} as value, e.visitor,
                count(*) as events, min(e.occurred_at) as at
              from {query.Events(scan.Names, range)}
              group by 1, 2, 3
            ), seen as materialized (
              select date_trunc({interval}, half, 'UTC') as start, value, visitor, sum(events) as events from halves group by 1, 2, 3
            ), firsts as materialized (
              select visitor, (select min(s.start) from analytics.sessions s where s.visitor = visitors.visitor) as first
              from (select distinct visitor from seen where visitor is not null) as visitors
            ), parts as (
              select 0 as kind, null::timestamptz as start, null::text as value, visitor, sum(events) as events from seen group by visitor
              union all
              select 1, start, null, visitor, sum(events) from seen group by start, visitor
              union all
              select 2, null, value, visitor, sum(events) from seen where {query.Breakdown is not null} group by value, visitor
              union all
              select 3, start, value, visitor, events from seen where {hasShareSeries}
            ), counts as materialized (
              select kind, p.start, value, count(*) filter (where visitor & 1 = 0) as active, count(*) filter (where is_new and visitor & 1 = 0) as new,
                count(*) filter (where visitor & 1 = 1) as anonymous, count(*) filter (where is_new and visitor & 1 = 1) as new_anonymous,
                sum(events)::bigint as events
              from (
                select *, first >= {range.From} and first < {range.To} and coalesce(date_trunc({interval}, first, 'UTC') = start, true) as is_new
                from parts left join firsts using (visitor)
              ) as p
              group by kind, p.start, value
            ), shown as (
              select value, row_number() over (order by active desc, events desc, value collate "C") as place from counts where kind = 2
              order by place limit {limit}
            ), visits as materialized (
              select distinct h.value, h.visitor, s.start, s.events = 1 as bounced, (extract(epoch from s.last - s.start) * 1000000)::bigint as duration
              from halves h cross join lateral (
                select * from analytics.sessions s where s.visitor = h.visitor and s.start <= h.at order by s.start desc limit 1) as s
              where s.start >= {range.From} and s.last >= h.at
            ), sessions as (
              {Sessions(0, $"null::timestamptz", $"null::text", $"(select distinct visitor, start, bounced, duration from visits) as once")}
              union all
              {Sessions(1, $"date_trunc({interval}, start, 'UTC')", $"null::text", $"(select distinct visitor, start, bounced, duration from visits) as once")}
              union all
              {Sessions(2, $"null::timestamptz", $"value", $"visits where {query.Breakdown is not null}")}
              union all
              {Sessions(3, $"date_trunc({interval}, start, 'UTC')", $"value", $"visits where {hasShareSeries}")}
            )
            select coalesce(c.kind, s.kind), coalesce(c.start, s.start), coalesce(c.value, s.value), coalesce(active, 0), coalesce(new, 0), coalesce(anonymous, 0),
              coalesce(new_anonymous, 0), coalesce(c.events, 0), coalesce(sessions, 0), coalesce(bounces, 0), coalesce(duration, 0), coalesce(place, 0)
            from counts c
            full join sessions s on s.key = {ScanQuery.Key($"c.kind", $"c.start", $"c.value")}
            left join shown on coalesce(c.kind, s.kind) >= 2 and {ScanQuery.Key($"shown.value")} = {ScanQuery.Key($"coalesce(c.value, s.value)")}
            where coalesce(c.kind, s.kind) < 2 or place is not null
            """,
            row => (
                Kind: row.GetInt32(0), Start: row.GetFieldValue<DateTime?>(1), Value: row.IsDBNull(2) ? null : row.GetString(2),
                Counts: UserCounts.Of(
                    row.GetInt64(3), row.GetInt64(5),
                    new(row.GetInt64(7), row.GetInt64(4), row.GetInt64(6), row.GetInt64(8), row.GetInt64(9), row.GetInt64(10))),
                Place: row.GetInt64(11)),
            cancel);
        var none = UserCounts.Of(0, 0, default);
        var points = rows.ToLookup(r => (r.Kind, r.Place, r.Start), r => r.Counts);
        return new(interval, range.From, range.To, points[(0, 0, null)].FirstOrDefault(none), Series(1, 0))
        {
            Breakdown = query.Breakdown is null ? null :
            [
                .. rows.Where(r => r.Kind == 2).OrderBy(r => r.Place).Select(r => UserShare.Of(r.Value, r.Counts, hasShareSeries ? Series(3, r.Place) : null)),
            ],
        };

        IReadOnlyList<UserPoint> Series(int kind, long place) => starts.ConvertAll(start => UserPoint.Of(start, points[(kind, place, start)].FirstOrDefault(none)));
    }

    private static Sql Sessions(int kind, Sql start, Sql value, Sql from) => $"""
        select kind, start, value, {ScanQuery.Key($"kind", $"start", $"value")} as key, sessions, bounces, duration from (
          select {kind} as kind, {start} as start, {value} as value, count(*) as sessions, count(*) filter (where bounced) as bounces, sum(duration)::bigint as duration
          from {from} group by 2, 3) as counted
        """;
}
