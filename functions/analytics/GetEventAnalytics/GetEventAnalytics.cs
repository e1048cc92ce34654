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
    [Operation(Query = typeof(EventAnalyticsQuery), Answer = typeof(EventsDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType])]
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
            var names = await work.NamesToScanAsync(range, query.Event is null ? null : [query.Event], cancel);
            found = await EventScan.RunAsync(work, names, range, interval, query.Scan, query.Scan.Property() ?? new("@event"), query.Limit, cancel);
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
            found = new(new(counts.Values.Sum()), counts, !hasTop ? [] : await work.QueryAsync(
                $"""
                select c.name, sum(c.events)::bigint
                from {range.Cover(Interval.Month).Rows}
                join analytics.event_counts c on c.resolution = part.resolution and c.start >= part.low and c.start < part.high
                group by 1
                order by 2 desc, c.name collate "C"
                limit {query.Limit}
                """,
                row => new EventShare(row.GetString(0), row.GetInt64(1)),
                cancel));
        }

        return Ok(http, query, new(
            interval, range.From, range.To, found.Totals,
            [.. range.Starts(interval).Select(start => new EventPoint(start, found.ByStart.GetValueOrDefault(start)))],
            hasTop ? found.Top : null));
    }

    private static Answer Ok(HttpRequest http, EventAnalyticsQuery query, EventsDto events) =>
        query.As.Answer(http, events, AnalyticsJson.Default.EventsDto, query.Scan.Breakdown is null ? "series" : "top");
}
