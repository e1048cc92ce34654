using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Event">The event that the paths begin at: in each session the first of it, or the last when what came before is asked for.</param>
/// <param name="Filter">Which of these events count, such as <c>$path = '/pricing'</c>; what comes after or before may be any.</param>
/// <param name="Property">
/// What a step is called by. With <c>@event</c> every event is a step; with a property, such as <c>$path</c>, those are that have it and
/// the same name as the event at the beginning.
/// </param>
/// <param name="Direction">What came after it, or what came before.</param>
/// <param name="Depth">Steps of the longest path.</param>
/// <param name="Limit">Paths of each length.</param>
public sealed record PathQuery(
    SpanQuery Span, [Required] string Event,
    [MaxLength(EventFilter.MaxLength), Display(Prompt = "$path = '/pricing'")] string? Filter,
    [DefaultValue("@event")] string Property, [AllowedValues("next", "previous"), DefaultValue("next")] string Direction,
    [Range(1, 5), DefaultValue(3)] int Depth, [Range(1, 100), DefaultValue(10)] int Limit, AnswerFormat As);

/// <summary>GET /analytics/paths: what visitors do right after an event or before it, within the same session, from the events themselves.</summary>
public sealed class GetPathAnalytics(UnitOfWork work)
{
    [Function(nameof(GetPathAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(PathQuery), Answer = typeof(PathsDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/paths")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new PathQuery(
            SpanQuery.Of(parameters), parameters.RequiredText("event"), parameters.Text("filter", EventFilter.MaxLength), parameters.Text("property") ?? "@event",
            parameters.OneOf("direction", "next", "next", "previous"), parameters.Integer("depth", 1, 5, 3), parameters.Integer("limit", 1, 100, 10), AnswerFormat.Of(parameters));
        var filter = query.Filter is null ? null : EventFilter.Parse(query.Filter);
        var property = new EventProperty(query.Property);
        property.Check("property");
        var (first, last) = await work.EventHoursAsync(cancel);
        var answer = new PathsDto(query.Event, query.Direction, query.Span.From, query.Span.To, 0, 0, []);
        if (query.Span.Within(first, last) is { } range)
        {
            var names = await work.NamesToScanAsync(range, null, cancel);
            var rows = names.Contains(query.Event) ? await ReadAsync(query, filter, property, names, range, cancel) : [];
            var whole = rows.Find(r => r.Steps.Count == 0) ?? new([], 0, 0, 0);
            answer = answer with { From = range.From, To = range.To, Sessions = whole.Sessions, Visitors = whole.Visitors, Paths = rows.FindAll(r => r.Steps.Count > 0) };
        }

        return query.As.Answer(http, answer, AnalyticsJson.Default.PathsDto, "paths");
    }

    private Task<List<PathDto>> ReadAsync(PathQuery query, EventFilter? filter, EventProperty property, string[] names, TimeRange range, CancellationToken cancel)
    {
        // Away from the event at the beginning.
        Sql order = query.Direction == "next" ? (Sql)$"occurred_at, message_id collate \"C\"" : $"occurred_at desc, message_id collate \"C\" desc";
        return work.QueryAsync(
            $"""
            with recursive seen as (
              select e.visitor, e.occurred_at, e.message_id, {Anchor(query, filter)} as is_anchor,
                {(property.Name == "@event" ? property.Value : (Sql)$"case when e.name = {query.Event} then {property.Value} end")} as step,
                coalesce(e.occurred_at - lag(e.occurred_at) over (partition by e.visitor order by e.occurred_at) >= {Session.Silence}, false) as is_new
              from analytics.events e
              where e.name = any({names}) and e.occurred_at >= {range.From} and e.occurred_at < {range.To} and e.visitor in (
                select e.visitor from analytics.events e where {Anchor(query, filter)} and e.occurred_at >= {range.From} and e.occurred_at < {range.To})
            ), sessions as (
              select *, count(*) filter (where is_new) over (partition by visitor order by occurred_at) as session from seen
            ), placed as (
              select *, count(step) over (partition by visitor, session order by {order}) as place from sessions where step is not null or is_anchor
            ), begun as (
              select *, min(place) filter (where is_anchor) over (partition by visitor, session) as beginning from placed
            ), walks as (
              select visitor, coalesce(array_agg(step order by place) filter (where place > beginning and step is not null), array[]::text[]) as steps
              from begun
              where place >= beginning and place <= beginning + {query.Depth + 1}
              group by visitor, session
            ), counted as materialized (
              select steps[:length] as steps, count(*) as sessions, count(distinct visitor) as visitors, count(*) filter (where cardinality(steps) = length) as ended
              from walks cross join generate_series(0, least(cardinality(steps), {query.Depth})) as length
              group by 1
            ), kept as (
              select c.*, 1::bigint as rank from counted c where cardinality(steps) = 0
              union all
              select * from (
                select c.*, row_number() over (order by c.sessions desc, c.steps collate "C") as rank
                from kept k join counted c on cardinality(c.steps) > 0 and c.steps[:cardinality(c.steps) - 1] = k.steps
              ) as longer
              where rank <= {query.Limit}
            )
            select steps, sessions, visitors, ended from kept order by cardinality(steps), rank
            """,
            row => new PathDto(row.GetFieldValue<string[]>(0), row.GetInt64(1), row.GetInt64(2), row.GetInt64(3)),
            cancel);
    }

    /// <summary>The event that a path may begin at.</summary>
    private static Sql Anchor(PathQuery query, EventFilter? filter) =>
        filter is null ? (Sql)$"e.name = {query.Event}" : $"(e.name = {query.Event} and {filter.Condition})";
}
