using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Interval">How long a cohort's interval and a period are.</param>
/// <param name="Event">What a visitor begins with; null for any event.</param>
/// <param name="Cohort">
/// <c>first-ever</c>: those who begin in the range, with the first such event there is of them. <c>first-in-range</c>: all with such an event in
/// the range, so that who began long ago is in a cohort of it too.
/// </param>
/// <param name="ReturnEvent">What counts as coming back; null for any event.</param>
/// <param name="Periods">How many, the one that the visitor begins in included.</param>
/// <param name="Scan">The filter and the breakdown are of the events that visitors begin with, not of those that they come back with.</param>
/// <param name="Limit">Values in the breakdown.</param>
public sealed record RetentionQuery(
    SpanQuery Span, [AllowedValues("day", "week", "month"), DefaultValue("week")] string Interval, string? Event, string? ReturnEvent,
    [AllowedValues(RetentionQuery.Ever, "first-in-range"), DefaultValue(RetentionQuery.Ever)] string Cohort,
    [Range(1, 60), DefaultValue(8)] int Periods, ScanQuery Scan, [Range(1, 100), DefaultValue(10)] int Limit, AnswerFormat As)
{
    internal const string Ever = "first-ever";
}

/// <summary>GET /analytics/retention: who comes back after so many days, weeks or months, from the events themselves.</summary>
public sealed class GetRetentionAnalytics(UnitOfWork work)
{
    private const int MaxCells = 100_000;

    [Function(nameof(GetRetentionAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(RetentionQuery), Answer = typeof(RetentionDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType], Problems = [503])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/retention")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new RetentionQuery(
            SpanQuery.Of(parameters), parameters.OneOf("interval", Interval.Week, Interval.Day, Interval.Week, Interval.Month), parameters.Text("event"),
            parameters.Text("returnEvent"), parameters.OneOf("cohort", RetentionQuery.Ever, RetentionQuery.Ever, "first-in-range"), parameters.Integer("periods", 1, 60, 8), ScanQuery.Of(parameters), parameters.Integer("limit", 1, 100, 10), AnswerFormat.Of(parameters));
        var (first, last) = await work.EventHoursAsync(cancel);
        if (query.Span.Within(first, last, query.Interval, MaxCells / query.Periods) is not { } range)
            return query.As.Answer(
                http, new(query.Interval, query.Span.From, query.Span.To, Retention.Totals([], query.Periods), [], query.Scan.Breakdown is null ? null : []),
                AnalyticsJson.Default.RetentionDto, "cohorts");
        var rows = await ReadAsync(query, range, new(first ?? range.From, range.From), cancel);
        var cohorts = CohortsOf(rows);
        var breakdown = query.Scan.Breakdown is null ? null : rows.Where(r => r.Rank is not null).GroupBy(r => (r.Rank, r.Value)).OrderBy(g => g.Key.Rank)
            .Select(g => Retention.Totals(CohortsOf(g), query.Periods) is var t ? new RetentionShare(g.Key.Value, t.Visitors, t.Returned, t.Rates) : null!).ToList();
        return query.As.Answer(
            http, new(query.Interval, range.From, range.To, Retention.Totals(cohorts, query.Periods), cohorts, breakdown),
            AnalyticsJson.Default.RetentionDto, "cohorts");

        IReadOnlyList<RetentionCohort> CohortsOf(IEnumerable<RetentionRow> of) =>
            Retention.Cohorts(of, range, query.Interval, query.Periods, range.To < DateTime.UtcNow ? range.To : DateTime.UtcNow);
    }

    private async Task<List<RetentionRow>> ReadAsync(RetentionQuery query, TimeRange range, TimeRange earlier, CancellationToken cancel)
    {
        var among = query.Scan.Among(query.Event is null ? null : [query.Event]);
        var (isNew, before) = query.Cohort == RetentionQuery.Ever && earlier.From < earlier.To ? await IsNewAsync(query, among, earlier, cancel) : ($"true", 0);
        using var scan = await work.ToScanAsync(range, among is not null && query.ReturnEvent is { } returned ? [.. among, returned] : null, cancel, besides: before);
        Sql length = query.Interval switch { Interval.Day => $"days", Interval.Week => $"weeks", _ => $"months" };
        return await work.QueryAsync(
            $"""
            with began as materialized (
              select * from ({Began(query.Scan, [.. among ?? scan.Names], range)}) as b where {isNew}
            ), ranked as (
              select key, row_number() over (order by count(*) desc, key collate "C") as rank from began group by key
            ), cohort as (
              select visitor, first, start, ((start at time zone 'UTC') + make_interval({length} => {query.Periods})) at time zone 'UTC' as horizon,
                rank, case when rank <= {query.Limit} then key end as key
              from (select *, date_trunc({query.Interval}, first, 'UTC') as start from began) as began join ranked using (key)
            )
            select start, period, case when key is not null then rank end, case when key <> '' then substr(key, 2) end, count(*) from (
              select visitor, start, null::timestamptz as period, rank, key from cohort
              union all
              select distinct c.visitor, c.start, date_trunc({query.Interval}, e.occurred_at, 'UTC'), c.rank, c.key
              from cohort c join analytics.events e on e.visitor = c.visitor
              where e.name = any({(query.ReturnEvent is null ? scan.Names : [query.ReturnEvent])}) and e.occurred_at < {range.To} and e.occurred_at >= {range.From}
                and e.occurred_at > c.first and e.occurred_at < c.horizon
            ) as seen
            group by 1, 2, 3, 4
            """,
            row => new RetentionRow(
                row.GetFieldValue<DateTime>(0), row.GetFieldValue<DateTime?>(1), row.GetFieldValue<long?>(2),
                row.IsDBNull(3) ? null : row.GetString(3), row.GetInt64(4)),
            cancel);
    }

    /// <summary>That a visitor <c>b</c> has no such event before the range, and how many events tell. Of the first event of all, sessions know that.</summary>
    private async Task<(Sql Condition, long Events)> IsNewAsync(RetentionQuery query, IReadOnlyList<string>? among, TimeRange earlier, CancellationToken cancel)
    {
        if (query is { Event: null, Scan.Filter: null })
            return ($"not exists (select from analytics.sessions s where s.visitor = b.visitor and s.start < {earlier.To})", 0);
        var counts = await work.CountsByNameAsync(earlier, among?.ToArray(), cancel);
        if (counts.Sum(c => c.Events) is var events && events > EventCounts.MaxScan)
            throw QueryParameters.Wrong("cohort", $"There are more than {EventCounts.MaxScan} such events before the range. Take cohort=first-in-range.");
        return ($"not exists (select from {query.Scan.Events([.. counts.Select(c => c.Name)], earlier)} and e.visitor = b.visitor)", events);
    }

    /// <summary>Each visitor's first event; its value, if it has one, in key behind a letter, so that all keys can be compared.</summary>
    private static Sql Began(ScanQuery scan, string[] names, TimeRange range) => scan.Property() is not { } property
        ? (Sql)$"select e.visitor, min(e.occurred_at) as first, '' as key from {scan.Events(names, range)} and e.visitor is not null group by 1"
        : $"""
            select distinct on (e.visitor) e.visitor, e.occurred_at as first, coalesce('=' || {property.Value}, '') as key
            from {scan.Events(names, range)} and e.visitor is not null
            order by e.visitor, e.occurred_at, e.message_id collate "C"
            """;
}
