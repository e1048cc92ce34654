using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Event">What the events are called; null for all.</param>
/// <param name="Limit">Values among the top.</param>
public sealed record EventAnalyticsQuery(RangeQuery Range, string? Event, ScanQuery Scan, [Range(1, 1000), DefaultValue(10)] int Limit, AnswerFormat As);

/// <summary>GET /analytics/events: how many events there were, from the rollups; with a filter or breakdown, from the events themselves.</summary>
public sealed class GetEventAnalytics(UnitOfWork work)
{
    [Function(nameof(GetEventAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(EventAnalyticsQuery), Answer = typeof(EventsDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType], Problems = [503])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/events")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new EventAnalyticsQuery(
            RangeQuery.Of(parameters), parameters.Text("event"), ScanQuery.Of(parameters), parameters.Integer("limit", 1, 1000, 10), AnswerFormat.Of(parameters));
        var interval = query.Range.Interval;
        var hasTop = query.Event is null || query.Scan.Breakdown is not null;
        var (first, last) = await work.EventHoursAsync(cancel);
        if (query.Range.Within(first, last) is not { } range)
            return Ok(http, query, new(interval, query.Range.From, query.Range.To, new(0, query.Scan.IsAsked() ? 0 : null), [], hasTop ? [] : null));

        EventScan found;
        if (query.Scan.IsAsked())
        {
            using var scan = await work.ToScanAsync(range, query.Scan.Among(query.Event is null ? null : [query.Event]), cancel);
            found = await EventScan.RunAsync(work, scan.Names, range, interval, query.Scan, query.Scan.Property() ?? new("@event"), query.Limit, cancel);
        }
        else
        {
            var counts = (await work.QueryAsync(
                $"""
                select date_trunc({interval}, c.start, 'UTC'), sum(c.events)::bigint
                from {range.Cover(interval).Rows}
                join {(query.Event is null ? (Sql)$"analytics.visits c on true" : $"analytics.event_counts c on c.name = {query.Event}")}
                  and c.resolution = part.resolution and c.start >= part.low and c.start < part.high
                group by 1
                """,
                row => (Start: row.GetFieldValue<DateTime>(0), Events: row.GetInt64(1)),
                cancel)).ToDictionary(row => row.Start, row => row.Events);
            found = new(
                new(counts.Values.Sum()), [.. range.Starts(interval).Select(start => new EventPoint(start, counts.GetValueOrDefault(start)))],
                hasTop ? await TopAsync(range, interval, query.Limit, cancel) : []);
        }

        return Ok(http, query, new(interval, range.From, range.To, found.Totals, found.Series, hasTop ? found.Top : null));
    }

    /// <summary>The names with the most events.</summary>
    private async Task<IReadOnlyList<EventShare>> TopAsync(TimeRange range, string interval, int limit, CancellationToken cancel)
    {
        var top = (await work.CountsByNameAsync(range, null, cancel)).OrderByDescending(c => c.Events).ThenBy(c => c.Name, StringComparer.Ordinal).Take(limit).ToList();
        var points = !RangeQuery.HasShareSeries(range, interval, limit) ? null : (await work.QueryAsync(
            $"""
            select c.name, date_trunc({interval}, c.start, 'UTC'), sum(c.events)::bigint
            from {range.Cover(interval).Rows}
            join analytics.event_counts c on c.resolution = part.resolution and c.start >= part.low and c.start < part.high and c.name = any({top.ConvertAll(t => t.Name).ToArray()})
            group by 1, 2
            """,
            row => (Key: (row.GetString(0), row.GetFieldValue<DateTime>(1)), Events: row.GetInt64(2)),
            cancel)).ToDictionary(row => row.Key, row => row.Events);
        return top.ConvertAll(t => new EventShare(
            t.Name, t.Events, null, points is null ? null : [.. range.Starts(interval).Select(start => new EventPoint(start, points.GetValueOrDefault((t.Name, start))))]));
    }

    private static Answer Ok(HttpRequest http, EventAnalyticsQuery query, EventsDto events) =>
        query.As.Answer(http, events, AnalyticsJson.Default.EventsDto, query.Scan.Breakdown is null ? "series" : "top");
}
