using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Steps">2 to 10 names of events, with commas between them. In double quotes (<c>""</c> for one of them) a name may have commas.</param>
/// <param name="Window">The time from the first step to the last, at most: minutes, hours or days, from <c>1m</c> to <c>90d</c>.</param>
/// <param name="From">The first hour, UTC, in which a visitor can enter; null for the first there is.</param>
/// <param name="To">The first hour in which none can any more; null for the end of the last there is. Later steps may come later.</param>
/// <param name="Limit">Values in the breakdown, which is of the first step's events.</param>
public sealed record FunnelQuery(
    [Required, MaxLength(FunnelQuery.MaxSteps), Display(Prompt = "page-view,sign-up,order-line")] string Steps,
    [RegularExpression("[1-9][0-9]{0,5}[mhd]"), DefaultValue("7d"), Display(Prompt = "7d")] string Window,
    DateTime? From, DateTime? To, ScanQuery Scan, [Range(1, 1000), DefaultValue(10)] int Limit, AnswerFormat As)
{
    /// <summary>Characters.</summary>
    internal const int MaxSteps = 2000;
}

/// <summary>GET /analytics/funnels: how many visitors get through steps, and what it takes them.</summary>
public sealed class GetFunnelAnalytics(UnitOfWork work)
{
    [Function(nameof(GetFunnelAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(FunnelQuery), Answer = typeof(FunnelDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/funnels")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var (askedFrom, askedTo) = RangeQuery.Ends(parameters);
        var query = new FunnelQuery(
            parameters.RequiredText("steps", FunnelQuery.MaxSteps), parameters.Text("window") ?? "7d", askedFrom, askedTo,
            ScanQuery.Of(parameters), parameters.Integer("limit", 1, 1000, 10), AnswerFormat.Of(parameters));
        var (steps, window) = (StepsOf(query.Steps), WindowOf(query.Window));
        var (first, last) = await work.EventHoursAsync(cancel);
        if ((query.From ?? first) is not { } from || (query.To ?? last?.AddHours(1)) is not { } to || from >= to)
            return Ok(http, query, new(query.From, query.To, query.Window, new FunnelTally(steps.Length).Of(steps), query.Scan.Breakdown is null ? null : []));
        var (all, breakdown) = await FunnelScan.RunAsync(work, steps, new(from, to), window, query.Scan, query.Limit, cancel);
        return Ok(http, query, new(from, to, query.Window, all, breakdown));
    }

    /// <exception cref="ProblemException">400 on <c>steps</c>.</exception>
    public static string[] StepsOf(string text)
    {
        var steps = new List<string>();
        for (var at = 0; at <= text.Length; at++)
        {
            var start = at;
            // A quote within a quoted name is two, and so leaves it and enters it again.
            for (var quoted = false; at < text.Length && (quoted || text[at] != ','); at++)
                quoted ^= text[at] == '"';
            var step = text[start..at].Trim();
            if (step.StartsWith('"'))
                step = step.Length > 1 && step.EndsWith('"') && !step[1..^1].Replace("\"\"", "", StringComparison.Ordinal).Contains('"', StringComparison.Ordinal)
                    ? step[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal)
                    : throw Wrong("A quoted name must end with its quote.");
            steps.Add(step.Length is > 0 and <= EventReader.MaxText ? step : throw Wrong($"Each step is the name of an event, of 1 to {EventReader.MaxText} characters."));
        }

        return steps.Count is >= 2 and <= Funnel.MaxSteps ? [.. steps] : throw Wrong($"2 to {Funnel.MaxSteps} names of events, with commas between them.");

        static ProblemException Wrong(string message) => QueryParameters.Wrong("steps", message);
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

    private static Answer Ok(HttpRequest http, FunnelQuery query, FunnelDto funnel) =>
        query.As.Answer(http, funnel, AnalyticsJson.Default.FunnelDto, "steps");
}
