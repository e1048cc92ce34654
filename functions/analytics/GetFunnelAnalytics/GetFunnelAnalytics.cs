using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Steps">
/// 2 to 10 events with commas between them, each with a filter of its own in brackets if it needs one. A name with a comma, a bracket or a
/// quote in it is written in double quotes (<c>""</c> for one of them).
/// </param>
/// <param name="Window">The time from the first step to the last, at most: minutes, hours or days, from <c>1m</c> to <c>90d</c>.</param>
/// <param name="Span">In which visitors enter; later steps may come after it.</param>
/// <param name="Interval">Asks for a series by the interval in which the attempt that counts of a visitor began.</param>
/// <param name="Scan">The filter is for the events of all steps, the breakdown by those of the first.</param>
/// <param name="Limit">Values in the breakdown.</param>
public sealed record FunnelQuery(
    [Required, MaxLength(FunnelQuery.MaxSteps), Display(Prompt = "page-view[$path = '/pricing'],sign-up,order-line")] string Steps,
    [RegularExpression("[1-9][0-9]{0,5}[mhd]"), DefaultValue("7d"), Display(Prompt = "7d")] string Window,
    SpanQuery Span, [AllowedValues("hour", "day", "week", "month")] string? Interval, ScanQuery Scan, [Range(1, 1000), DefaultValue(10)] int Limit, AnswerFormat As)
{
    /// <summary>Characters.</summary>
    internal const int MaxSteps = 4000;
}

/// <summary>GET /analytics/funnels: how many visitors get through steps, and what it takes them.</summary>
public sealed class GetFunnelAnalytics(UnitOfWork work)
{
    [Function(nameof(GetFunnelAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(FunnelQuery), Answer = typeof(FunnelDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType], Problems = [503])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/funnels")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new FunnelQuery(
            parameters.RequiredText("steps", FunnelQuery.MaxSteps), parameters.Text("window") ?? "7d", SpanQuery.Of(parameters), SpanQuery.IntervalOf(parameters),
            ScanQuery.Of(parameters), parameters.Integer("limit", 1, 1000, 10), AnswerFormat.Of(parameters));
        var (steps, window) = (FunnelStepQuery.Parse(query.Steps), WindowOf(query.Window));
        var (first, last) = await work.EventHoursAsync(cancel);
        var answer = query.Span.WithinSeries(first, last, query.Interval) is { } range
            ? await FunnelScan.RunAsync(work, steps, range, (window, query.Window), query.Interval, query.Scan, query.Limit, cancel)
            : new(
                query.Span.From, query.Span.To, query.Window, new FunnelTally(steps.Length).Of(steps), query.Scan.Breakdown is null ? null : [],
                query.Interval, query.Interval is null ? null : []);
        return query.As.Answer(http, answer, AnalyticsJson.Default.FunnelDto, "steps");
    }

    /// <exception cref="ProblemException">400 on <c>window</c>.</exception>
    public static TimeSpan WindowOf(string text)
    {
        int? minutes = text.Length is < 2 or > 7 ? null : text[^1] switch { 'm' => 1, 'h' => 60, 'd' => 24 * 60, _ => null };
        return minutes is { } unit && int.TryParse(text.AsSpan(..^1), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number > 0 && (long)number * unit <= 90 * 24 * 60
                ? TimeSpan.FromMinutes((long)number * unit)
                : throw QueryParameters.Wrong("window", "A number of minutes, hours or days from 1m to 90d, such as 7d.");
    }
}
