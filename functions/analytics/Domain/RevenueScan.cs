using Agency.Platform;
using Npgsql;

namespace Agency.Analytics;

/// <summary>The numbers of <c>GET /analytics/revenue</c> with a filter or breakdown, from the order lines themselves.</summary>
public static class RevenueScan
{
    /// <summary>
    /// Sums lines that fit. An order counts in the interval of its first line that fits and is not cancelled; not if it has a line, whether
    /// that fits or not, before the range: then it is an order of that time. So a filter that everything fits changes nothing.
    /// </summary>
    /// <param name="by">The property of the breakdown; null for none.</param>
    /// <param name="limit">Values of the breakdown: those with the highest gross.</param>
    /// <returns>Totals of each interval that has any lines; the breakdown; and how many customers there were.</returns>
    /// <exception cref="ProblemException">400: too many lines to read.</exception>
    public static async Task<(Dictionary<DateTime, RevenueTotals> ByStart, List<RevenueShare> Top, long Customers)> RunAsync(
        UnitOfWork work, TimeRange range, string interval, string? currency, ScanQuery query, EventProperty? by, int limit, CancellationToken cancel)
    {
        var names = await work.NamesToScanAsync(range, [OrderLine.EventName], cancel);
        // The lines are read once. What could not be cast was refused when it was sent.
        var rows = await work.QueryAsync(
            $"""
            with lines as materialized (
              select date_trunc({interval}, e.occurred_at, 'UTC') as start, e.occurred_at, e.visitor, {by?.Value ?? (Sql)$"null::text"} as value,
                e.properties ->> 'orderId' as order_id, coalesce((e.properties ->> 'cancelled')::boolean, false) as cancelled,
                (e.properties ->> 'quantity')::bigint as quantity, (e.properties ->> 'quantity')::numeric * (e.properties ->> 'unitPrice')::numeric as amount
              from {query.Events(names, range)} and e.properties ->> 'currency' = {currency}
            ), sums as (
              select 1 as kind, start, null as value, {Sums} from lines group by start
              union all
              (select 2, null, value, {Sums} from lines where {by is not null} group by value order by 4 desc, value collate "C" limit {limit})
            ), orders as (
              select date_trunc({interval}, min(l.occurred_at), 'UTC') as start
              from lines l
              where not l.cancelled and not exists (
                select from analytics.orders o where o.currency = {currency} and o.order_id = l.order_id and o.hour < {range.From})
              group by l.order_id
            )
            select s.*, (select count(*) from orders o where o.start = s.start), (select count(distinct visitor) from lines) from sums s
            """,
            row => (
                Kind: row.GetInt32(0), Start: row.GetFieldValue<DateTime?>(1), Value: row.IsDBNull(2) ? null : row.GetString(2), Totals: Read(row), Customers: row.GetInt64(9)),
            cancel);
        return (
            rows.Where(r => r.Kind == 1).ToDictionary(r => r.Start!.Value, r => r.Totals),
            [
                .. rows.Where(r => r.Kind == 2).OrderByDescending(r => r.Totals.Gross).ThenBy(r => r.Value is null).ThenBy(r => r.Value, StringComparer.Ordinal)
                    .Select(r => new RevenueShare(r.Value, r.Totals.Gross, r.Totals.Refunds, r.Totals.Net, r.Totals.Lines, r.Totals.CancelledLines, r.Totals.Units)),
            ],
            rows.Select(r => r.Customers).FirstOrDefault());
    }

    private static Sql Sums => $"""
        coalesce(sum(amount) filter (where amount > 0), 0), coalesce(-sum(amount) filter (where amount < 0), 0),
        count(*), count(*) filter (where cancelled), sum(quantity)::bigint
        """;

    private static RevenueTotals Read(NpgsqlDataReader row) => new(
        row.GetDecimal(3), row.GetDecimal(4), row.GetDecimal(3) - row.GetDecimal(4), row.GetInt64(8), row.GetInt64(5), row.GetInt64(6), row.GetInt64(7));
}
