using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>DELETE /dead-letters/{id}: gives the record up for good; what waits behind it follows.</summary>
public sealed class DiscardDeadLetter(UnitOfWork work)
{
    [Function(nameof(DiscardDeadLetter)), RequireScope("platform:write")]
    [Operation(Status = 204, IsUnconditional = true)]
    public Task<Answer> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "delete", Route = "dead-letters/{id:long}")] HttpRequest http, long id, CancellationToken cancel) =>
        work.RunAsync(
            http,
            async () => await work.ExecuteAsync($"delete from platform.parked where id = {id} and state = 'dead'", cancel) == 0
                ? Problem.NotFound("dead letter").ToAnswer()
                : Answer.NoContent(),
            cancel);
}
