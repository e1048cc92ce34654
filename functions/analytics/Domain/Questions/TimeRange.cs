using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The intervals of a series, UTC. Weeks start on Monday, as in ISO 8601.</summary>
public static class Interval
{
    public const string Hour = "hour";
    public const string Day = "day";
    public const string Week = "week";
    public const string Month = "month";

    /// <summary>Kept of uniques only, so that a long range needs few of them.</summary>
    public const string Year = "year";

    /// <summary>The start of the interval that holds this time.</summary>
    public static DateTime Floor(string interval, DateTime time) => interval switch
    {
        Hour => time.Date.AddHours(time.Hour),
        Day => time.Date,
        Week => time.Date.AddDays(-(((int)time.DayOfWeek + 6) % 7)),
        Month => new(time.Year, time.Month, 1, 0, 0, 0, DateTimeKind.Utc),
        Year => new(time.Year, 1, 1, 0, 0, 0, DateTimeKind.Utc),
        _ => throw Unknown(interval),
    };

    public static DateTime Next(string interval, DateTime start) => interval switch
    {
        Hour => start.AddHours(1),
        Day => start.AddDays(1),
        Week => start.AddDays(7),
        Month => start.AddMonths(1),
        Year => start.AddYears(1),
        _ => throw Unknown(interval),
    };

    /// <summary>The start of the first interval that does not begin before this time.</summary>
    public static DateTime Ceiling(string interval, DateTime time)
    {
        var floor = Floor(interval, time);
        return floor == time ? time : Next(interval, floor);
    }

    /// <summary>The start of the interval so many before the one with this start.</summary>
    public static DateTime Back(string interval, DateTime start, int number) => interval switch
    {
        // No farther than there are times.
        Hour or Day or Week => new(Math.Max(0, start.Ticks - (number * (Next(interval, start) - start).Ticks)), DateTimeKind.Utc),
        Month => start.AddMonths(-Math.Min(number, ((start.Year - 1) * 12) + start.Month - 1)),
        _ => throw Unknown(interval),
    };

    private static ArgumentOutOfRangeException Unknown(string interval) => new(nameof(interval), interval, "No such interval.");
}

/// <summary>Rollup rows of one resolution, from one start (inclusive) to another (exclusive).</summary>
public readonly record struct RollupPart(string Resolution, DateTime From, DateTime To);

/// <summary>From a whole hour, inclusive, to a whole hour, exclusive, UTC.</summary>
public readonly record struct TimeRange(DateTime From, DateTime To)
{
    /// <summary>The starts of the intervals that the range touches.</summary>
    public IEnumerable<DateTime> Starts(string interval)
    {
        for (var start = Interval.Floor(interval, From); start < To; start = Interval.Next(interval, start))
            yield return start;
    }

    /// <summary>What the range has of one interval.</summary>
    public TimeRange Part(string interval, DateTime start)
    {
        var next = Interval.Next(interval, start);
        return new(start < From ? From : start, next > To ? To : next);
    }

    /// <summary>True when this is one interval from end to end.</summary>
    public bool IsWhole(string interval) => Interval.Floor(interval, From) == From && Interval.Next(interval, From) == To;

    /// <summary>Covers the range with as few rows of sums as can be: months inside, days around them, hours at the ends.</summary>
    /// <param name="coarsest">No part has rows that span more than one such interval.</param>
    public IReadOnlyList<RollupPart> Cover(string coarsest)
    {
        // There are no sums of weeks, as no range has many.
        string[] finestFirst = [Interval.Hour, Interval.Day, Interval.Month];
        return Cover(finestFirst.AsSpan(0, Array.IndexOf(finestFirst, coarsest == Interval.Week ? Interval.Day : coarsest) + 1));
    }

    /// <summary>Covers the range with as few sketches as can be, of <see cref="UniqueTable.Resolutions"/>.</summary>
    public IReadOnlyList<RollupPart> CoverByUniques() => Cover([.. UniqueTable.Resolutions]);

    private List<RollupPart> Cover(ReadOnlySpan<string> finestFirst)
    {
        var parts = new List<RollupPart>();
        Cover(From, To, finestFirst, parts);
        return parts;
    }

    private static void Cover(DateTime from, DateTime to, ReadOnlySpan<string> finestFirst, List<RollupPart> parts)
    {
        if (from >= to)
            return;
        var finer = finestFirst[..^1];
        var resolution = finestFirst[^1];
        var (low, high) = (Interval.Ceiling(resolution, from), Interval.Floor(resolution, to));
        if (low >= high)
        {
            Cover(from, to, finer, parts);
            return;
        }

        Cover(from, low, finer, parts);
        parts.Add(new(resolution, low, high));
        Cover(high, to, finer, parts);
    }
}

public static class RollupParts
{
    extension(IReadOnlyList<RollupPart> parts)
    {
        /// <summary>The parts as a table <c>part (resolution, low, high)</c>.</summary>
        public Sql Rows => $"""
            unnest({parts.Select(p => p.Resolution).ToArray()}, {parts.Select(p => p.From).ToArray()}, {parts.Select(p => p.To).ToArray()})
              as part (resolution, low, high)
            """;
    }
}

