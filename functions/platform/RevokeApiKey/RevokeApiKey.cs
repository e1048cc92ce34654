using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>
/// DELETE /api-keys/{id}: the key, and all that were made with it, are refused from now on; other processes may accept them for up to 30 seconds
/// more. 204; 404; 412 and 428 as for any change.
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

    private async Task<Answer> DeleteAsync(Guid id, long[]? expected, CancellationToken cancel)
    {
        if (expected is not null && !expected.Contains(ApiKey.OnlyVersion))
            return await work.QueryFirstAsync($"select prefix from platform.api_keys where id = {id}", row => row.GetString(0), cancel) is null
                ? Problem.NotFound("API key").ToAnswer()
                : Conditions.Stale.ToAnswer();
        // What a key is making at this moment is not seen here, and goes by the foreign key.
        var prefixes = await work.QueryAsync(
            $"""
            with recursive revoked (id) as (
              select id from platform.api_keys where id = {id} union select k.id from platform.api_keys k join revoked on k.made_by = revoked.id)
            delete from platform.api_keys where id in (select id from revoked) returning prefix
            """,
            row => row.GetString(0),
            cancel);
        if (prefixes.Count == 0)
            return Problem.NotFound("API key").ToAnswer();
        work.AfterCommit(() => prefixes.ForEach(keys.Forget));
        return Answer.NoContent();
    }
}
