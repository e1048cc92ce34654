using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The numbers of <c>GET /analytics/funnels</c>, from the events themselves.</summary>
public static class FunnelScan
{
    /// <summary>Of the first step's event, for a breakdown: the number of a missing value.</summary>
    private const int Missing = int.MaxValue;

    private const int EventBytes = 16;
    private static readonly DateTime Epoch = new(2000, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    /// <param name="steps">Names of events.</param>
    /// <param name="range">In which visitors enter.</param>
    /// <param name="limit">Values of the breakdown.</param>
    /// <returns>The steps; and those of each value, if that was asked for.</returns>
    public static async Task<(IReadOnlyList<FunnelStep> All, IReadOnlyList<FunnelShare>? Breakdown)> RunAsync(
        UnitOfWork work, string[] steps, TimeRange range, TimeSpan window, ScanQuery query, int limit, CancellationToken cancel)
    {
        var names = steps.Distinct().ToArray();
        // An event exactly at the end of the window counts.
        var read = range with { To = range.To + window + TimeSpan.FromMicroseconds(1) };
        await work.NamesToScanAsync(new(range.From, Interval.Ceiling(Interval.Hour, read.To)), names, cancel);
        var (events, values) = await ReadAsync(work, names, read, query, cancel);
        var funnel = new Funnel([.. steps.Select(s => Array.IndexOf(names, s))], Microseconds(range.From), Microseconds(range.To), window.Ticks / TimeSpan.TicksPerMicrosecond);
        var (all, byValue) = Count(funnel, steps.Length, events, query.Breakdown is not null);
        return (all.Of(steps), query.Breakdown is null ? null :
        [
            .. byValue.OrderByDescending(v => v.Value.Visitors).ThenBy(v => v.Key).Take(limit)
                .Select(v => new FunnelShare(v.Key == Missing ? null : values[v.Key], v.Value.Of(steps))),
        ]);
    }

    /// <returns>The events that steps can be done with; and the values that their numbers stand for, in ordinal order.</returns>
    private static async Task<(FunnelEvent[] Events, string[] Values)> ReadAsync(
        UnitOfWork work, string[] names, TimeRange range, ScanQuery query, CancellationToken cancel)
    {
        // A row for each name, with its events' bytes one after the other: a row for each event, or arrays, take several times as long to
        // read. All columns that are needed without filter or breakdown are in the index.
        Sql Values(int name) => name == 0 && query.Property() is { } by ? $"array_agg({by.Value})" : (Sql)$"null::text[]";
        Sql Rows(int name) => $"""
            select string_agg(int8send(e.visitor) || timestamptz_send(e.occurred_at), ''), {Values(name)}
            from {query.Events([names[name]], range)} and e.visitor is not null
            having count(*) > 0
            """;
        // Two names at a time, as the reading is the server's work and one statement is the work of one of its processors.
        var rows = new (int Name, byte[] Events, string?[]? Values)[names.Length];
        await Parallel.ForAsync(0, names.Length, new ParallelOptions { MaxDegreeOfParallelism = 2, CancellationToken = cancel }, async (name, stop) => rows[name] = await work.QueryFirstAsync(
            Rows(name),
            row => (name, row.GetFieldValue<byte[]>(0), row.IsDBNull(1) ? null : row.GetFieldValue<string?[]>(1)),
            stop) is { Item2: not null } row ? row : (name, [], null));
        var values = rows.SelectMany(r => r.Values ?? []).OfType<string>().Distinct().Order(StringComparer.Ordinal).ToArray();
        var numbers = values.Select((value, i) => (value, i)).ToDictionary(v => v.value, v => v.i);
        var events = new FunnelEvent[rows.Sum(r => r.Events.Length / EventBytes)];
        var n = 0;
        foreach (var (name, bytes, texts) in rows)
        {
            for (var i = 0; i < bytes.Length / EventBytes; i++)
            {
                var e = bytes.AsSpan(i * EventBytes, EventBytes);
                events[n++] = new(
                    BinaryPrimitives.ReadInt64BigEndian(e), BinaryPrimitives.ReadInt64BigEndian(e[8..]), name, texts?[i] is { } text ? numbers[text] : Missing);
            }
        }

        return (events, values);
    }

    private static (FunnelTally All, Dictionary<int, FunnelTally> ByValue) Count(Funnel funnel, int steps, ReadOnlySpan<FunnelEvent> unsorted, bool byValue)
    {
        var events = Sorted(unsorted).AsSpan();
        var all = new FunnelTally(steps);
        var values = new Dictionary<int, FunnelTally>();
        Span<long> times = stackalloc long[Funnel.MaxSteps];
        for (int start = 0, end; start < events.Length; start = end)
        {
            end = start + 1;
            while (end < events.Length && events[end].Visitor == events[start].Visitor)
                end++;
            var own = events[start..end];
            var done = funnel.Furthest(own, times, out var first);
            if (done == 0)
                continue;
            all.Add(times[..done]);
            if (!byValue)
                continue;
            ref var tally = ref CollectionsMarshal.GetValueRefOrAddDefault(values, own[first].Value, out _);
            (tally ??= new(steps)).Add(times[..done]);
        }

        return (all, values);
    }

    /// <summary>
    /// Each visitor's events beside one another, in their order. Visitors are hashes, so that their highest bits spread them evenly over
    /// heaps of few events, which takes a third of the time of sorting all at once. Where they do not, a heap is sorted like all.
    /// </summary>
    private static FunnelEvent[] Sorted(ReadOnlySpan<FunnelEvent> events)
    {
        var bits = Math.Clamp(BitOperations.Log2((uint)events.Length | 1) - 2, 1, 20);
        var ends = new int[1 << bits];
        foreach (ref readonly var e in events)
            ends[(ulong)e.Visitor >> (64 - bits)]++;
        for (int i = 0, end = 0; i < ends.Length; i++)
            (ends[i], end) = (end, end + ends[i]);
        var sorted = new FunnelEvent[events.Length];
        // Each heap's start moves to its end.
        foreach (ref readonly var e in events)
            sorted[ends[(ulong)e.Visitor >> (64 - bits)]++] = e;
        for (int i = 0, start = 0; i < ends.Length; start = ends[i++])
            sorted.AsSpan(start, ends[i] - start).Sort();
        return sorted;
    }

    /// <summary>As PostgreSQL has them: from 2000.</summary>
    private static long Microseconds(DateTime time) => (time - Epoch).Ticks / TimeSpan.TicksPerMicrosecond;
}

/// <summary>What the attempts of visitors add up to.</summary>
/// <param name="steps">How many there are.</param>
public sealed class FunnelTally(int steps)
{
    // Microseconds of each attempt that did the step.
    private readonly List<long>[] _fromFirst = [.. Enumerable.Range(0, steps).Select(_ => new List<long>())];
    private readonly List<long>[] _fromPrevious = [.. Enumerable.Range(0, steps).Select(_ => new List<long>())];