/// <summary>The part of a question that every analytics query has: an interval and a range.</summary>
/// <param name="From">Inclusive; null for the first hour there is.</param>
/// <param name="To">Exclusive; null for the end of the last hour there is.</param>
public sealed record RangeQuery(
    [AllowedValues("hour", "day", "week", "month"), DefaultValue("day")] string Interval, DateTime? From, DateTime? To)
{
    /// <summary>Points that one series may have.</summary>
    public const int MaxPoints = 10_000;

    /// <summary>True when so many values can each have a series: together they have no more points than one series may have.</summary>
    public static bool HasShareSeries(TimeRange range, string interval, int values) => (long)range.Starts(interval).Count() * values <= MaxPoints;

    /// <summary>Reads <c>interval</c> (day unless given), <c>from</c> and <c>to</c>.</summary>
    /// <exception cref="ProblemException">400: not whole hours, or the wrong way round.</exception>
    public static RangeQuery Of(QueryParameters parameters)
    {
        var interval = parameters.OneOf("interval", Analytics.Interval.Day,
            Analytics.Interval.Hour, Analytics.Interval.Day, Analytics.Interval.Week, Analytics.Interval.Month);
        var (from, to) = Ends(parameters);
        return new(interval, from, to);
    }

    /// <summary>Reads <c>from</c> and <c>to</c>.</summary>
    /// <exception cref="ProblemException">400: not whole hours, or the wrong way round.</exception>
    public static (DateTime? From, DateTime? To) Ends(QueryParameters parameters) =>
        (WholeHour(parameters, "from"), WholeHour(parameters, "to")) is var (from, to) && from >= to
            ? throw QueryParameters.Wrong("to", "Must be later than `from`; `to` is exclusive.")
            : (from, to);

    /// <inheritdoc cref="SpanQuery.Within(DateTime?, DateTime?, string, int)"/>
    public TimeRange? Within(DateTime? firstHour, DateTime? lastHour) => new SpanQuery(From, To).Within(firstHour, lastHour, Interval, MaxPoints);

    /// <summary>The range widened to whole days, for rollups that have no hours.</summary>
    /// <exception cref="ProblemException">400: an end that was asked for is not a midnight.</exception>
    public TimeRange InWholeDays(TimeRange range)
    {
        foreach (var (name, end) in (ReadOnlySpan<(string, DateTime?)>)[("from", From), ("to", To)])
            if (end is { } time && time != time.Date)
                throw QueryParameters.Wrong(name, "A breakdown is of whole days, UTC.");
        return new(Analytics.Interval.Floor(Analytics.Interval.Day, range.From), Analytics.Interval.Ceiling(Analytics.Interval.Day, range.To));
    }

    private static DateTime? WholeHour(QueryParameters parameters, string name) => parameters.Time(name) is not { } time ? null
        : time.UtcTicks % TimeSpan.TicksPerHour == 0 && time.Year is > 1900 and < 9000 ? time.UtcDateTime
        : throw QueryParameters.Wrong(name, "Must be a whole hour in UTC; rollups have hourly resolution.");
}

/// <summary>The range of a question that need not have a series.</summary>
/// <param name="From">Inclusive; null for the first hour there is.</param>
/// <param name="To">Exclusive; null for the end of the last hour there is.</param>
public sealed record SpanQuery(DateTime? From, DateTime? To)
{
    /// <inheritdoc cref="RangeQuery.Ends"/>
    public static SpanQuery Of(QueryParameters parameters) => RangeQuery.Ends(parameters) is var (from, to) ? new(from, to) : null!;

    /// <summary>The range in full, given the first and last hours that there are; null when it is empty.</summary>
    public TimeRange? Within(DateTime? firstHour, DateTime? lastHour) =>
        (From ?? firstHour) is { } from && (To ?? lastHour?.AddHours(1)) is { } to && from < to ? new(from, to) : null;

    /// <summary>Reads <c>interval</c> where a question has a series only if that is given.</summary>
    public static string? IntervalOf(QueryParameters parameters) =>
        parameters.OneOf("interval", "", Interval.Hour, Interval.Day, Interval.Week, Interval.Month) is { Length: > 0 } interval ? interval : null;

    /// <summary>The range in full, in no more intervals than a series may have points, if one was asked for.</summary>
    /// <inheritdoc cref="Within(DateTime?, DateTime?, string, int)"/>
    public TimeRange? WithinSeries(DateTime? firstHour, DateTime? lastHour, string? interval) =>
        interval is null ? Within(firstHour, lastHour) : Within(firstHour, lastHour, interval, RangeQuery.MaxPoints);

    /// <summary>
    /// The same in no more than so many intervals. Where no start was asked for, it is that many before the end at the earliest: a device
    /// whose clock says 1970 must not make the question unanswerable.
    /// </summary>
    /// <exception cref="ProblemException">400: more intervals were asked for.</exception>
    public TimeRange? Within(DateTime? firstHour, DateTime? lastHour, string interval, int most)
    {
        if (Within(firstHour, lastHour) is not { } range)
            return null;
        var earliest = Interval.Back(interval, Interval.Ceiling(interval, range.To), most);
        return range.From >= earliest ? range
            : From is null ? range with { From = earliest }
            : throw QueryParameters.Wrong("interval", $"The range has more than {most} intervals of this length. Narrow it with from and to, or take a longer interval.");
    }
}
