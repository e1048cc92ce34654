using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Event">Events of this name.</param>
public sealed record ViolationQuery([MaxLength(EventReader.MaxText)] string? Event, [Range(1, 500), DefaultValue(50)] int Limit, [FromQuery(Name = "cursor")] long? Before);

/// <summary>GET /analytics/violations?event=&amp;limit=&amp;cursor=: where events did not follow the tracking plan, newest first; the last 10,000.</summary>
public sealed class ListViolations(UnitOfWork work)
{
    [Function(nameof(ListViolations)), RequireScope("analytics:read")]
    [Operation(Query = typeof(ViolationQuery), Answer = typeof(IReadOnlyList<ViolationDto>))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/violations")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new ViolationQuery(parameters.Text("event", EventReader.MaxText), parameters.Integer("limit", 1, 500, 50), parameters.CursorNumber());
        Sql named = query.Event is { } name ? $"and event = {name}" : Sql.Empty;
        var violations = await work.QueryAsync(
            $"""
            select id, event, property, rule, message_id, refused, at
            from analytics.violations
            where id < {query.Before ?? long.MaxValue} {named}
            order by id desc
            limit {query.Limit + 1}
            """,
            row => new ViolationDto(
                row.GetInt64(0), row.GetString(1), row.GetString(2) is { Length: > 0 } property ? property : null, row.GetString(3), row.GetString(4),
                row.GetBoolean(5), row.GetFieldValue<DateTimeOffset>(6)),
            cancel);
        return parameters.Page(violations, query.Limit, violation => violation.Id, AnalyticsJson.Default.IReadOnlyListViolationDto);
    }
}
