using System.Text.Json.Serialization;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/events</c>.</summary>
/// <param name="Interval"><c>hour</c>, <c>day</c>, <c>week</c> (from Monday) or <c>month</c>, UTC.</param>
/// <param name="From">The first moment that counts; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Series">One point for each interval that the range touches, also where nothing happened.</param>
/// <param name="Top">The values of the breakdown with the most events; without one the names, unless one was asked for.</param>
public sealed record EventsDto(
    string Interval, DateTimeOffset? From, DateTimeOffset? To, EventTotals Totals, IReadOnlyList<EventPoint> Series,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<EventShare>? Top);

/// <param name="Visitors">Different users and anonymous ids; only where the events themselves were read, for a filter or breakdown.</param>
public sealed record EventTotals(long Events, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? Visitors = null);

/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
/// <param name="Visitors">As in <see cref="EventTotals"/>.</param>
public sealed record EventPoint(
    DateTimeOffset Start, long Events, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? Visitors = null);

/// <summary>What one value had of the whole range.</summary>
/// <param name="Value">A text as it is, anything else as its JSON, cut after 200 characters; null for events without the property.</param>
/// <param name="Visitors">As in <see cref="EventTotals"/>.</param>
/// <param name="Series">
/// The same by interval; null where <c>limit</c> times the intervals is more than 10,000, so that a longer interval or fewer values would have it.
/// </param>
public sealed record EventShare(
    string? Value, long Events, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? Visitors = null, IReadOnlyList<EventPoint>? Series = null);

/// <summary>The answer of <c>GET /analytics/funnels</c>.</summary>
/// <param name="From">The first moment in which a visitor can enter; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Window">The time that a visitor has for all steps, from the first, such as <c>7d</c>.</param>
/// <param name="Breakdown">The same for the values of a property of the first step's events, those with the most visitors.</param>
/// <param name="Interval"><c>hour</c>, <c>day</c>, <c>week</c> (from Monday) or <c>month</c>, UTC, when it was asked for.</param>
/// <param name="Series">One point for each interval that the range touches, when an interval was asked for.</param>
public sealed record FunnelDto(
    DateTimeOffset? From, DateTimeOffset? To, string Window, IReadOnlyList<FunnelStep> Steps,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<FunnelShare>? Breakdown,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Interval = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<FunnelPoint>? Series = null);

/// <summary>Of the attempt that counts of each visitor; see <see cref="Funnel"/>.</summary>
/// <param name="Visitors">Different users and anonymous ids that got at least so far.</param>
/// <param name="FromFirst">From 0 to 1: which part of those at the first step; null when there are none.</param>
/// <param name="FromPrevious">Which part of those at the step before; null likewise, and for the first step.</param>
/// <param name="SecondsFromFirst">What it took from the first step; null for that, and when nobody got here.</param>
/// <param name="SecondsFromPrevious">What it took from the step before; null likewise.</param>
/// <param name="Filter">The step's own filter, if it has one.</param>
public sealed record FunnelStep(
    string Event, long Visitors, double? FromFirst, double? FromPrevious, FunnelTime? SecondsFromFirst, FunnelTime? SecondsFromPrevious,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Filter = null);

/// <summary>Seconds.</summary>
/// <param name="Median">The middle one, or halfway between the two in the middle.</param>
public sealed record FunnelTime(double Median, double Mean);

/// <param name="Value">As in <see cref="EventShare"/>.</param>
/// <param name="Series">As in <see cref="FunnelDto"/>; left out also where <c>limit</c> times the intervals is more than 10,000.</param>
public sealed record FunnelShare(
    string? Value, IReadOnlyList<FunnelStep> Steps,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<FunnelPoint>? Series = null);

/// <summary>The visitors whose attempt began in one interval.</summary>
/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
/// <param name="Entered">How many they are. Each visitor enters once, as one attempt of each counts.</param>
/// <param name="Converted">Those of them who did all steps, whenever the last.</param>
/// <param name="Conversion">From 0 to 1: which part of those who entered; null when nobody did.</param>
public sealed record FunnelPoint(DateTimeOffset Start, long Entered, long Converted, double? Conversion);
