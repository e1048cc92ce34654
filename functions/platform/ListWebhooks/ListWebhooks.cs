using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

public sealed record WebhookQuery([Range(1, 200), DefaultValue(50)] int Limit, [FromQuery(Name = "cursor")] Guid? After);

/// <summary>GET /webhooks?limit=&amp;cursor=: the organisation's webhooks, oldest first, without their secrets.</summary>
public sealed class ListWebhooks(UnitOfWork work)
{
    [Function(nameof(ListWebhooks)), RequireScope("webhooks:read")]
    [Operation(Query = typeof(WebhookQuery), Answer = typeof(IReadOnlyList<WebhookDto>))]
    public async Task<IResult> Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "webhooks")] HttpRequest http, CancellationToken cancel)
    {
        var query = QueryParameters.Of(http);
        var limit = query.Integer("limit", 1, 200, 50);
        var webhooks = await work.QueryAsync(
            $"""
            select {WebhookDto.Columns}
            from platform.webhooks
            where id > {query.CursorId() ?? Guid.Empty}
            order by id
            limit {limit + 1}
            """,
            WebhookDto.From,
            cancel);
        return query.Page(webhooks, limit, webhook => webhook.Id, WebhookJson.Default.IReadOnlyListWebhookDto);
    }
}
