using System.Text.Json.Serialization;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/revenue</c>. Money is exact, in <paramref name="Currency"/>.</summary>
/// <param name="Interval"><c>hour</c>, <c>day</c>, <c>week</c> (from Monday) or <c>month</c>, UTC.</param>
/// <param name="From">The first moment that counts; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Currency">ISO 4217; null when there is no revenue at all.</param>
/// <param name="Series">One point for each interval that the range touches, also where nothing happened.</param>
/// <param name="Breakdown">The keys with the highest gross, when <c>by</c> or <c>breakdown</c> was asked for.</param>
public sealed record RevenueDto(
    string Interval, DateTimeOffset? From, DateTimeOffset? To, string? Currency, RevenueSummary Totals, IReadOnlyList<RevenuePoint> Series,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<RevenueShare>? Breakdown)
{
    public static RevenueDto Of(
        string interval, TimeRange range, string? currency, RevenueFound all, IReadOnlyList<RevenueShare>? breakdown) => new(
            interval, range.From, range.To, currency,
            RevenueSummary.Of(all.ByStart.Values.Aggregate(RevenueTotals.Zero, (a, b) => a.Add(b)), all.Customers),
            [.. range.Starts(interval).Select(start => RevenuePoint.Of(start, all.ByStart.GetValueOrDefault(start) ?? RevenueTotals.Zero, all.CustomersByStart.GetValueOrDefault(start)))],
            breakdown);
}

/// <param name="Gross">The sum of quantity times unit price where that is positive.</param>
/// <param name="Refunds">The same where it is negative, as a positive number.</param>
/// <param name="Net">Gross less refunds.</param>
/// <param name="Orders">Orders with a line that is not cancelled, each counted in the hour of its first such line.</param>
/// <param name="Lines">Order lines, the cancelled ones too.</param>
/// <param name="Units">Pieces sold less pieces returned.</param>
public sealed record RevenueTotals(decimal Gross, decimal Refunds, decimal Net, long Orders, long Lines, long CancelledLines, long Units)
{
    public static RevenueTotals Zero { get; } = new(0, 0, 0, 0, 0, 0, 0);

    public RevenueTotals Add(RevenueTotals b) => new(
        Gross + b.Gross, Refunds + b.Refunds, Net + b.Net, Orders + b.Orders, Lines + b.Lines, CancelledLines + b.CancelledLines, Units + b.Units);
}

/// <summary><see cref="RevenueTotals"/> of the whole range, and what they make of each order and each customer.</summary>
/// <param name="AverageOrder">Gross divided by orders, to four decimals; null without orders.</param>
/// <param name="Customers">Different users and anonymous ids with an order line; an estimate where there are many, as for users.</param>
/// <param name="PerCustomer">Net divided by customers, to four decimals; null without customers.</param>
public sealed record RevenueSummary(
    decimal Gross, decimal Refunds, decimal Net, long Orders, long Lines, long CancelledLines, long Units,
    decimal? AverageOrder, long Customers, decimal? PerCustomer)
{
    public static RevenueSummary Of(RevenueTotals t, long customers) => new(
        t.Gross, t.Refunds, t.Net, t.Orders, t.Lines, t.CancelledLines, t.Units, Per(t.Gross, t.Orders), customers, Per(t.Net, customers));

    internal static decimal? Per(decimal amount, long number) => number == 0 ? null : Math.Round(amount / number, 4, MidpointRounding.AwayFromZero);
}

/// <summary><see cref="RevenueTotals"/> of one interval.</summary>
/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
/// <param name="AverageOrder">Gross divided by orders, to four decimals; null without orders.</param>
/// <param name="Customers">As in <see cref="RevenueSummary"/>.</param>
/// <param name="PerCustomer">As in <see cref="RevenueSummary"/>.</param>
public sealed record RevenuePoint(
    DateTimeOffset Start, decimal Gross, decimal Refunds, decimal Net, long Orders, long Lines, long CancelledLines, long Units, decimal? AverageOrder,
    long Customers, decimal? PerCustomer)
{
    public static RevenuePoint Of(DateTime start, RevenueTotals t, long customers) => new(
        start, t.Gross, t.Refunds, t.Net, t.Orders, t.Lines, t.CancelledLines, t.Units, RevenueSummary.Per(t.Gross, t.Orders), customers, RevenueSummary.Per(t.Net, customers));
}

/// <summary>
/// What one country, product or campaign, or one value of a property, had of the whole range. Orders, customers and series are null where the
/// answer is from rollups, which do not have them by key.
/// </summary>
/// <param name="Key">ISO 3166 alpha-2, the product's id, the campaign or the value; null for an unknown country, no campaign and no value.</param>
/// <param name="Orders">Orders with such a line that is not cancelled; one with lines of several keys counts for each.</param>
/// <param name="AverageOrder">Gross divided by orders, to four decimals; null without orders.</param>
/// <param name="Customers">Different users and anonymous ids with such a line.</param>
/// <param name="PerCustomer">Net divided by customers, to four decimals; null without customers.</param>
/// <param name="Series">
/// The same by interval; null from rollups, and where <c>limit</c> times the intervals is more than 10,000, so that a longer interval or fewer
/// keys would have it.
/// </param>
public sealed record RevenueShare(
    string? Key, decimal Gross, decimal Refunds, decimal Net, long? Orders, long Lines, long CancelledLines, long Units,
    decimal? AverageOrder, long? Customers, decimal? PerCustomer, IReadOnlyList<RevenueSharePoint>? Series)
{
    /// <param name="customers">Null where these and orders are not known.</param>
    public static RevenueShare Of(string? key, RevenueTotals t, long? customers, IReadOnlyList<RevenueSharePoint>? series) => new(
        key, t.Gross, t.Refunds, t.Net, customers is null ? null : t.Orders, t.Lines, t.CancelledLines, t.Units,
        RevenueSummary.Per(t.Gross, t.Orders), customers, RevenueSummary.Per(t.Net, customers ?? 0), series);
}

