using System.Text.Json.Serialization;

namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/retention</c>: which part of those who began comes back, one period after the other.</summary>
/// <param name="Interval">How long a cohort's interval and a period are: <c>day</c>, <c>week</c> (from Monday) or <c>month</c>, UTC.</param>
/// <param name="From">The first moment that counts; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Totals">All cohorts together.</param>
/// <param name="Cohorts">One for each interval that the range touches, also where nobody began.</param>
/// <param name="Breakdown">The values with the most visitors, when <c>breakdown</c> was asked for.</param>
public sealed record RetentionDto(
    string Interval, DateTimeOffset? From, DateTimeOffset? To, RetentionTotals Totals, IReadOnlyList<RetentionCohort> Cohorts,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<RetentionShare>? Breakdown);

/// <param name="Visitors">Different visitors who began.</param>
/// <param name="Returned">
/// How many of them came back in each period, from 0. Period 0 is the interval in which they began, and a return in it is one after the
/// event that began it; period n is n intervals later. Null for a period that no cohort has behind it.
/// </param>
/// <param name="Rates">Those who came back, as a part (0 to 1, four decimals) of the visitors of the cohorts that have the period behind them; null when there are none.</param>
public sealed record RetentionTotals(long Visitors, IReadOnlyList<long?> Returned, IReadOnlyList<decimal?> Rates);

/// <summary>The visitors who began in one interval.</summary>
/// <param name="Start">Where the interval starts, which for the first may be before the range.</param>
/// <param name="Visitors">Those whose first event, ever or in the range as was asked for, is in this interval.</param>
/// <param name="Returned">How many of them came back in each period, from 0. Null for a period that has not ended by the end of the range, or by now.</param>
/// <param name="Rates">The same as a part of the visitors (0 to 1, four decimals); null also when there are none.</param>
public sealed record RetentionCohort(DateTimeOffset Start, long Visitors, IReadOnlyList<long?> Returned, IReadOnlyList<decimal?> Rates);

/// <summary><see cref="RetentionTotals"/> of those whose first event has this value.</summary>
/// <param name="Value">Its first 200 characters; null where the event has none.</param>
public sealed record RetentionShare(string? Value, long Visitors, IReadOnlyList<long?> Returned, IReadOnlyList<decimal?> Rates);

/// <summary>Visitors who began in the interval of <paramref name="Start"/>: all, or those who came back in the interval of <paramref name="Period"/>.</summary>
/// <param name="Rank">The place of their value in the breakdown, from 1; null when it is not in it.</param>
public readonly record struct RetentionRow(DateTime Start, DateTime? Period, long? Rank, string? Value, long Visitors);

/// <summary>Counts put into periods.</summary>
public static class Retention
{
    /// <param name="ended">Periods that end after this are not known yet.</param>
    public static IReadOnlyList<RetentionCohort> Cohorts(IEnumerable<RetentionRow> rows, TimeRange range, string interval, int periods, DateTime ended)
    {
        var counts = rows.GroupBy(r => (r.Start, r.Period)).ToDictionary(g => g.Key, g => g.Sum(r => r.Visitors));
        return
        [
            .. from start in range.Starts(interval)
               let visitors = counts.GetValueOrDefault((start, null))
               let returned = Periods(interval, start).Take(periods)
                   .Select(p => Interval.Next(interval, p) <= ended ? counts.GetValueOrDefault((start, p)) : (long?)null).ToList()
               select new RetentionCohort(start, visitors, returned, returned.ConvertAll(r => Rate(r, visitors))),
        ];
    }

    public static RetentionTotals Totals(IReadOnlyList<RetentionCohort> cohorts, int periods)
    {
        var (returned, rates) = (new List<long?>(periods), new List<decimal?>(periods));
        for (var n = 0; n < periods; n++)
        {
            var known = cohorts.Where(c => c.Returned[n] is not null).ToList();
            returned.Add(known.Count == 0 ? null : known.Sum(c => c.Returned[n]));
            rates.Add(Rate(returned[n], known.Sum(c => c.Visitors)));
        }

        return new(cohorts.Sum(c => c.Visitors), returned, rates);
    }

    private static decimal? Rate(long? returned, long visitors) => returned is null || visitors == 0 ? null : Math.Round((decimal)returned / visitors, 4);

    private static IEnumerable<DateTime> Periods(string interval, DateTime start)
    {
        for (; ; start = Interval.Next(interval, start))
            yield return start;
    }
}
