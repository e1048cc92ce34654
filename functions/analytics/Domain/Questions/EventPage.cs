using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// A part of the events in the order of time and message id. The index has them by name, so what is sorted for each page is kept small by
/// a window of time, as long as about a page of them needs.
/// </summary>
/// <param name="From">The page has events of this time, those with a greater message id than <paramref name="After"/>, and later ones.</param>
/// <param name="Window">How much time to look at.</param>
/// <param name="To">The first moment that does not count.</param>
/// <param name="Rows">Events at most.</param>
public sealed record EventPage(DateTime From, string After, TimeSpan Window, DateTime To, int Rows)
{
    private const int FirstRows = 500;
    private const int MaxRows = 10_000;
    private const int MaxBytes = 2 * 1024 * 1024;

    /// <summary>Events that a window may have, so that each page is read in a moment also where a filter leaves nothing of them.</summary>
    private const int MaxWindow = 100_000;

    private static readonly TimeSpan Shortest = TimeSpan.FromMicroseconds(1);
    private static readonly TimeSpan Longest = TimeSpan.FromDays(366);

    /// <summary>Where this page's window ends.</summary>
    public DateTime End => To - From > Window ? From + Window : To;

    public static EventPage Starting(DateTime from, DateTime to) => new(from, "", TimeSpan.FromHours(1), to, FirstRows);

    /// <summary>The page after this one; null when this was the last.</summary>
    /// <param name="found">Events in it.</param>
    /// <param name="last">The time and message id of the last.</param>
    /// <param name="length">Bytes that they needed.</param>
    public EventPage? Next(int found, (DateTime Time, string MessageId)? last, int length)
    {
        var rows = found == 0 ? Rows : (int)Math.Clamp((long)MaxBytes * found / Math.Max(1, length), 100, MaxRows);
        if (found == Rows)
        {
            // There may be more in the window. Twice the time that they came from should do for as many again.
            var (time, id) = last!.Value;
            return this with { From = time, After = id, Window = Clamp((time - From) * 2), Rows = rows };
        }

        return End == To ? null : this with { From = End, After = "", Window = Clamp(found == 0 ? Window * 16 : found * 4 > Rows ? Window : Window * 4), Rows = rows };
    }

    /// <summary>The same page with a window that has few enough events. The longest ones cross what is empty, and may end where much is.</summary>
    public async Task<EventPage> NarrowAsync(UnitOfWork work, string[] names, CancellationToken cancel)
    {
        var page = this;
        while (page.Window > Shortest && await work.QueryFirstAsync(
            $"""
            select count(*) from (
              select from analytics.events e where e.name = any({names}) and e.occurred_at >= {page.From} and e.occurred_at < {page.End} limit {MaxWindow + 1}
            ) as seen
            """,
            row => row.GetInt64(0),
            cancel) > MaxWindow)
            page = page with { Window = Clamp(page.Window / 8) };
        return page;
    }

    private static TimeSpan Clamp(TimeSpan window) => window < Shortest ? Shortest : window > Longest ? Longest : window;
}

public static class EventNames
{
    /// <summary>
    /// The names that events of about this range have, from the events themselves: also those of which no rollup knows yet. The index is
    /// walked from name to name, so the events are not read.
    /// </summary>
    public static async Task<string[]> EventNamesAsync(this UnitOfWork work, SpanQuery span, CancellationToken cancel)
    {
        // Partitions are months; those outside need not be looked at.
        var low = span.From is { } from ? Interval.Floor(Interval.Month, from) : DateTime.UnixEpoch;
        var high = span.To is { } to ? Interval.Ceiling(Interval.Month, to) : new DateTime(9999, 1, 1, 0, 0, 0, DateTimeKind.Utc);
        return [.. await work.QueryAsync(
            $"""
            with recursive names as (
              (select name from analytics.events where occurred_at >= {low} and occurred_at < {high} order by name limit 1)
              union all
              select (select e.name from analytics.events e where e.name > names.name and e.occurred_at >= {low} and e.occurred_at < {high} order by e.name limit 1)
              from names where names.name is not null
            )
            select name from names where name is not null
            """,
            row => row.GetString(0),
            cancel)];
    }

    /// <summary>When the first and the last event of these names are; null when there are none.</summary>
    public static Task<(DateTime? First, DateTime? Last)> EventTimesAsync(this UnitOfWork work, string[] names, CancellationToken cancel) => work.QueryFirstAsync(
        $"""
        select min(low), max(high) from unnest({names}) as n (name) cross join lateral (
          select min(e.occurred_at) as low, max(e.occurred_at) as high from analytics.events e where e.name = n.name
        ) as ends
        """,
        row => (row.GetFieldValue<DateTime?>(0), row.GetFieldValue<DateTime?>(1)),
        cancel);
}
