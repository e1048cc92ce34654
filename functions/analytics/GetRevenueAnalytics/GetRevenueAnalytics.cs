using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="By">
/// <c>country</c>, <c>product</c> or <c>campaign</c>, from rollups, which have no orders and customers of these; a breakdown by <c>country</c>,
/// <c>productId</c> or <c>$utm_campaign</c> reads the lines, and so has them, unless they are too many to be read. Null for no breakdown.
/// </param>
/// <param name="Limit">Keys in the breakdown.</param>
/// <param name="Currency">ISO 4217; null when the organisation sells in one.</param>
public sealed record RevenueAnalyticsQuery(
    RangeQuery Range, [AllowedValues("country", "product", "campaign")] string? By, [Range(1, 1000), DefaultValue(10)] int Limit, [MaxLength(3)] string? Currency,
    ScanQuery Scan, AnswerFormat As)
{
    private static readonly (string By, string Property)[] Dimensions = [("country", "country"), ("product", "productId"), ("campaign", "$utm_campaign")];

    /// <summary>What the rollups have revenue by, when that is what is asked for.</summary>
    public string? Dimension() => Scan.Filter is not null ? null : By ?? Array.Find(Dimensions, d => d.Property == Scan.Breakdown).By;

    /// <summary>What the lines themselves are broken down by.</summary>
    /// <exception cref="ProblemException">400: by two things at once.</exception>
    public EventProperty? Property() => By is null ? Scan.Property()
        : Scan.Breakdown is null ? new(Array.Find(Dimensions, d => d.By == By).Property)
        : throw QueryParameters.Wrong("breakdown", "Either by or breakdown.");
}

/// <summary>GET /analytics/revenue: what the order lines came to, from the rollups; with a filter or breakdown, from the lines themselves.</summary>
public sealed class GetRevenueAnalytics(UnitOfWork work, ReadCache cache, Caller caller)
{
    [Function(nameof(GetRevenueAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(RevenueAnalyticsQuery), Answer = typeof(RevenueDto), OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType], Problems = [503])]
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
        var isScan = query.Scan.IsAsked() && !(query.Dimension() is not null
            && (await work.CountsByNameAsync(range, [OrderLine.EventName], cancel)).Sum(c => c.Events) > EventCounts.MaxScan);
        if (query.Dimension() is not null && !isScan)
            range = query.Range.InWholeDays(range);
        var (all, top) = isScan ? await RevenueScan.RunAsync(work, range, interval, currency, query.Scan, property, query.Limit, cancel)
            : await new RevenueRollup(work, cache, caller, currency ?? "").RunAsync(range, interval, query.Dimension(), query.Limit, cancel);
        return Ok(http, query, RevenueDto.Of(interval, range, currency, all, property is null ? null : top));
    }

    private static Answer Ok(HttpRequest http, RevenueAnalyticsQuery query, RevenueDto revenue) =>
        query.As.Answer(http, revenue, AnalyticsJson.Default.RevenueDto, "series");

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
