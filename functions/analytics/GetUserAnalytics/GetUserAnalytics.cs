using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

public sealed record UserAnalyticsQuery(RangeQuery Range);

/// <summary>GET /analytics/users: how many users were there, new and returning, from the rollups.</summary>
public sealed class GetUserAnalytics(UnitOfWork work)
{
    [Function(nameof(GetUserAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(UserAnalyticsQuery), Answer = typeof(AnalyticsDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/users")] HttpRequest http, CancellationToken cancel)
    {
        var query = new UserAnalyticsQuery(RangeQuery.Of(QueryParameters.Of(http)));
        var interval = query.Range.Interval;
        var (first, last) = await work.QueryFirstAsync(
            $"select min(start), max(start) from analytics.event_counts where resolution = 'hour'",
            row => (row.GetFieldValue<DateTime?>(0), row.GetFieldValue<DateTime?>(1)),
            cancel);
        if (query.Range.Within(first, last) is not { } range)
            return Ok(new(interval, query.Range.From, query.Range.To, new(0, 0, 0, 0, 0), []));

        // One statement, so that all counts are of one moment. The row without a start has those of the whole range.
        var hourly = interval == Interval.Hour;
        var lastHour = range.To.AddHours(-1);
        var rows = (await work.QueryAsync(
            $"""
            with days as (
              select day::timestamp at time zone 'UTC' as day, anonymous, visitor_id,
                hours & case day when {DateOnly.FromDateTime(range.From)} then {-1 << range.From.Hour} else -1 end
                  & case day when {DateOnly.FromDateTime(lastHour)} then {(2 << lastHour.Hour) - 1} else -1 end as hours
              from analytics.visitor_days
              where day between {DateOnly.FromDateTime(range.From)} and {DateOnly.FromDateTime(lastHour)}
            ), present as (
              select distinct {(hourly ? (Sql)$"day + make_interval(hours => hour)" : $"date_trunc({interval}, day, 'UTC')")} as start, anonymous, visitor_id
              from days {(hourly ? (Sql)$"cross join generate_series(0, 23) as hour where hours >> hour & 1 = 1" : $"where hours <> 0")}
            )
            select start, sum(active)::bigint, sum(new)::bigint, sum(anonymous)::bigint, sum(events)::bigint from (
              select start, count(*) filter (where not anonymous) as active, 0 as new, count(*) filter (where anonymous) as anonymous, 0 as events
              from present group by start
              union all
              select null, count(*) filter (where not anonymous), 0, count(*) filter (where anonymous), 0
              from (select distinct anonymous, visitor_id from present) as visitors
              union all
              select date_trunc({interval}, first_seen, 'UTC'), 0, count(*), 0, 0
              from analytics.visitors where not anonymous and first_seen >= {range.From} and first_seen < {range.To} group by 1
              union all
              select date_trunc({interval}, c.start, 'UTC'), 0, 0, 0, sum(events)
              from {range.Cover(interval).Rows} join analytics.event_counts c on c.resolution = part.resolution and c.start >= part.low and c.start < part.high
              group by 1
            ) as counts group by start
            """,
            row => (Start: row.GetFieldValue<DateTime?>(0), Active: row.GetInt64(1), New: row.GetInt64(2), Anonymous: row.GetInt64(3), Events: row.GetInt64(4)),
            cancel)).ToLookup(row => row.Start);
        var whole = rows[null].Single();
        var fresh = rows.Sum(r => r.Single().New);
        return Ok(new(
            interval, range.From, range.To,
            new(whole.Active, fresh, whole.Active - fresh, whole.Anonymous, rows.Sum(r => r.Single().Events)),
            [.. range.Starts(interval).Select(start => rows[start].SingleOrDefault() is var r
                ? new UserPoint(start, r.Active, r.New, r.Active - r.New, r.Anonymous, r.Events)
                : null!)]));
    }

    private static Answer Ok(AnalyticsDto analytics) => Answer.Ok(analytics, AnalyticsJson.Default.AnalyticsDto);
}
