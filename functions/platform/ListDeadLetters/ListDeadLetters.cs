using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>A record that a consumer gave up on.</summary>
/// <param name="Group">The consumer.</param>
/// <param name="Waiting">How many later records of the same subject wait behind it.</param>
public sealed record DeadLetterDto(
    long Id, string Group, string Topic, string Type, string Subject, Guid EventId, int Attempts, string Error, long Waiting, DateTimeOffset ParkedAt);

public sealed record DeadLetterQuery([Range(1, 200), DefaultValue(50)] int Limit, [FromQuery(Name = "cursor")] long? After);

[JsonSourceGenerationOptions(System.Text.Json.JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<DeadLetterDto>))]
internal sealed partial class ListDeadLettersJson : JsonSerializerContext;

/// <summary>GET /dead-letters?limit=&amp;cursor=: the records that consumers gave up on, oldest first.</summary>
public sealed class ListDeadLetters(UnitOfWork work)
{
    [Function(nameof(ListDeadLetters)), RequireScope("platform:read")]
    [Operation(Query = typeof(DeadLetterQuery), Answer = typeof(IReadOnlyList<DeadLetterDto>))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "dead-letters")] HttpRequest http, CancellationToken cancel)
    {
        var query = QueryParameters.Of(http);
        var limit = query.Integer("limit", 1, 200, 50);
        var after = query.CursorNumber() ?? 0;
        var dead = await work.QueryAsync(
            $"""
            select d.id, d.group_name, d.topic, d.type, d.subject, d.event_id, d.attempts, d.error, d.parked_at,
                (select count(*) from platform.parked w
                 where w.group_name = d.group_name and w.topic = d.topic and w.subject = d.subject and w.id > d.id)
            from platform.parked d
            where d.state = 'dead' and d.id > {after}
            order by d.id
            limit {limit + 1}
            """,
            row => new DeadLetterDto(
                row.GetInt64(0), row.GetString(1), row.GetString(2), row.GetString(3), row.GetString(4), row.GetGuid(5), row.GetInt32(6),
                row.GetString(7), row.GetInt64(9), row.GetFieldValue<DateTimeOffset>(8)),
            cancel);
        return query.Page(dead, limit, letter => letter.Id, ListDeadLettersJson.Default.IReadOnlyListDeadLetterDto);
    }
}
