using Agency.Platform;
using Npgsql;

namespace Agency.Analytics;

/// <summary>What all order lines of a question came to.</summary>
/// <param name="ByStart">Of each interval that has any.</param>
/// <param name="CustomersByStart">Different customers of each interval that has any.</param>
public sealed record RevenueFound(
    IReadOnlyDictionary<DateTime, RevenueTotals> ByStart, IReadOnlyDictionary<DateTime, long> CustomersByStart, long Customers);

/// <summary>The numbers of <c>GET /analytics/revenue</c> with a filter or breakdown, from the order lines themselves.</summary>
public static class RevenueScan
{
    /// <summary>
    /// Sums lines that fit. An order counts in the interval of its first line that fits and is not cancelled; not if it has a line, whether
    /// that fits or not, before the range: then it is an order of that time. So a filter that everything fits changes nothing. Of a value in
    /// the breakdown are the lines that have it, as if they had been filtered by it.
    /// </summary>
    /// <param name="by">The property of the breakdown; null for none.</param>
    /// <param name="limit">Values of the breakdown: those with the highest gross.</param>
    /// <exception cref="ProblemException">400: too many lines to read.</exception>
    public static async Task<(RevenueFound All, List<RevenueShare> Top)> RunAsync(
        UnitOfWork work, TimeRange range, string interval, string? currency, ScanQuery query, EventProperty? by, int limit, CancellationToken cancel)
    {
        using var scan = await work.ToScanAsync(range, query.Among([OrderLine.EventName]), cancel);
        var hasShareSeries = by is not null && RangeQuery.HasShareSeries(range, interval, limit);
        // The lines are read once. What could not be cast was refused when it was sent.
        var rows = await work.QueryAsync(
            $"""
            with lines as materialized (
              select date_trunc({interval}, e.occurred_at, 'UTC') as start, e.occurred_at, e.visitor, {by?.Value ?? (Sql)$"null::text"} as value,
                e.properties ->> 'orderId' as order_id, coalesce((e.properties ->> 'cancelled')::boolean, false) as cancelled,
                (e.properties ->> 'quantity')::bigint as quantity, (e.properties ->> 'quantity')::numeric * (e.properties ->> 'unitPrice')::numeric as amount
              from {query.Events(scan.Names, range)} and e.properties ->> 'currency' = {currency}
            ), shown as materialized (
              select value, {Sums}, row_number() over (order by {Gross} desc, value collate "C") as place
              from lines where {by is not null} group by value order by place limit {limit}
            ), sums as (
              select 0 as kind, null::timestamptz as start, null::text as value, {Sums}, 0::bigint as place from lines having count(*) > 0
              union all
              select 1, start, null, {Sums}, 0 from lines group by start
              union all
              select 2, null, s.* from shown s
              union all
              select 3, l.start, l.value, {Sums}, s.place from lines l join shown s on {ScanQuery.Key($"s.value")} = {ScanQuery.Key($"l.value")} where {hasShareSeries}
              group by l.start, l.value, s.place
            ), parts as materialized (
              select value, order_id, min(occurred_at) as at
              from lines l
              where not l.cancelled and not exists (
                select from analytics.orders o where o.currency = {currency} and o.order_id = l.order_id and o.hour < {range.From})
              group by 1, 2
            ), orders as (
              select 1 as kind, date_trunc({interval}, at, 'UTC') as start, null::text as value, count(*) as orders
              from (select min(at) as at from parts group by order_id) as whole group by 2
              union all
              select 2, null, value, count(*) from parts where {by is not null} group by value
              union all
              select 3, date_trunc({interval}, at, 'UTC'), value, count(*) from parts where {hasShareSeries} group by 2, 3
            )
            select s.*, coalesce(o.orders, 0) from sums s
            left join orders o on {ScanQuery.Key($"o.kind", $"o.start", $"o.value")} = {ScanQuery.Key($"s.kind", $"s.start", $"s.value")}
            order by s.kind, s.place
            """,
            row => (
                Kind: row.GetInt32(0), Start: row.GetFieldValue<DateTime?>(1), Value: row.IsDBNull(2) ? null : row.GetString(2), Totals: Read(row),
                Customers: row.GetInt64(8), Place: row.GetInt64(9)),
            cancel);
        var points = rows.Where(r => r.Kind == 3).ToDictionary(r => (r.Place, r.Start!.Value));
        var byStart = rows.Where(r => r.Kind == 1).ToList();
        return (
            new(
                byStart.ToDictionary(r => r.Start!.Value, r => r.Totals), byStart.ToDictionary(r => r.Start!.Value, r => r.Customers),
                rows.Where(r => r.Kind == 0).Select(r => r.Customers).FirstOrDefault()),
            [.. rows.Where(r => r.Kind == 2).Select(r => RevenueShare.Of(r.Value, r.Totals, r.Customers, hasShareSeries ? Series(r.Place) : null))]);

        IReadOnlyList<RevenueSharePoint> Series(long place) =>
        [
            .. range.Starts(interval).Select(start => points.TryGetValue((place, start), out var p)
                ? RevenueSharePoint.Of(start, p.Totals, p.Customers) : RevenueSharePoint.Of(start, RevenueTotals.Zero, 0)),
        ];
    }

    private static Sql Gross => $"coalesce(sum(amount) filter (where amount > 0), 0)";

    private static Sql Sums => $"""
        {Gross} as gross, coalesce(-sum(amount) filter (where amount < 0), 0) as refunds,
        count(*) as lines, count(*) filter (where cancelled) as cancelled_lines, sum(quantity)::bigint as units, count(distinct visitor) as customers
        """;

    private static RevenueTotals Read(NpgsqlDataReader row) => new(
        row.GetDecimal(3), row.GetDecimal(4), row.GetDecimal(3) - row.GetDecimal(4), row.GetInt64(10), row.GetInt64(5), row.GetInt64(6), row.GetInt64(7));
}
