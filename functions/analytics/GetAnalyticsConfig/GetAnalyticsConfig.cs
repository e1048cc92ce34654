using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>GET /analytics/config: what the organisation wants of its analytics; the defaults, as version 0, until it has said so.</summary>
public sealed class GetAnalyticsConfig(UnitOfWork work)
{
    [Function(nameof(GetAnalyticsConfig)), RequireScope("analytics:read")]
    [Operation(Answer = typeof(AnalyticsConfigDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/config")] HttpRequest http, CancellationToken cancel)
    {
        var config = await AnalyticsConfigDto.ReadAsync(work, cancel);
        return Answer.Ok(config, AnalyticsJson.Default.AnalyticsConfigDto, config.Version);
    }
}
