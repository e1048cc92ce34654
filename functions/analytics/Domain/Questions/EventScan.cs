using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The numbers of <c>GET /analytics/events</c>, from the events themselves.</summary>
/// <param name="Series">One point for each interval.</param>
/// <param name="Top">The values with the most events.</param>
public sealed record EventScan(EventTotals Totals, IReadOnlyList<EventPoint> Series, IReadOnlyList<EventShare> Top)
{
    /// <param name="names">Those of the events to be read.</param>
    /// <param name="by">Whose values are the top.</param>
    /// <param name="limit">Of the top.</param>
    public static async Task<EventScan> RunAsync(
        UnitOfWork work, string[] names, TimeRange range, string interval, ScanQuery query, EventProperty by, int limit, CancellationToken cancel)
    {
        // The events are read once, and what is counted of them several times is few rows.
        var hasShareSeries = RangeQuery.HasShareSeries(range, interval, limit);
        var rows = await work.QueryAsync(
            $"""
            with seen as materialized (
              select date_trunc({interval}, e.occurred_at, 'UTC') as start, e.visitor, {by.Value} as value, count(*)::bigint as events
              from {query.Events(names, range)}
              group by 1, 2, 3
            ), top as materialized (
              select value, sum(events)::bigint as events, count(distinct visitor) as visitors, row_number() over (order by sum(events) desc, value collate "C") as place
              from seen group by value
              order by place limit {limit}
            )
            select 0, null::timestamptz, null, coalesce(sum(events), 0)::bigint, count(distinct visitor), 0::bigint from seen
            union all
            select 1, start, null, sum(events)::bigint, count(distinct visitor), 0 from seen group by start
            union all
            select 2, null, value, events, visitors, place from top
            union all
            select 3, s.start, null, sum(s.events)::bigint, count(distinct s.visitor), t.place
            from seen s join top t on {ScanQuery.Key($"t.value")} = {ScanQuery.Key($"s.value")} where {hasShareSeries} group by s.start, t.place
            """,
            row => (
                Kind: row.GetInt32(0), Start: row.GetFieldValue<DateTime?>(1), Value: row.IsDBNull(2) ? null : row.GetString(2), Events: row.GetInt64(3), Visitors: row.GetInt64(4),
                Place: row.GetInt64(5)),
            cancel);
        var points = rows.Where(r => r.Kind is 1 or 3).ToDictionary(r => (r.Place, r.Start!.Value), r => (r.Events, r.Visitors));
        var total = rows.Single(r => r.Kind == 0);
        return new(
            new(total.Events, total.Visitors), Series(0),
            [.. rows.Where(r => r.Kind == 2).OrderBy(r => r.Place).Select(r => new EventShare(r.Value, r.Events, r.Visitors, hasShareSeries ? Series(r.Place) : null))]);

        IReadOnlyList<EventPoint> Series(long place) =>
            [.. range.Starts(interval).Select(start => points.GetValueOrDefault((place, start)) is var (events, visitors) ? new EventPoint(start, events, visitors) : null!)];
    }
}
