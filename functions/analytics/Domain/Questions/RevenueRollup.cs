using Agency.Platform;
using Npgsql;

namespace Agency.Analytics;

/// <summary>The numbers of <c>GET /analytics/revenue</c> in one currency, from the rollups.</summary>
public sealed class RevenueRollup(UnitOfWork work, ReadCache cache, Caller caller, string currency)
{
    /// <param name="dimension"><c>country</c>, <c>product</c> or <c>campaign</c>; null for no breakdown.</param>
    /// <param name="limit">Keys of the breakdown: those with the highest gross.</param>
    public async Task<(RevenueFound All, List<RevenueShare> Top)> RunAsync(TimeRange range, string interval, string? dimension, int limit, CancellationToken cancel)
    {
        var byStart = (await work.QueryAsync(
            $"""
            select date_trunc({interval}, start, 'UTC'), {Sums}, sum(orders)::bigint
            from {Rows("all", range.Cover(interval))}
            group by 1
            """,
            row => (Start: row.GetFieldValue<DateTime>(0), Totals: Totals(row) with { Orders = row.GetInt64(6) }),
            cancel)).ToDictionary(row => row.Start, row => row.Totals);
        var customers = await UniqueTable.CountAsync(work, cache, caller, UniqueKinds.Customer(currency), range, cancel);
        return (
            new(byStart, await CustomersAsync(range, interval, cancel), customers),
            dimension is null ? [] : await TopAsync(range, dimension, limit, cancel));
    }

    /// <summary>Whole intervals as they are kept; the first and last, where the range has but a part of them, united from finer ones.</summary>
    private async Task<Dictionary<DateTime, long>> CustomersAsync(TimeRange range, string interval, CancellationToken cancel)
    {
        var kind = UniqueKinds.Customer(currency);
        var counts = (await work.QueryAsync(
            $"select start, members from analytics.uniques where kind = {kind} and resolution = {interval} and start >= {range.From} and start < {range.To}",
            row => (row.GetFieldValue<DateTime>(0), row.GetInt64(1)),
            cancel)).ToDictionary();
        foreach (var (start, part) in range.Starts(interval).Select(start => (start, range.Part(interval, start))).Where(p => !p.Item2.IsWhole(interval)))
            counts[start] = await UniqueTable.CountAsync(work, cache, caller, kind, part, cancel);
        return counts;
    }

    private async Task<List<RevenueShare>> TopAsync(TimeRange range, string dimension, int limit, CancellationToken cancel)
    {
        var top = await work.QueryAsync(
            $"""
            select key, {Sums}
            from {Rows(dimension, range.Cover(Interval.Month))}
            group by key
            order by sum(gross) desc, key collate "C"
            limit {limit}
            """,
            row => (Key: row.GetString(0), Totals: Totals(row)),
            cancel);
        return top.ConvertAll(t => RevenueShare.Of(t.Key.Length > 0 ? t.Key : null, t.Totals, null, null));
    }

    private static Sql Sums => $"sum(gross), sum(refunds), sum(lines)::bigint, sum(cancelled_lines)::bigint, sum(units)::bigint";

    private Sql Rows(string dimension, IReadOnlyList<RollupPart> parts) => $"""
        {parts.Rows}
        join analytics.revenue r on r.dimension = {dimension} and r.resolution = part.resolution and r.start >= part.low and r.start < part.high
          and r.currency = {currency}
        """;

    private static RevenueTotals Totals(NpgsqlDataReader row) => new(
        row.GetDecimal(1), row.GetDecimal(2), row.GetDecimal(1) - row.GetDecimal(2), 0, row.GetInt64(3), row.GetInt64(4), row.GetInt64(5));
}
