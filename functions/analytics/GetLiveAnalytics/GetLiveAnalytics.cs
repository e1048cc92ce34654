using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Seconds">After so many the stream ends. A client that wants more asks again, as browsers do by themselves.</param>
/// <param name="Scan">Which events count, and by what the answer is broken down.</param>
public sealed record LiveAnalyticsQuery([Range(1, 3600), DefaultValue(300)] int Seconds, ScanQuery Scan);

/// <summary>
/// GET /analytics/live: what happens now, as server-sent events named live, one each second. Read it with <c>curl -N</c> or <c>fetch</c>: the
/// EventSource of browsers cannot send a token.
/// </summary>
public sealed class GetLiveAnalytics(Broadcasts broadcasts, Caller caller)
{
    [Function(nameof(GetLiveAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(LiveAnalyticsQuery), Answer = typeof(LiveDto), MediaType = Broadcasts.MediaType, IsStream = true, Problems = [503])]
    public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/live")] HttpRequest http)
    {
        var parameters = QueryParameters.Of(http);
        var query = new LiveAnalyticsQuery(parameters.Integer("seconds", 1, 3600, 300), ScanQuery.Of(parameters));
        // Whoever asks the same shares the answer.
        return broadcasts.Listen(http, caller, "live", TimeSpan.FromSeconds(query.Seconds), async (work, cancel) =>
            JsonSerializer.SerializeToUtf8Bytes(await Live.ReadAsync(work, DateTime.UtcNow, query.Scan, cancel), AnalyticsJson.Default.LiveDto),
            $"{query.Scan.Breakdown}\n{query.Scan.Filter}");
    }
}
