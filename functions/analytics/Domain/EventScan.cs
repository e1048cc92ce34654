using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The numbers of <c>GET /analytics/events</c>, from the events themselves.</summary>
/// <param name="ByStart">Events of each interval that has any.</param>
/// <param name="Top">The values with the most events.</param>
public sealed record EventScan(EventTotals Totals, IReadOnlyDictionary<DateTime, long> ByStart, IReadOnlyList<EventShare> Top)
{
    /// <param name="names">Those of the events to be read.</param>
    /// <param name="by">Whose values are the top.</param>
    /// <param name="limit">Of the top.</param>
    public static async Task<EventScan> RunAsync(
        UnitOfWork work, string[] names, TimeRange range, string interval, ScanQuery query, EventProperty by, int limit, CancellationToken cancel)
    {
        // The events are read once, and what is counted of them thrice is few rows.
        var rows = await work.QueryAsync(
            $"""
            with seen as materialized (
              select date_trunc({interval}, e.occurred_at, 'UTC') as start, e.visitor, {by.Value} as value, count(*)::bigint as events
              from {query.Events(names, range)}
              group by 1, 2, 3
            ), top as (
              select value, sum(events)::bigint as events, count(distinct visitor) as visitors
              from seen group by value
              order by 2 desc, value collate "C" limit {limit}
            )
            select 0, null::timestamptz, null, coalesce(sum(events), 0)::bigint, count(distinct visitor) from seen
            union all
            select 1, start, null, sum(events)::bigint, 0 from seen group by start
            union all
            select 2, null, value, events, visitors from top
            """,
            row => (
                Kind: row.GetInt32(0), Start: row.GetFieldValue<DateTime?>(1), Value: row.IsDBNull(2) ? null : row.GetString(2), Events: row.GetInt64(3), Visitors: row.GetInt64(4)),
            cancel);
        var total = rows.Single(r => r.Kind == 0);
        return new(
            new(total.Events, total.Visitors),
            rows.Where(r => r.Kind == 1).ToDictionary(r => r.Start!.Value, r => r.Events),
            [
                .. rows.Where(r => r.Kind == 2).Select(r => new EventShare(r.Value, r.Events, r.Visitors))
                    .OrderByDescending(s => s.Events).ThenBy(s => s.Value is null).ThenBy(s => s.Value, StringComparer.Ordinal),
            ]);
    }
}
