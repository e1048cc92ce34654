using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

public sealed record UpdateWebhookCommand(string Url, IReadOnlyList<string> EventTypes, bool Enabled) : WebhookDetails(Url, EventTypes, Enabled);

[JsonSerializable(typeof(UpdateWebhookCommand))]
internal sealed partial class UpdateWebhookJson : JsonSerializerContext;

/// <summary>
/// PUT /webhooks/{id}: replaces all but the secret. While a webhook is disabled nothing is queued for it, and what is queued waits. 200; 400
/// naming the fields; 404; 412 and 428 as for any change.
/// </summary>
public sealed class UpdateWebhook(UnitOfWork work, WebhookSender sender)
{
    [Function(nameof(UpdateWebhook)), RequireScope("webhooks:write")]
    [Operation(
        Body = typeof(UpdateWebhookCommand), Answer = typeof(WebhookDto),
        Example = """{"url":"https://hooks.example.com/agency/example-1","eventTypes":["agency.users.user-deleted.v1"],"enabled":true}""")]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "put", Route = "webhooks/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var expected = http.IfMatch();
        var given = await http.ReadAsync<UpdateWebhookCommand>(UpdateWebhookJson.Default, cancel);
        return await work.RunAsync(http, () => ReplaceAsync(id, expected, given, cancel), cancel);
    }

    private async Task<Answer> ReplaceAsync(Guid id, long[]? expected, UpdateWebhookCommand given, CancellationToken cancel)
    {
        await work.LockVersionAsync($"platform.webhooks where id = {id}", expected, "webhook", cancel);
        var before = await work.QueryFirstAsync($"select {WebhookDto.Columns} from platform.webhooks where id = {id}", WebhookDto.From, cancel);
        await given.CheckAsync(before, sender, work, cancel);
        var webhook = await work.QueryFirstAsync(
            $"""
            update platform.webhooks
            set url = {given.Url}, event_types = {given.EventTypes.ToArray()}, enabled = {given.Enabled},
                disabled_reason = case when {given.Enabled} then null else disabled_reason end, version = version + 1, updated_at = now()
            where id = {id}
            returning {WebhookDto.Columns}
            """,
            WebhookDto.From,
            cancel);
        return Answer.Ok(webhook!, WebhookJson.Default.WebhookDto, webhook!.Version);
    }
}
