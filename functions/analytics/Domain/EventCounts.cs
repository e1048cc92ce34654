using System.ComponentModel.DataAnnotations;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>What the rollup of event counts tells a query before it looks at anything larger.</summary>
public static class EventCounts
{
    /// <summary>Events that a query reads at most, where it reads the events themselves.</summary>
    public const long MaxScan = 5_000_000;

    /// <summary>The first and last hours that have events; null when there are none.</summary>
    public static Task<(DateTime? First, DateTime? Last)> EventHoursAsync(this UnitOfWork work, CancellationToken cancel) => work.QueryFirstAsync(
        $"select min(start), max(start) from analytics.event_counts where resolution = 'hour'",
        row => (row.GetFieldValue<DateTime?>(0), row.GetFieldValue<DateTime?>(1)),
        cancel);

    /// <summary>The names that events of this range have, before those are read: by name is how they are found.</summary>
    /// <param name="among">Only these names; null for all.</param>
    /// <exception cref="ProblemException">400 on <c>from</c>: more than <see cref="MaxScan"/> events.</exception>
    public static async Task<string[]> NamesToScanAsync(this UnitOfWork work, TimeRange range, string[]? among, CancellationToken cancel) =>
        [.. (await work.CountsToScanAsync(range, among, cancel)).Select(c => c.Name)];

    /// <summary>The same names with how many events have each.</summary>
    /// <inheritdoc cref="NamesToScanAsync"/>
    public static async Task<List<(string Name, long Events)>> CountsToScanAsync(this UnitOfWork work, TimeRange range, string[]? among, CancellationToken cancel)
    {
        var counts = await work.CountsByNameAsync(range, among, cancel);
        return counts.Sum(c => c.Events) is var events and > MaxScan
            ? throw QueryParameters.Wrong("from", $"The range has {events} such events, and this question reads each; at most {MaxScan}. Narrow it with from and to.")
            : counts;
    }

    /// <summary>The names that counted events of this range of whole hours have, and how many have each.</summary>
    /// <param name="among">Only these names; null for all.</param>
    public static Task<List<(string Name, long Events)>> CountsByNameAsync(this UnitOfWork work, TimeRange range, string[]? among, CancellationToken cancel) => work.QueryAsync(
        $"""
        select c.name, sum(c.events)::bigint
        from {range.Cover(Interval.Month).Rows}
        join analytics.event_counts c on c.resolution = part.resolution and c.start >= part.low and c.start < part.high
        {(among is null ? Sql.Empty : $"where c.name = any({among})")}
        group by 1
        """,
        row => (row.GetString(0), row.GetInt64(1)),
        cancel);
}

/// <summary>The part of a question that makes it read the events themselves.</summary>
/// <param name="Filter">Which events count, such as <c>country = 'GB' and quantity &gt; 10</c>; see <see cref="EventFilter"/>.</param>
/// <param name="Breakdown">A property of the events, or <c>@event</c>, <c>@user</c>, <c>@anonymous</c>, by whose values the answer is broken down.</param>
public sealed record ScanQuery(
    [MaxLength(EventFilter.MaxLength), Display(Prompt = "country = 'GB' and not quantity > 10")] string? Filter, string? Breakdown)
{
    private readonly EventFilter? _filter = Filter is null ? null : EventFilter.Parse(Filter);

    /// <exception cref="ProblemException">400: the filter cannot be read, or the breakdown is no property.</exception>
    public static ScanQuery Of(QueryParameters parameters)
    {
        var query = new ScanQuery(parameters.Text("filter", EventFilter.MaxLength), parameters.Text("breakdown"));
        query.Property()?.Check("breakdown");
        return query;
    }

    public bool IsAsked() => Filter is not null || Breakdown is not null;

    public EventProperty? Property() => Breakdown is null ? null : new(Breakdown);

    /// <summary>Rows <c>e</c> of analytics.events that have one of the names, lie in the range and fit the filter.</summary>
    public Sql Events(string[] names, TimeRange range) => $"""
        analytics.events e
        where e.name = any({names}) and e.occurred_at >= {range.From} and e.occurred_at < {range.To} {(_filter is null ? Sql.Empty : $"and {_filter.Condition}")}
        """;
}
