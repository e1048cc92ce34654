using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>
/// POST /sagas/{id}/signals/{name}: tells a saga what it waits for, or will wait for. A JSON body, if there is one, goes with it. The
/// first signal of a name counts; the same again is accepted and changes nothing.
/// </summary>
public sealed class SignalSaga(UnitOfWork work, ISagaEngine sagas)
{
    [Function(nameof(SignalSaga)), RequireScope("sagas:write")]
    [Operation(Body = typeof(JsonElement), IsBodyOptional = true, Answer = typeof(SagaLink), Status = 202)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "sagas/{id}/signals/{name}")] HttpRequest http,
        string id, string name, CancellationToken cancel)
    {
        // Neither a length nor chunks: no body.
        var data = http.ContentLength is null or 0 && http.Headers.TransferEncoding.Count == 0 ? default : await http.ReadAnyJsonAsync(cancel);
        return await work.RunAsync(http, async () => (await sagas.SignalAsync(id, name, data, cancel)).ToAnswer(id), cancel);
    }
}
