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

    /// <summary>What a question of this range is about to read: events are found by the names that they have.</summary>
    /// <param name="among">Only these names; null for all.</param>
    /// <param name="gate">The process's, unless another is given.</param>
    /// <param name="besides">Events of other times that it reads too.</param>
    /// <exception cref="ProblemException">400 on <c>from</c>: more than <see cref="MaxScan"/> events. 503: too many large scans at a time.</exception>
    public static async Task<EventsToScan> ToScanAsync(
        this UnitOfWork work, TimeRange range, IReadOnlyList<string>? among, CancellationToken cancel, ScanGate? gate = null, long besides = 0)
    {
        var counts = await work.CountsByNameAsync(range, among?.ToArray(), cancel);
        var events = counts.Sum(c => c.Events);
        if (events > MaxScan)
            throw QueryParameters.Wrong("from", $"The range has {events} such events, and this question reads each; at most {MaxScan}. Narrow it with from and to.");
        return new(counts.ToDictionary(), await (gate ?? ScanGate.OfProcess).EnterAsync(events + besides, cancel));
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

/// <summary>The events that a question is about to read. It has its turn until this is disposed.</summary>
/// <param name="Counts">By name, how many there are.</param>
public sealed record EventsToScan(IReadOnlyDictionary<string, long> Counts, IDisposable? Turn) : IDisposable
{
    public string[] Names => [.. Counts.Keys];

    public void Dispose() => Turn?.Dispose();
}

/// <summary>Lets few large scans run at a time, as each of them takes memory in proportion to its events. Small ones need not wait.</summary>
/// <param name="places">Large scans at a time.</param>
/// <param name="patience">How long one may wait for its turn.</param>
public sealed class ScanGate(int places, TimeSpan patience) : IDisposable
{
    /// <summary>Events from which on a scan is large.</summary>
    public const long Large = 200_000;

    private readonly SemaphoreSlim _free = new(places);

    /// <summary>One for all questions of this process.</summary>
    public static ScanGate OfProcess { get; } = new(Environment.ProcessorCount, TimeSpan.FromSeconds(20));

    private static Problem Busy => Problem.Of(
        503, "too-many-scans", "Too many large questions are being answered", "Try again later, or ask for fewer events with from and to.");

    /// <returns>To be disposed at the end; null when none is needed.</returns>
    /// <exception cref="ProblemException">503: there was no turn in all that time.</exception>
    public async Task<IDisposable?> EnterAsync(long events, CancellationToken cancel) =>
        events < Large ? null
        : await _free.WaitAsync(patience, cancel) ? new Place(_free)
        : throw new ProblemException(Busy with { RetryAfter = 10 });

    public void Dispose() => _free.Dispose();

    private sealed class Place(SemaphoreSlim free) : IDisposable
    {
        private SemaphoreSlim? _free = free;

        public void Dispose() => Interlocked.Exchange(ref _free, null)?.Release();
    }
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

    /// <summary>Of these names (null: all) those that events which fit the filter can have.</summary>
    public IReadOnlyList<string>? Among(IReadOnlyList<string>? names) =>
        _filter?.Names is not { } own ? names : names is null ? own : [.. names.Intersect(own)];

    public EventProperty? Property() => Breakdown is null ? null : new(Breakdown);

    /// <summary>Rows <c>e</c> of analytics.events that have one of the names, lie in the range and fit the filter.</summary>
    public Sql Events(string[] names, TimeRange range) => $"""
        analytics.events e
        where e.name = any({names}) and e.occurred_at >= {range.From} and e.occurred_at < {range.To} {AndFits}
        """;

    /// <summary>That a row <c>e</c> of analytics.events fits the filter, as one more condition.</summary>
    public Sql AndFits => _filter is null ? Sql.Empty : $"and {_filter.Condition}";

    /// <summary>One text for a value, which may be null: joins of many rows need a plain equality.</summary>
    internal static Sql Key(Sql value) => $"coalesce('=' || {value}, '')";

    /// <summary>The same for a kind of row, its interval and its value, which both may be null.</summary>
    internal static Sql Key(Sql kind, Sql start, Sql value) => $"concat({kind}, ' ', extract(epoch from {start}), '=' || {value})";
}
