using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>
/// POST /webhooks/{id}/deliveries/{deliveryId}/redrive: sends it now, whatever became of it, and with all its retries again. One that is being
/// sent at this moment is left to that. 202; 404; 409 when the webhook is disabled.
/// </summary>
public sealed class RedriveWebhookDelivery(UnitOfWork work)
{
    [Function(nameof(RedriveWebhookDelivery)), RequireScope("webhooks:write")]
    [Operation(Status = 202)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "webhooks/{id:guid}/deliveries/{deliveryId:long}/redrive")] HttpRequest http,
        Guid id, long deliveryId, CancellationToken cancel)
    {
        return await work.RunAsync(http, () => RedriveAsync(id, deliveryId, cancel), cancel);
    }

    private async Task<Answer> RedriveAsync(Guid id, long deliveryId, CancellationToken cancel)
    {
        var enabled = await work.QueryFirstAsync<bool?>(
            $"""
            select w.enabled
            from platform.webhook_deliveries d
            join platform.webhooks w on w.id = d.webhook_id
            where d.id = {deliveryId} and w.id = {id}
            """,
            row => row.GetBoolean(0),
            cancel);
        if (enabled is null)
            return Problem.NotFound("delivery of this webhook").ToAnswer();
        if (enabled is false)
            return Problem.Of(409, "webhook-disabled", "The webhook is disabled", "Enable it first; what is pending is sent then.").ToAnswer();
        await work.ExecuteAsync(
            $"""
            update platform.webhook_deliveries
            set status = 'pending', tries = 0, next_attempt_at = now(), lease_until = null
            where id = {deliveryId} and (lease_until is null or lease_until < now())
            """,
            cancel);
        return Answer.Accepted();
    }
}
