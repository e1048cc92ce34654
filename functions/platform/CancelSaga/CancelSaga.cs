using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>POST /sagas/{id}/cancel: asks a saga to stop and take back what it did.</summary>
public sealed class CancelSaga(UnitOfWork work, ISagaEngine sagas)
{
    [Function(nameof(CancelSaga)), RequireScope("sagas:write")]
    [Operation(Answer = typeof(SagaLink), Status = 202)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "sagas/{id}/cancel")] HttpRequest http, string id, CancellationToken cancel)
    {
        return await work.RunAsync(http, async () => (await sagas.CancelAsync(id, cancel)).ToAnswer(id), cancel);
    }
}
