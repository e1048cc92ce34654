using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>GET /analytics/purges/{id}: how far a purge is, and in the end its report.</summary>
public sealed class GetPurge(UnitOfWork work)
{
    [Function(nameof(GetPurge)), RequireScope("analytics:read")]
    [Operation(Answer = typeof(PurgeDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/purges/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel) =>
        await PurgeDto.FindAsync(work, id, cancel) is { } purge
            ? Answer.Ok(purge, AnalyticsJson.Default.PurgeDto)
            : Problem.NotFound("purge").ToAnswer();
}
