using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Npgsql;

namespace Agency.Analytics;

/// <param name="By"><c>country</c>, <c>product</c> or <c>campaign</c>; null for no breakdown.</param>
/// <param name="Limit">Keys in the breakdown.</param>
/// <param name="Currency">ISO 4217; null when the organisation sells in one.</param>
public sealed record RevenueAnalyticsQuery(
    RangeQuery Range, [AllowedValues("country", "product", "campaign")] string? By, [Range(1, 1000), DefaultValue(10)] int Limit, [MaxLength(3)] string? Currency,
    ScanQuery Scan, AnswerFormat As)
{
    /// <summary>What the lines themselves are broken down by.</summary>
    /// <exception cref="ProblemException">400: by two things at once.</exception>
    public EventProperty? Property() => Scan.Property() is not { } property ? By switch { null => null, "product" => new("productId"), "campaign" => new("$utm_campaign"), _ => new(By) }
        : By is null ? property
        : throw QueryParameters.Wrong("breakdown", "Either by or breakdown.");
}

/// <summary>GET /analytics/revenue: what the order lines came to, from the rollups; with a filter or breakdown, from the lines themselves.</summary>
public sealed class GetRevenueAnalytics(UnitOfWork work, ReadCache cache, Caller caller)
{
    [Function(nameof(GetRevenueAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(RevenueAnalyticsQuery), Answer = typeof(RevenueDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/revenue")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new RevenueAnalyticsQuery(
            RangeQuery.Of(parameters), parameters.OneOf("by", "", "country", "product", "campaign") is { Length: > 0 } by ? by : null,
            parameters.Integer("limit", 1, 1000, 10), parameters.Text("currency", 3), ScanQuery.Of(parameters), AnswerFormat.Of(parameters));
        var property = query.Property();
        var interval = query.Range.Interval;
        var (currency, first, last) = await CurrencyAsync(query, cancel);
        if (query.Range.Within(first, last) is not { } range)
            return Ok(http, query, new(interval, query.Range.From, query.Range.To, currency, RevenueSummary.Of(RevenueTotals.Zero, 0), [], property is null ? null : []));
        if (query.Scan.IsAsked())
        {
            var (byStart, top, buyers) = await RevenueScan.RunAsync(work, range, interval, currency, query.Scan, property, query.Limit, cancel);
            return Ok(http, query, RevenueDto.Of(interval, range, currency, byStart, buyers, property is null ? null : top));
        }

        if (query.By is not null)
            range = query.Range.InWholeDays(range);
        var rows = (await work.QueryAsync(
            $"""
            select date_trunc({interval}, start, 'UTC'), {Sums}, sum(orders)::bigint
            from {Rows("all", range.Cover(interval), currency)}
            group by 1
            """,
            row => (Start: row.GetFieldValue<DateTime>(0), Totals: Totals(row) with { Orders = row.GetInt64(6) }),
            cancel)).ToDictionary(row => row.Start, row => row.Totals);
        var breakdown = query.By is null ? null : await work.QueryAsync(
            $"""
            select key, {Sums}
            from {Rows(query.By, range.Cover(Interval.Month), currency)}
            group by key
            order by sum(gross) desc, key collate "C"
            limit {query.Limit}
            """,
            row => Totals(row) is var t
                ? new RevenueShare(row.GetString(0) is { Length: > 0 } key ? key : null, t.Gross, t.Refunds, t.Net, t.Lines, t.CancelledLines, t.Units)
                : default!,
            cancel);
        var customers = currency is null ? 0 : await UniqueTable.CountAsync(work, cache, caller, UniqueKinds.Customer(currency), range, cancel);
        return Ok(http, query, RevenueDto.Of(interval, range, currency, rows, customers, breakdown));
    }

    private static Sql Sums => $"sum(gross), sum(refunds), sum(lines)::bigint, sum(cancelled_lines)::bigint, sum(units)::bigint";

    private static Sql Rows(string dimension, IReadOnlyList<RollupPart> parts, string? currency) => $"""
        {parts.Rows}
        join analytics.revenue r on r.dimension = {dimension} and r.resolution = part.resolution and r.start >= part.low and r.start < part.high
          and r.currency = {currency}
        """;

    private static RevenueTotals Totals(NpgsqlDataReader row) => new(
        row.GetDecimal(1), row.GetDecimal(2), row.GetDecimal(1) - row.GetDecimal(2), 0, row.GetInt64(3), row.GetInt64(4), row.GetInt64(5));

    private static Answer Ok(HttpRequest http, RevenueAnalyticsQuery query, RevenueDto revenue) =>
        query.As.Answer(http, revenue, AnalyticsJson.Default.RevenueDto, query.Property() is null ? "series" : "breakdown");

    /// <summary>The currency asked for, or the only one; and the first and last hours in which it has lines.</summary>
    /// <exception cref="ProblemException">400: there are several and none was asked for. Sums of different money would be wrong.</exception>
    private async Task<(string? Currency, DateTime? First, DateTime? Last)> CurrencyAsync(RevenueAnalyticsQuery query, CancellationToken cancel)
    {
        // A month of all is one row for each currency, so this reads few rows however long the history.
        var all = await work.QueryAsync(
            $"""
            select c.currency,
              (select min(start) from analytics.revenue r where r.dimension = 'all' and r.resolution = 'hour' and r.currency = c.currency),
              (select max(start) from analytics.revenue r where r.dimension = 'all' and r.resolution = 'hour' and r.currency = c.currency)
            from (select distinct currency from analytics.revenue where dimension = 'all' and resolution = 'month') as c
            where {query.Currency} is null or c.currency = {query.Currency}
            order by 1
            """,
            row => (row.GetString(0), row.GetFieldValue<DateTime?>(1), row.GetFieldValue<DateTime?>(2)),
            cancel);
        return all.Count <= 1 ? all.FirstOrDefault((query.Currency!, null, null))
            : throw QueryParameters.Wrong("currency", $"Required, as there is revenue in {string.Join(", ", all.Select(c => c.Item1))}.");
    }
}
