using Agency.Platform;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>GET /health/live: 204 as long as the process answers at all.</summary>
public sealed class CheckLiveness
{
    [Function(nameof(CheckLiveness)), AllowAnonymous, RateLimitGroup(RateLimitGroups.Health)]
    [Operation(Status = 204)]
    public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "health/live")] HttpRequest http) => Answer.NoContent();
}
