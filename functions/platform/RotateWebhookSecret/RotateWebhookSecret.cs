using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>
/// POST /webhooks/{id}/secret: a new secret. For 24 hours events are signed with the one before as well, so that the receiver can change over.
/// 201 with the secret; 404.
/// </summary>
public sealed class RotateWebhookSecret(UnitOfWork work)
{
    [Function(nameof(RotateWebhookSecret)), RequireScope("webhooks:write")]
    [Operation(Answer = typeof(NewWebhookDto), Status = 201)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "webhooks/{id:guid}/secret")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        return await work.RunAsync(http, () => RotateAsync(id, cancel), cancel);
    }

    private async Task<Answer> RotateAsync(Guid id, CancellationToken cancel)
    {
        var secret = WebhookSignature.NewSecret();
        var webhook = await work.QueryFirstAsync(
            $"""
            update platform.webhooks
            set previous_secret = secret, previous_until = now() + interval '24 hours', secret = {secret}, version = version + 1, updated_at = now()
            where id = {id}
            returning {WebhookDto.Columns}
            """,
            WebhookDto.From,
            cancel);
        return webhook is null
            ? Problem.NotFound("webhook").ToAnswer()
            : Answer.CreatedOnce(
                $"/webhooks/{id}", new NewWebhookDto(webhook, secret), new NewWebhookDto(webhook, null), WebhookJson.Default.NewWebhookDto, webhook.Version);
    }
}
