using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Limit">Values in the breakdown.</param>
public sealed record UserAnalyticsQuery(RangeQuery Range, ScanQuery Scan, [Range(1, 1000), DefaultValue(10)] int Limit, AnswerFormat As);

/// <summary>GET /analytics/users: how many users were there, new and returning, and their sessions, from the rollups; with a filter or breakdown, from the events themselves.</summary>
public sealed class GetUserAnalytics(UnitOfWork work, ReadCache cache, Caller caller)
{
    [Function(nameof(GetUserAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(UserAnalyticsQuery), Answer = typeof(AnalyticsDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType], Problems = [503])]
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
        var united = range.Starts(interval).Select(start => range.Part(interval, start)).Where(part => !part.IsWhole(interval)).Append(range).Distinct()
            .ToDictionary(part => part, part => part.CoverByUniques());
        var parts = united.Values.SelectMany(cover => cover).Distinct().ToList();
        var kept = new KeptSketches(cache, caller, [UniqueKinds.User, UniqueKinds.Anonymous], parts);
        // One statement, so that all counts are of one moment.
        var rows = await work.QueryAsync(
            $"""
            select '', '', date_trunc({interval}, v.start, 'UTC'), sum(events)::bigint, sum(new_users)::bigint, sum(new_anonymous)::bigint, sum(sessions)::bigint, sum(bounces)::bigint, sum(duration)::bigint, null::bigint, null::bytea
            from {range.Cover(interval).Rows} join analytics.visits v on v.resolution = part.resolution and v.start >= part.low and v.start < part.high
            group by 3
            union all
            select kind, resolution, start, members, 0, 0, 0, 0, 0, null, null
            from analytics.uniques where kind in ('user', 'anonymous') and resolution = {interval} and start >= {range.From} and start < {range.To}
            union all
            select u.kind, u.resolution, u.start, u.members, 0, 0, 0, 0, 0, u.version, case when u.version <> all({kept.Versions}) then u.sketch end
            from {parts.Rows} join analytics.uniques u on u.kind in ('user', 'anonymous') and u.resolution = part.resolution and u.start >= part.low and u.start < part.high
            """,
            row => (
                Key: new UniqueKey(row.GetString(0), row.GetString(1), row.GetFieldValue<DateTime>(2)),
                Sums: new VisitTotals(row.GetInt64(3), row.GetInt64(4), row.GetInt64(5), row.GetInt64(6), row.GetInt64(7), row.GetInt64(8)),
                Version: row.IsDBNull(9) ? (long?)null : row.GetInt64(9),
                Sketch: row.IsDBNull(10) ? null : row.GetFieldValue<byte[]>(10)),
            cancel);
        var sums = rows.Where(r => r.Version is null).ToDictionary(r => r.Key, r => r.Sums);
        // The parts of the whole range and of its ends may have rows in common.
        var sketches = rows.Where(r => r.Version is not null).DistinctBy(r => r.Key).ToDictionary(r => r.Key, r => kept.Take(r.Key, r.Version!.Value, r.Sums.Events, r.Sketch));
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
            if (!united.TryGetValue(of, out var cover))
                return sums.GetValueOrDefault(new(kind, interval, of.From)).Events;
            return Sketch.CountUnion(
            [
                .. sketches.Where(s => s.Key.Kind == kind && cover.Any(part => part.Resolution == s.Key.Resolution && s.Key.Start >= part.From && s.Key.Start < part.To))
                    .Select(s => s.Value),
            ]);
        }
    }

    private static Answer Ok(HttpRequest http, UserAnalyticsQuery query, AnalyticsDto analytics) =>
        query.As.Answer(http, analytics, AnalyticsJson.Default.AnalyticsDto, "series");
}
