using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Event">Events of this name.</param>
/// <param name="From">A day, UTC, inclusive; null for the first there is.</param>
/// <param name="To">A day, exclusive; null for the end of the last there is.</param>
/// <param name="Limit">Pairs of event and rule.</param>
public sealed record ViolationCountsQuery(
    [MaxLength(EventReader.MaxText)] string? Event, DateOnly? From, DateOnly? To, [Range(1, 1000), DefaultValue(100)] int Limit);

/// <summary>GET /analytics/violations/counts: how often events did not follow the tracking plan, by event and rule and by day.</summary>
public sealed class CountViolations(UnitOfWork work)
{
    [Function(nameof(CountViolations)), RequireScope("analytics:read")]
    [Operation(Query = typeof(ViolationCountsQuery), Answer = typeof(ViolationCountsDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/violations/counts")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new ViolationCountsQuery(
            parameters.Text("event", EventReader.MaxText), Day(parameters, "from"), Day(parameters, "to"), parameters.Integer("limit", 1, 1000, 100));
        if (query.From >= query.To)
            throw QueryParameters.Wrong("to", "Must be after from; it is the first day that does not count.");
        var counts = await work.QueryAsync(
            $"select event, rule, sum(violations)::bigint, max(day) {Rows(query)} group by event, rule order by 3 desc, event, rule limit {query.Limit}",
            row => new ViolationCount(row.GetString(0), row.GetString(1), row.GetInt64(2), row.GetFieldValue<DateOnly>(3)),
            cancel);
        var days = await work.QueryAsync(
            $"select day, sum(violations)::bigint {Rows(query)} group by day order by day",
            row => new ViolationDay(row.GetFieldValue<DateOnly>(0), row.GetInt64(1)),
            cancel);
        return Answer.Ok(new(days.Sum(day => day.Violations), counts, days), AnalyticsJson.Default.ViolationCountsDto);
    }

    private static Sql Rows(ViolationCountsQuery query)
    {
        Sql named = query.Event is { } name ? $"and event = {name}" : Sql.Empty;
        return $"from analytics.violation_counts where day >= {query.From ?? DateOnly.MinValue} and day < {query.To ?? DateOnly.MaxValue} {named}";
    }

    private static DateOnly? Day(QueryParameters parameters, string name) => parameters.Time(name) is not { } time ? null
        : time.UtcDateTime == time.UtcDateTime.Date ? DateOnly.FromDateTime(time.UtcDateTime)
        : throw QueryParameters.Wrong(name, "A day, UTC, such as 2026-01-02.");
}