    /// <summary>At the first step.</summary>
    public long Visitors => _fromFirst[0].Count;

    /// <param name="times">When each step was done, in microseconds.</param>
    public void Add(ReadOnlySpan<long> times)
    {
        for (var i = 0; i < times.Length; i++)
        {
            _fromFirst[i].Add(times[i] - times[0]);
            _fromPrevious[i].Add(times[i] - times[Math.Max(i - 1, 0)]);
        }
    }

    /// <param name="names">Of the steps.</param>
    public IReadOnlyList<FunnelStep> Of(IReadOnlyList<string> names) =>
    [
        .. names.Select((name, i) => new FunnelStep(
            name, _fromFirst[i].Count, Share(i, 0), i == 0 ? null : Share(i, i - 1),
            i == 0 ? null : Time(_fromFirst[i]), i == 0 ? null : Time(_fromPrevious[i]))),
    ];

    private double? Share(int step, int of) => _fromFirst[of].Count is var all and > 0 ? (double)_fromFirst[step].Count / all : null;

    private static FunnelTime? Time(List<long> times)
    {
        if (times.Count == 0)
            return null;
        times.Sort();
        var sum = 0.0;
        foreach (var time in times)
            sum += time;
        return new((times[times.Count / 2] + times[(times.Count - 1) / 2]) / 2e6, sum / times.Count / 1e6);
    }
}
