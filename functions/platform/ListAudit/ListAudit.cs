using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>One command that was done.</summary>
/// <param name="Subject">Who called: the token's subject, or an API key's.</param>
/// <param name="Action">The function's name, such as <c>CreateUser</c>.</param>
/// <param name="Subjects">The ids of what it changed, as far as they are known; at most 100.</param>
/// <param name="EventTypes">The types of the events that it recorded.</param>
/// <param name="RemoteAddress">The client's, as far as known proxies tell it; else the address that the connection came from.</param>
/// <param name="Status">The HTTP status that it was answered with.</param>
/// <param name="MessageId">The id of the message that brought it, when another system did.</param>
public sealed record AuditDto(
    long Id, DateTimeOffset At, string Subject, string Action, string Method, string Path, IReadOnlyList<string> Subjects,
    IReadOnlyList<string> EventTypes, string? RemoteAddress, string? TraceId, int Status,
    string? MessageId);

/// <param name="Subject">Who called.</param>
/// <param name="Action">The function's name.</param>
/// <param name="From">Inclusive.</param>
/// <param name="To">Exclusive.</param>
public sealed record AuditQuery(
    string? Subject, string? Action, DateTimeOffset? From, DateTimeOffset? To, [Range(1, 500), DefaultValue(50)] int Limit,
    [FromQuery(Name = "cursor")] long? Before);

[JsonSourceGenerationOptions(System.Text.Json.JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<AuditDto>))]
internal sealed partial class ListAuditJson : JsonSerializerContext;

/// <summary>GET /audit?subject=&amp;action=&amp;from=&amp;to=&amp;limit=&amp;cursor=: what was done in the organisation, newest first; from is inclusive, to is not.</summary>
public sealed class ListAudit(UnitOfWork work)
{
    [Function(nameof(ListAudit)), RequireScope("audit:read")]
    [Operation(Query = typeof(AuditQuery), Answer = typeof(IReadOnlyList<AuditDto>))]
    public async Task<IResult> Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "audit")] HttpRequest http, CancellationToken cancel)
    {
        var query = QueryParameters.Of(http);
        var limit = query.Integer("limit", 1, 500, 50);
        var before = query.CursorNumber() ?? long.MaxValue;
        Sql subject = query.Text("subject") is { } who ? $"and subject = {who}" : Sql.Empty;
        Sql action = query.Text("action") is { } what ? $"and action = {what}" : Sql.Empty;
        Sql from = query.Time("from") is { } start ? $"and at >= {start}" : Sql.Empty;
        Sql to = query.Time("to") is { } end ? $"and at < {end}" : Sql.Empty;
        var entries = await work.QueryAsync(
            $"""
            select id, at, subject, action, method, path, subjects, event_types, host(remote_address), trace_id, status, message_id
            from platform.audit
            where id < {before} {subject} {action} {from} {to}
            order by id desc
            limit {limit + 1}
            """,
            row => new AuditDto(
                row.GetInt64(0), row.GetFieldValue<DateTimeOffset>(1), row.GetString(2), row.GetString(3), row.GetString(4), row.GetString(5),
                row.GetFieldValue<string[]>(6), row.GetFieldValue<string[]>(7), row.IsDBNull(8) ? null : row.GetString(8),
                row.IsDBNull(9) ? null : row.GetString(9), row.GetInt32(10), row.IsDBNull(11) ? null : row.GetString(11)),
            cancel);
        return query.Page(entries, limit, entry => entry.Id, ListAuditJson.Default.IReadOnlyListAuditDto);
    }
}
