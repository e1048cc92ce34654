using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Event">The event that the paths begin at: in each session the first of it, or the last when what came before is asked for.</param>
/// <param name="Interval">Asks for a series by the interval in which the event at the beginning is.</param>
/// <param name="Scan">
/// Both are of the event at the beginning: the filter says which of them count, what comes after or before may be any; the breakdown splits
/// by one of its properties.
/// </param>
/// <param name="Property">
/// What a step is called by. With <c>@event</c> every event is a step; with a property, such as <c>$path</c>, those are that have it and
/// the same name as the event at the beginning.
/// </param>
/// <param name="Direction">What came after it, or what came before.</param>
/// <param name="Depth">Steps of the longest path.</param>
/// <param name="Limit">Paths of each length, and values in the breakdown.</param>
public sealed record PathQuery(
    SpanQuery Span, [AllowedValues("hour", "day", "week", "month")] string? Interval, [Required] string Event, ScanQuery Scan,
    [DefaultValue("@event")] string Property, [AllowedValues("next", "previous"), DefaultValue("next")] string Direction,
    [Range(1, 5), DefaultValue(3)] int Depth, [Range(1, 100), DefaultValue(10)] int Limit, AnswerFormat As);

/// <summary>GET /analytics/paths: what visitors do right after an event or before it, within the same session, from the events themselves.</summary>
public sealed class GetPathAnalytics(UnitOfWork work)
{
    [Function(nameof(GetPathAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(PathQuery), Answer = typeof(PathsDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType], Problems = [503])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/paths")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new PathQuery(
            SpanQuery.Of(parameters), SpanQuery.IntervalOf(parameters), parameters.RequiredText("event"), ScanQuery.Of(parameters), parameters.Text("property") ?? "@event",
            parameters.OneOf("direction", "next", "next", "previous"), parameters.Integer("depth", 1, 5, 3), parameters.Integer("limit", 1, 100, 10), AnswerFormat.Of(parameters));
        new EventProperty(query.Property).Check("property");
        var (first, last) = await work.EventHoursAsync(cancel);
        var (range, rows) = (query.Span.WithinSeries(first, last, query.Interval), new List<PathRow>());
        if (range is { } asked)
        {
            using var scan = await work.ToScanAsync(asked, null, cancel);
            if (scan.Counts.ContainsKey(query.Event))
                rows = await PathScan.RunAsync(
                    work, asked, scan.Names, query.Event, query.Scan, new(query.Property), query.Direction == "previous", query.Depth, query.Limit, query.Interval, cancel);
        }

        var (all, points) = (Paths(rows.Where(r => r.Value == 0)), rows.Where(r => r.Start is not null).ToDictionary(r => r.Start!.Value));
        return query.As.Answer(
            http,
            new(
                query.Event, query.Direction, range?.From ?? query.Span.From, range?.To ?? query.Span.To, all.Sessions, all.Visitors, all.Paths,
                query.Scan.Breakdown is null ? null : [.. rows.Where(r => r.Value > 0).GroupBy(r => r.Value).OrderBy(g => g.Key).Select(g => Paths(g))],
                query.Interval,
                query.Interval is null ? null : range is not { } r ? []
                    : [.. r.Starts(query.Interval).Select(start => points.GetValueOrDefault(start).Path is { } p ? new PathPoint(start, p.Sessions, p.Visitors) : new(start, 0, 0))]),
            AnalyticsJson.Default.PathsDto, "paths");
    }

    private static PathShare Paths(IEnumerable<PathRow> rows) => rows.ToList() is [var whole, .. var longer]
        ? new(whole.Text, whole.Path.Sessions, whole.Path.Visitors, longer.ConvertAll(r => r.Path))
        : new(null, 0, 0, []);
}