/// <summary>What one key had of one interval; see <see cref="RevenueShare"/>.</summary>
/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
public sealed record RevenueSharePoint(
    DateTimeOffset Start, decimal Gross, decimal Refunds, decimal Net, long? Orders, long Lines, long CancelledLines, long Units, long? Customers)
{
    /// <inheritdoc cref="RevenueShare.Of"/>
    public static RevenueSharePoint Of(DateTime start, RevenueTotals t, long? customers) => new(
        start, t.Gross, t.Refunds, t.Net, customers is null ? null : t.Orders, t.Lines, t.CancelledLines, t.Units, customers);
}

/// <summary>The answer of <c>GET /analytics/users</c>; <paramref name="Interval"/>, <paramref name="From"/> and <paramref name="To"/> as for revenue.</summary>
public sealed record AnalyticsDto(
    string Interval, DateTimeOffset? From, DateTimeOffset? To, UserCounts Totals, IReadOnlyList<UserPoint> Series)
{
    /// <summary>The values with the most active users, when <c>breakdown</c> was asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<UserShare>? Breakdown { get; init; }
}

/// <summary><see cref="UserCounts"/> of those who have an event with this value in the range.</summary>
/// <param name="Value">A text as it is, anything else as its JSON, cut after 200 characters; null for events without the property.</param>
/// <param name="Series">
/// The same by interval; null where <c>limit</c> times the intervals is more than 10,000, so that a longer interval or fewer values would have it.
/// </param>
public sealed record UserShare(
    string? Value, long Active, long New, long Returning, long Anonymous, long Visitors, long NewVisitors, long ReturningVisitors, long Events,
    long? Sessions, long? Bounces, double? SessionSeconds, IReadOnlyList<UserPoint>? Series)
{
    public static UserShare Of(string? value, UserCounts c, IReadOnlyList<UserPoint>? series) =>
        new(
            value, c.Active, c.New, c.Returning, c.Anonymous, c.Visitors, c.NewVisitors, c.ReturningVisitors, c.Events, c.Sessions, c.Bounces,
            c.SessionSeconds, series);
}

/// <param name="Active">
/// Different users with an event. Where this and <paramref name="Anonymous"/> are more than some 16,000 they are estimates with a standard
/// error of 0.29 %; see <see cref="Sketch"/>.
/// </param>
/// <param name="New">Those of them whose first event ever it is.</param>
/// <param name="Returning">The others.</param>
/// <param name="Anonymous">Different anonymous ids with an event that names no user and that have not been identified as one since.</param>
/// <param name="Visitors">Users and anonymous ids together.</param>
/// <param name="NewVisitors">Those of them whose first event ever it is.</param>
/// <param name="ReturningVisitors">The others.</param>
/// <param name="Events">Events of whatever name.</param>
/// <param name="Sessions">
/// Sessions that begin here, of users and anonymous ids; see <see cref="Session"/>. With a filter or for a value those of them that have an
/// event that fits, so that one may count for several values.
/// </param>
/// <param name="Bounces">Those of them with one event, of whatever kind.</param>
/// <param name="SessionSeconds">How long such a session lasts from its first to its last event, on average; null when there is none.</param>
public sealed record UserCounts(
    long Active, long New, long Returning, long Anonymous, long Visitors, long NewVisitors, long ReturningVisitors, long Events,
    long? Sessions, long? Bounces, double? SessionSeconds)
{
    public static UserCounts Of(long active, long anonymous, VisitTotals visits)
    {
        // An estimate may fall short of the new ones, who are counted.
        (active, anonymous) = (Math.Max(active, visits.NewUsers), Math.Max(anonymous, visits.NewAnonymous));
        var newVisitors = visits.NewUsers + visits.NewAnonymous;
        return new(
            active, visits.NewUsers, active - visits.NewUsers, anonymous, active + anonymous, newVisitors, active + anonymous - newVisitors,
            visits.Events, visits.Sessions, visits.Bounces, visits.Sessions == 0 ? null : Math.Round(visits.Duration / 1e6 / visits.Sessions, 3));
    }
}

/// <summary><see cref="UserCounts"/> of one interval.</summary>
public sealed record UserPoint(
    DateTimeOffset Start, long Active, long New, long Returning, long Anonymous, long Visitors, long NewVisitors, long ReturningVisitors, long Events,
    long? Sessions, long? Bounces, double? SessionSeconds)
{
    public static UserPoint Of(DateTime start, UserCounts c) => new(
        start, c.Active, c.New, c.Returning, c.Anonymous, c.Visitors, c.NewVisitors, c.ReturningVisitors, c.Events, c.Sessions, c.Bounces, c.SessionSeconds);
}
