using System.Text.Json.Serialization;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/revenue</c>. Money is exact, in <paramref name="Currency"/>.</summary>
/// <param name="Interval"><c>hour</c>, <c>day</c>, <c>week</c> (from Monday) or <c>month</c>, UTC.</param>
/// <param name="From">The first moment that counts; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Currency">ISO 4217; null when there is no revenue at all.</param>
/// <param name="Series">One point for each interval that the range touches, also where nothing happened.</param>
/// <param name="Breakdown">The keys with the highest gross, when <c>by</c> was asked for.</param>
public sealed record RevenueDto(
    string Interval, DateTimeOffset? From, DateTimeOffset? To, string? Currency, RevenueTotals Totals, IReadOnlyList<RevenuePoint> Series,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<RevenueShare>? Breakdown);

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

/// <summary><see cref="RevenueTotals"/> of one interval.</summary>
/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
public sealed record RevenuePoint(
    DateTimeOffset Start, decimal Gross, decimal Refunds, decimal Net, long Orders, long Lines, long CancelledLines, long Units)
{
    public static RevenuePoint Of(DateTime start, RevenueTotals t) =>
        new(start, t.Gross, t.Refunds, t.Net, t.Orders, t.Lines, t.CancelledLines, t.Units);
}

/// <summary>What one country or product had of the whole range.</summary>
/// <param name="Key">ISO 3166 alpha-2, or the product's id; null for an unknown country.</param>
public sealed record RevenueShare(string? Key, decimal Gross, decimal Refunds, decimal Net, long Lines, long CancelledLines, long Units);

/// <summary>The answer of <c>GET /analytics/users</c>; <paramref name="Interval"/>, <paramref name="From"/> and <paramref name="To"/> as for revenue.</summary>
public sealed record AnalyticsDto(
    string Interval, DateTimeOffset? From, DateTimeOffset? To, UserCounts Totals, IReadOnlyList<UserPoint> Series);

/// <param name="Active">Different users with an event.</param>
/// <param name="New">Those of them whose first event ever it is.</param>
/// <param name="Returning">The others.</param>
/// <param name="Anonymous">Different anonymous ids with an event that names no user.</param>
/// <param name="Events">Events of whatever name.</param>
public sealed record UserCounts(long Active, long New, long Returning, long Anonymous, long Events);

/// <summary><see cref="UserCounts"/> of one interval.</summary>
public sealed record UserPoint(DateTimeOffset Start, long Active, long New, long Returning, long Anonymous, long Events);
