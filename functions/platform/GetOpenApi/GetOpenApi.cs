using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>GET /openapi.json: this description of the routes of this process, OpenAPI 3.1.</summary>
public sealed class GetOpenApi(FunctionApps apps)
{
    [Function(nameof(GetOpenApi)), AllowAnonymous, Operation(Answer = typeof(JsonElement))]
    public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "openapi.json")] HttpRequest http) =>
        Answer.Document(apps.OpenApi, "application/json");
}
