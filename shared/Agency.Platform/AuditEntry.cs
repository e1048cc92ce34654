using System.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>
/// What the audit trail keeps of one command beside who called: never the body, the query string or a header, as those may hold personal
/// data and secrets. See docs/decisions/0008-audit.md.
/// </summary>
internal sealed record AuditEntry(string Function, string Method, string Path, string? RemoteAddress, string? TraceId, int Status, string? Location)
{
    /// <summary>A command that touches more says so in its events; a row here stays small.</summary>
    private const int MaxSubjects = 100;

    /// <summary>The id of the message that brought it, when another system did.</summary>
    public string? MessageId { get; init; }

    public static AuditEntry Of(HttpRequest http, Answer answer) => new(
        Exchange.Of(http.HttpContext).Function, http.Method, http.Path, ClientAddress.Of(http.HttpContext)?.ToString(),
        Activity.Current?.TraceId.ToString(), answer.Status, answer.Location);

    public Sql Insert(Caller caller, IReadOnlyList<RecordedEvent> events)
    {
        // A command that records no event names what it has made by its location.
        string[] subjects = events.Count > 0 ? [.. events.Select(e => e.Subject).Distinct().Take(MaxSubjects)] : Location is null ? [] : [Location[(Location.LastIndexOf('/') + 1)..]];
        string[] types = [.. events.Select(e => e.Type).Distinct()];
        return $"""
            insert into platform.audit (tenant_id, subject, action, method, path, subjects, event_types, remote_address, trace_id, status, message_id)
            values ({caller.Tenant}, {caller.Subject}, {Function}, {Method}, {Path}, {subjects}, {types}, {RemoteAddress}::inet, {TraceId}, {Status}, {MessageId})
            """;
    }
}
