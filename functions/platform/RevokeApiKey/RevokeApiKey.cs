using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>
/// DELETE /api-keys/{id}: the key is refused from now on; other processes may accept it for up to 30 seconds more. Keys that were made with it
/// stay. 204; 404; 412 and 428 as for any change.
/// </summary>
public sealed class RevokeApiKey(UnitOfWork work, ApiKeys keys)
{
    [Function(nameof(RevokeApiKey)), RequireScope("apikeys:write")]
    [Operation(Status = 204)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "delete", Route = "api-keys/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var expected = http.IfMatch();
        return await work.RunAsync(http, () => DeleteAsync(id, expected, cancel), cancel);
    }

    private async Task<Answer> DeleteAsync(Guid id, long? expected, CancellationToken cancel)
    {
        if (expected is not (null or ApiKey.OnlyVersion))
            return await work.QueryFirstAsync($"select prefix from platform.api_keys where id = {id}", row => row.GetString(0), cancel) is null
                ? Problem.NotFound("API key").ToAnswer()
                : Conditions.Stale.ToAnswer();
        var prefix = await work.QueryFirstAsync($"delete from platform.api_keys where id = {id} returning prefix", row => row.GetString(0), cancel);
        if (prefix is null)
            return Problem.NotFound("API key").ToAnswer();
        work.AfterCommit(() => keys.Forget(prefix));
        return Answer.NoContent();
    }
}
