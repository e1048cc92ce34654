using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>GET /sagas/{id}: where a saga is, what it waits for, and its history.</summary>
public sealed class GetSaga(ISagaEngine sagas)
{
    [Function(nameof(GetSaga)), RequireScope("sagas:read")]
    [Operation(Answer = typeof(SagaDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "sagas/{id}")] HttpRequest http, string id, CancellationToken cancel)
    {
        var saga = await sagas.FindAsync(id, cancel);
        return saga is null ? Problem.NotFound("saga").ToAnswer() : Answer.Ok(saga, SagaJson.Default.SagaDto, saga.Version);
    }
}
