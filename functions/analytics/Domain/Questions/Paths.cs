using System.Text.Json.Serialization;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/paths</c>: what comes right after an event, or comes right before it.</summary>
/// <param name="Event">The event that the paths begin at.</param>
/// <param name="Direction"><c>next</c> or <c>previous</c>.</param>
/// <param name="From">The first moment that counts; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Sessions">Those in which the event is.</param>
/// <param name="Visitors">Different visitors whose sessions these are.</param>
/// <param name="Paths">The shortest first, and of one length those of most sessions first. Every path's beginning is there too.</param>
/// <param name="Breakdown">The same for the values that a property of the events at the beginning has in most sessions, when it was asked for.</param>
/// <param name="Interval"><c>hour</c>, <c>day</c>, <c>week</c> (from Monday) or <c>month</c>, UTC, when it was asked for.</param>
/// <param name="Series">One point for each interval that the range touches, when an interval was asked for.</param>
public sealed record PathsDto(
    string Event, string Direction, DateTimeOffset? From, DateTimeOffset? To, long Sessions, long Visitors, IReadOnlyList<PathDto> Paths,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<PathShare>? Breakdown = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Interval = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<PathPoint>? Series = null);

/// <param name="Steps">What came one after the other, away from the event, which is not among them; each name or value cut off after 200 characters.</param>
/// <param name="Sessions">In how many sessions.</param>
/// <param name="Visitors">Different visitors whose sessions these are.</param>
/// <param name="Ended">Sessions of them in which nothing more came.</param>
public sealed record PathDto(IReadOnlyList<string> Steps, long Sessions, long Visitors, long Ended);

/// <summary>The paths that begin at events with one value; see <see cref="PathsDto"/>.</summary>
/// <param name="Value">As in <see cref="EventShare"/>.</param>
public sealed record PathShare(string? Value, long Sessions, long Visitors, IReadOnlyList<PathDto> Paths);

/// <summary>The paths that begin in one interval.</summary>
/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
/// <param name="Sessions">Sessions whose event at the beginning is in the interval.</param>
/// <param name="Visitors">Different visitors whose sessions these are.</param>
public sealed record PathPoint(DateTimeOffset Start, long Sessions, long Visitors);

/// <summary>Paths with what they begin with, or a point of the series.</summary>
/// <param name="Value">The place of the value in the breakdown, 0 for all; null for a point of the series.</param>
/// <param name="Path">The first of each value has no steps: it is of all sessions.</param>
public readonly record struct PathRow(long? Value, DateTime? Start, string? Text, PathDto Path);

/// <summary>The numbers of <c>GET /analytics/paths</c>, from the events themselves.</summary>
public static class PathScan
{
    /// <param name="names">Those that the events of the range have.</param>
    /// <param name="name">Of the event at the beginning.</param>
    /// <param name="query">Of that event too.</param>
    /// <param name="step">What a step is called by.</param>
    /// <param name="isBackwards">What came before is asked for.</param>
    /// <param name="depth">Steps of the longest path.</param>
    /// <param name="limit">Paths of each length, and values of the breakdown.</param>
    /// <param name="interval">Of the series; null for none.</param>
    public static Task<List<PathRow>> RunAsync(
        UnitOfWork work, TimeRange range, string[] names, string name, ScanQuery query, EventProperty step, bool isBackwards, int depth, int limit, string? interval,
        CancellationToken cancel)
    {
        // Away from the event at the beginning.
        Sql order = isBackwards ? (Sql)$"occurred_at desc, message_id collate \"C\" desc" : $"occurred_at, message_id collate \"C\"";
        var by = query.Property();
        // A path counts among all (value 0) and among those of its value in the breakdown, by its place there.
        return work.QueryAsync(
            $"""
            with recursive seen as (
              select e.visitor, e.occurred_at, e.message_id, {Anchor()} as is_anchor, {by?.Value ?? (Sql)$"null::text"} as text,
                {(step.Name == "@event" ? step.Value : (Sql)$"case when e.name = {name} then {step.Value} end")} as step,
                coalesce(e.occurred_at - lag(e.occurred_at) over (partition by e.visitor order by e.occurred_at) >= {Session.Silence}, false) as is_new
              from analytics.events e
              where e.name = any({names}) and e.occurred_at >= {range.From} and e.occurred_at < {range.To} and e.visitor in (
                select e.visitor from analytics.events e where {Anchor()} and e.occurred_at >= {range.From} and e.occurred_at < {range.To})
            ), sessions as (
              select *, count(*) filter (where is_new) over (partition by visitor order by occurred_at) as session from seen
            ), placed as (
              select *, count(step) over (partition by visitor, session order by {order}) as place from sessions where step is not null or is_anchor
            ), begun as (
              select *, min(place) filter (where is_anchor) over (partition by visitor, session) as beginning from placed
            ), walks as materialized (
              select visitor, coalesce(array_agg(step order by place) filter (where place > beginning and step is not null), array[]::text[]) as steps,
                (array_agg(occurred_at order by {order}) filter (where is_anchor))[1] as began, (array_agg(text order by {order}) filter (where is_anchor))[1] as text
              from begun
              where place >= beginning and place <= beginning + {depth + 1}
              group by visitor, session
            ), tops as (
              select text, row_number() over (order by count(*) desc, text collate "C") as value from walks where {by is not null} group by text
            ), valued as (
              select 0::bigint as value, null as text, visitor, steps from walks
              union all
              select t.value, t.text, w.visitor, w.steps from walks w join tops t on t.text is not distinct from w.text and t.value <= {limit}
            ), counted as materialized (
              select value, text, steps[:length] as steps, count(*) as sessions, count(distinct visitor) as visitors, count(*) filter (where cardinality(steps) = length) as ended
              from valued cross join generate_series(0, least(cardinality(steps), {depth})) as length
              group by 1, 2, 3
            ), kept as (
              select c.*, 1::bigint as rank from counted c where cardinality(steps) = 0
              union all
              select * from (
                select c.*, row_number() over (partition by c.value order by c.sessions desc, c.steps collate "C") as rank
                from kept k join counted c on c.value = k.value and cardinality(c.steps) > 0 and c.steps[:cardinality(c.steps) - 1] = k.steps
              ) as longer
              where rank <= {limit}
            )
            select * from (
              select value, null::timestamptz as start, text, steps, sessions, visitors, ended, rank from kept
              union all
              select null, date_trunc({interval}, began, 'UTC'), null, array[]::text[], count(*), count(distinct visitor), 0, 0 from walks
              where {interval is not null} group by 2
            ) as answer
            order by value, cardinality(steps), rank
            """,
            row => new PathRow(
                row.GetFieldValue<long?>(0), row.GetFieldValue<DateTime?>(1), row.IsDBNull(2) ? null : row.GetString(2),
                new(row.GetFieldValue<string[]>(3), row.GetInt64(4), row.GetInt64(5), row.GetInt64(6))),
            cancel);

        // The event that a path may begin at.
        Sql Anchor() => $"(e.name = {name} {query.AndFits})";
    }
}
