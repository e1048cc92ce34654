using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

public sealed record CreateWebhookCommand(string Url, IReadOnlyList<string> EventTypes, bool Enabled = true) : WebhookDetails(Url, EventTypes, Enabled);

[JsonSerializable(typeof(CreateWebhookCommand))]
internal sealed partial class CreateWebhookJson : JsonSerializerContext;

/// <summary>
/// POST /webhooks: from now on events of these types are sent to this URL, at least once and in no promised order. 201 with the secret that
/// verifies them; 400 naming the fields; 409 when there are too many.
/// </summary>
public sealed class CreateWebhook(UnitOfWork work, WebhookSender sender)
{
    /// <summary>Webhooks of one organisation: what one event may at most be multiplied by.</summary>
    public const int Most = 100;

    [Function(nameof(CreateWebhook)), RequireScope("webhooks:write")]
    [Operation(
        Body = typeof(CreateWebhookCommand), Answer = typeof(NewWebhookDto), Status = 201,
        Example = """{"url":"https://hooks.example.com/agency/example-1","eventTypes":["agency.users.user-deleted.v1"],"enabled":true}""")]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "webhooks")] HttpRequest http, CancellationToken cancel)
    {
        var given = await http.ReadAsync<CreateWebhookCommand>(CreateWebhookJson.Default, cancel);
        return await work.RunAsync(http, () => InsertAsync(given, cancel), cancel);
    }

    private async Task<Answer> InsertAsync(CreateWebhookCommand given, CancellationToken cancel)
    {
        await given.CheckAsync(null, sender, work, cancel);
        // Of several at once each counts those before it.
        await work.LockAsync("webhooks", cancel);
        var secret = WebhookSignature.NewSecret();
        var webhook = await work.QueryFirstAsync(
            $"""
            insert into platform.webhooks (id, url, event_types, enabled, secret)
            select {Guid.CreateVersion7()}, {given.Url}, {given.EventTypes.ToArray()}, {given.Enabled}, {secret}
            where (select count(*) from platform.webhooks) < {Most}
            returning {WebhookDto.Columns}
            """,
            WebhookDto.From,
            cancel);
        return webhook is null
            ? Problem.Of(409, "too-many-webhooks", "There are too many webhooks", $"An organisation has at most {Most}; delete one first.").ToAnswer()
            : Answer.CreatedOnce(
                $"/webhooks/{webhook.Id}", new NewWebhookDto(webhook, secret), new NewWebhookDto(webhook, null), WebhookJson.Default.NewWebhookDto,
                webhook.Version);
    }
}
