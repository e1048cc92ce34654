using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>DELETE /webhooks/{id}: ends a webhook; what is queued for it is not sent. 204; 404; 412 and 428 as for any change.</summary>
public sealed class DeleteWebhook(UnitOfWork work)
{
    [Function(nameof(DeleteWebhook)), RequireScope("webhooks:write")]
    [Operation(Status = 204)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "delete", Route = "webhooks/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var expected = http.IfMatch();
        return await work.RunAsync(
            http,
            async () =>
            {
                await work.LockVersionAsync($"platform.webhooks where id = {id}", expected, "webhook", cancel);
                await work.ExecuteAsync($"delete from platform.webhooks where id = {id}", cancel);
                return Answer.NoContent();
            },
            cancel);
    }
}
