using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/users</c> with a filter or breakdown, from the events themselves.</summary>
public static class UserScan
{
    /// <param name="limit">Values of the breakdown: those with the most active users.</param>
    /// <returns>
    /// Counts of those who have an event that fits, in an interval, or in the range for the totals and the breakdown. New is who among them
    /// is there for the first time at all, with whatever event, in that interval or the range.
    /// </returns>
    /// <exception cref="ProblemException">400: too many events to read.</exception>
    public static async Task<AnalyticsDto> RunAsync(UnitOfWork work, TimeRange range, string interval, ScanQuery query, int limit, CancellationToken cancel)
    {
        var names = await work.NamesToScanAsync(range, null, cancel);
        // The events are read once. Then each visitor counts once in all (kind 0), in each interval (1) and for each value (2). The lowest
        // bit of one is 1 for an anonymous id.
        var rows = await work.QueryAsync(
            $"""
            with seen as materialized (
              select date_trunc({interval}, e.occurred_at, 'UTC') as start, {query.Property()?.Value ?? (Sql)$"null::text"} as value, e.visitor, count(*) as events
              from {query.Events(names, range)}
              group by 1, 2, 3
            ), firsts as materialized (
              select visitor, (select min(s.start) from analytics.sessions s where s.visitor = visitors.visitor) as first
              from (select distinct visitor from seen where visitor is not null) as visitors
            ), parts as (
              select 0 as kind, null::timestamptz as start, null::text as value, visitor, sum(events) as events from seen group by visitor
              union all
              select 1, start, null, visitor, sum(events) from seen group by start, visitor
              union all
              select 2, null, value, visitor, sum(events) from seen where {query.Breakdown is not null} group by value, visitor
            ), counts as (
              select kind, p.start, value, count(*) filter (where visitor & 1 = 0) as active, count(*) filter (where is_new and visitor & 1 = 0) as new,
                count(*) filter (where visitor & 1 = 1) as anonymous, count(*) filter (where is_new) as new_visitors, sum(events)::bigint as events
              from (
                select *, first >= {range.From} and first < {range.To} and coalesce(date_trunc({interval}, first, 'UTC') = start, true) as is_new
                from parts left join firsts using (visitor)
              ) as p
              group by kind, p.start, value
            )
            select * from counts where kind < 2
            union all
            (select * from counts where kind = 2 order by active desc, events desc, value collate "C" limit {limit})
            """,
            row => (
                Kind: row.GetInt32(0), Start: row.GetFieldValue<DateTime?>(1), Value: row.IsDBNull(2) ? null : row.GetString(2),
                Counts: UserCounts.Of(row.GetInt64(3), row.GetInt64(4), row.GetInt64(5), row.GetInt64(6), row.GetInt64(7))),
            cancel);
        var none = UserCounts.Of(0, 0, 0, 0, 0);
        var points = rows.Where(r => r.Kind == 1).ToDictionary(r => r.Start!.Value, r => r.Counts);
        return new(
            interval, range.From, range.To,
            rows.Where(r => r.Kind == 0).Select(r => r.Counts).FirstOrDefault(none),
            [
                .. range.Starts(interval).Select(start => UserPoint.Of(start, points.GetValueOrDefault(start, none))),
            ])
        {
            Breakdown = query.Breakdown is null ? null :
            [
                .. rows.Where(r => r.Kind == 2)
                    .OrderByDescending(r => r.Counts.Active).ThenByDescending(r => r.Counts.Events).ThenBy(r => r.Value is null).ThenBy(r => r.Value, StringComparer.Ordinal)
                    .Select(r => new UserShare(r.Value, r.Counts.Active, r.Counts.New, r.Counts.Returning, r.Counts.Anonymous, r.Counts.Events)),
            ],
        };
    }
}
