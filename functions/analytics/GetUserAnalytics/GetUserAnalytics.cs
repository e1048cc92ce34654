using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Limit">Values in the breakdown.</param>
public sealed record UserAnalyticsQuery(RangeQuery Range, ScanQuery Scan, [Range(1, 1000), DefaultValue(10)] int Limit, AnswerFormat As);

/// <summary>GET /analytics/users: how many users were there, new and returning, and their sessions, from the rollups; with a filter or breakdown, from the events themselves.</summary>
public sealed class GetUserAnalytics(UnitOfWork work)
{
    [Function(nameof(GetUserAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(UserAnalyticsQuery), Answer = typeof(AnalyticsDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/users")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new UserAnalyticsQuery(
            RangeQuery.Of(parameters), ScanQuery.Of(parameters), parameters.Integer("limit", 1, 1000, 10), AnswerFormat.Of(parameters));
        var interval = query.Range.Interval;
        var (first, last) = await work.EventHoursAsync(cancel);
        if (query.Range.Within(first, last) is not { } range)
            return Ok(http, query, new(interval, query.Range.From, query.Range.To, UserCounts.Of(0, 0, default), []) { Breakdown = query.Scan.Breakdown is null ? null : [] });
        if (query.Scan.IsAsked())
            return Ok(http, query, await UserScan.RunAsync(work, range, interval, query.Scan, query.Limit, cancel));

        // The whole range, and its first and last intervals where it has but a part of them, are united from finer ones.
        var united = range.Starts(interval).Select(start => range.Part(interval, start)).Where(part => !part.IsWhole(interval)).Append(range).Distinct().ToList();
        var parts = united.SelectMany(r => r.Cover(Interval.Year)).Distinct().ToList();
        // One statement, so that all counts are of one moment.
        var rows = await work.QueryAsync(
            $"""
            select '', '', date_trunc({interval}, v.start, 'UTC'), sum(events)::bigint, sum(new_users)::bigint, sum(sessions)::bigint, sum(bounces)::bigint, sum(duration)::bigint, null::bytea
            from {range.Cover(interval).Rows} join analytics.visits v on v.resolution = part.resolution and v.start >= part.low and v.start < part.high
            group by 3
            union all
            select kind, resolution, start, members, 0, 0, 0, 0, null
            from analytics.uniques where kind in ('user', 'anonymous') and resolution = {interval} and start >= {range.From} and start < {range.To}
            union all
            select u.kind, u.resolution, u.start, 0, 0, 0, 0, 0, u.sketch
            from {parts.Rows} join analytics.uniques u on u.kind in ('user', 'anonymous') and u.resolution = part.resolution and u.start >= part.low and u.start < part.high
            """,
            row => (
                Key: new UniqueKey(row.GetString(0), row.GetString(1), row.GetFieldValue<DateTime>(2)),
                Sums: new VisitTotals(row.GetInt64(3), row.GetInt64(4), row.GetInt64(5), row.GetInt64(6), row.GetInt64(7)),
                Sketch: row.IsDBNull(8) ? null : row.GetFieldValue<byte[]>(8)),
            cancel);
        var sums = rows.Where(r => r.Sketch is null).ToDictionary(r => r.Key, r => r.Sums);
        var sketches = rows.Where(r => r.Sketch is not null).ToLookup(r => r.Key, r => r.Sketch!);
        var totals = Counts(range, range.Starts(interval));
        return Ok(http, query, new(
            interval, range.From, range.To, totals,
            [.. range.Starts(interval).Select(start => UserPoint.Of(start, Counts(range.Part(interval, start), [start])))]));

        UserCounts Counts(TimeRange of, IEnumerable<DateTime> starts)
        {
            var visits = starts.Aggregate(default(VisitTotals), (sum, start) => sum.Add(sums.GetValueOrDefault(new("", "", start))));
            return UserCounts.Of(Members(of, UniqueKinds.User), Members(of, UniqueKinds.Anonymous), visits);
        }

        long Members(TimeRange of, string kind)
        {
            if (!united.Contains(of))
                return sums.GetValueOrDefault(new(kind, interval, of.From)).Events;
            var union = new Sketch();
            foreach (var part in of.Cover(Interval.Year))
                for (var start = part.From; start < part.To; start = Interval.Next(part.Resolution, start))
                    foreach (var sketch in sketches[new(kind, part.Resolution, start)])
                        union.Unite(Sketch.From(sketch));
            return union.Count();
        }
    }

    private static Answer Ok(HttpRequest http, UserAnalyticsQuery query, AnalyticsDto analytics) =>
        query.As.Answer(http, analytics, AnalyticsJson.Default.AnalyticsDto, query.Scan.Breakdown is null ? "series" : "breakdown");
}
