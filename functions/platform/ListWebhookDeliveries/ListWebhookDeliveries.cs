using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>One event for one webhook.</summary>
/// <param name="EventId">The <c>webhook-id</c> that the receiver sees.</param>
/// <param name="Status"><c>pending</c>, <c>delivered</c> or <c>failed</c>.</param>
/// <param name="Attempts">How often it was sent.</param>
/// <param name="LastStatus">The HTTP status of the last answer; null when there was none.</param>
/// <param name="LastError">Why the last attempt failed.</param>
/// <param name="NextAttemptAt">Null unless it is pending.</param>
public sealed record WebhookDeliveryDto(
    long Id, Guid EventId, string Type, string Status, int Attempts, int? LastStatus, string? LastError, DateTimeOffset? LastAttemptAt,
    DateTimeOffset? NextAttemptAt, DateTimeOffset CreatedAt);

public sealed record WebhookDeliveryQuery(
    [AllowedValues("pending", "delivered", "failed")] string? Status, [Range(1, 200), DefaultValue(50)] int Limit, [FromQuery(Name = "cursor")] long? Before);

[JsonSourceGenerationOptions(System.Text.Json.JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<WebhookDeliveryDto>))]
internal sealed partial class ListWebhookDeliveriesJson : JsonSerializerContext;

/// <summary>GET /webhooks/{id}/deliveries?status=&amp;limit=&amp;cursor=: what became of the events of the last 30 days, newest first. 404.</summary>
public sealed class ListWebhookDeliveries(UnitOfWork work)
{
    [Function(nameof(ListWebhookDeliveries)), RequireScope("webhooks:read")]
    [Operation(Query = typeof(WebhookDeliveryQuery), Answer = typeof(IReadOnlyList<WebhookDeliveryDto>))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "webhooks/{id:guid}/deliveries")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var query = QueryParameters.Of(http);
        var limit = query.Integer("limit", 1, 200, 50);
        var before = query.CursorNumber() ?? long.MaxValue;
        Sql status = query.OneOf("status", "", "pending", "delivered", "failed") is { Length: > 0 } word ? $"and status = {word}" : Sql.Empty;
        if (!await work.QueryFirstAsync($"select exists (select from platform.webhooks where id = {id})", row => row.GetBoolean(0), cancel))
            return Problem.NotFound("webhook").ToAnswer();
        var deliveries = await work.QueryAsync(
            $"""
            select id, event_id, type, status, attempts, last_status, last_error, last_attempt_at,
                case when status = 'pending' then greatest(next_attempt_at, lease_until) end, created_at
            from platform.webhook_deliveries
            where webhook_id = {id} and id < {before} {status}
            order by id desc
            limit {limit + 1}
            """,
            row => new WebhookDeliveryDto(
                row.GetInt64(0), row.GetGuid(1), row.GetString(2), row.GetString(3), row.GetInt32(4), row.IsDBNull(5) ? null : row.GetInt32(5),
                row.IsDBNull(6) ? null : row.GetString(6), row.IsDBNull(7) ? null : row.GetFieldValue<DateTimeOffset>(7),
                row.IsDBNull(8) ? null : row.GetFieldValue<DateTimeOffset>(8), row.GetFieldValue<DateTimeOffset>(9)),
            cancel);
        return query.Page(deliveries, limit, delivery => delivery.Id, ListWebhookDeliveriesJson.Default.IReadOnlyListWebhookDeliveryDto);
    }
}
