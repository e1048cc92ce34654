using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>POST /dead-letters/{id}/redrive: the record gets all its attempts again, and what waits behind it follows.</summary>
public sealed class RedriveDeadLetter(UnitOfWork work)
{
    [Function(nameof(RedriveDeadLetter)), RequireScope("platform:write")]
    [Operation(Status = 202)]
    public Task<Answer> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "dead-letters/{id:long}/redrive")] HttpRequest http, long id, CancellationToken cancel) =>
        work.RunAsync(
            http,
            async () => await work.ExecuteAsync(
                $"""
                update platform.parked set state = 'retrying', attempts = 0, next_attempt_at = now()
                where id = {id} and state = 'dead'
                """,
                cancel) == 0 ? Problem.NotFound("dead letter").ToAnswer() : Answer.Accepted(),
            cancel);
}
