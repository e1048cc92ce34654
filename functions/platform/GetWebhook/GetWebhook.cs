using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>GET /webhooks/{id}: one webhook, without its secret. 404.</summary>
public sealed class GetWebhook(UnitOfWork work)
{
    [Function(nameof(GetWebhook)), RequireScope("webhooks:read")]
    [Operation(Answer = typeof(WebhookDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "webhooks/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var webhook = await work.QueryFirstAsync($"select {WebhookDto.Columns} from platform.webhooks where id = {id}", WebhookDto.From, cancel);
        return webhook is null ? Problem.NotFound("webhook").ToAnswer() : Answer.Ok(webhook, WebhookJson.Default.WebhookDto, webhook.Version);
    }
}
