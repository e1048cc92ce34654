using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

public sealed record ApiKeyQuery([Range(1, 200), DefaultValue(50)] int Limit, [FromQuery(Name = "cursor")] Guid? After);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<ApiKeyDto>))]
internal sealed partial class ListApiKeysJson : JsonSerializerContext;

/// <summary>GET /api-keys?limit=&amp;cursor=: the organisation's keys, oldest first, without their secrets. Revoked ones are gone.</summary>
public sealed class ListApiKeys(UnitOfWork work)
{
    [Function(nameof(ListApiKeys)), RequireScope("apikeys:read")]
    [Operation(Query = typeof(ApiKeyQuery), Answer = typeof(IReadOnlyList<ApiKeyDto>))]
    public async Task<IResult> Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "api-keys")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var limit = parameters.Integer("limit", 1, 200, 50);
        var keys = await work.QueryAsync(
            $"""
            select {ApiKeyDto.Columns}
            from platform.api_keys
            where id > {parameters.CursorId() ?? Guid.Empty}
            order by id
            limit {limit + 1}
            """,
            ApiKeyDto.From,
            cancel);
        return parameters.Page(keys, limit, key => key.Id, ListApiKeysJson.Default.IReadOnlyListApiKeyDto);
    }
}
