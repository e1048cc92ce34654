using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Numerics;
using System.Runtime.InteropServices;
using Agency.Platform;
using Npgsql;

namespace Agency.Analytics;

/// <summary>The numbers of <c>GET /analytics/funnels</c>, from the events themselves.</summary>
public static class FunnelScan
{
    /// <summary>Of the first step's event, for a breakdown: the number of a missing value.</summary>
    private const int Missing = int.MaxValue;

    /// <summary>How many slices are read, and heaps counted, at a time: a question is to use more than one processor, and not all of them.</summary>
    private const int Workers = 2;

    /// <summary>Events that are read at a time, about: few enough that the workers end together.</summary>
    private const long SliceEvents = 50_000;

    private static readonly DateTime Epoch = new(2000, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    /// <param name="range">In which visitors enter.</param>
    /// <param name="interval">Of the series; null for none.</param>
    /// <param name="limit">Values of the breakdown.</param>
    public static async Task<FunnelDto> RunAsync(
        UnitOfWork work, FunnelStepQuery[] steps, TimeRange range, (TimeSpan Length, string Text) window, string? interval, ScanQuery query, int limit, CancellationToken cancel)
    {
        // An event exactly at the end of the window counts.
        var read = range with { To = range.To + window.Length + TimeSpan.FromMicroseconds(1) };
        var names = query.Among([.. steps.Select(s => s.Event).Distinct()])!;
        using var scan = await work.ToScanAsync(new(range.From, Interval.Ceiling(Interval.Hour, read.To)), names, cancel);
        var (slices, values) = await ReadAsync(work, steps, names, read, scan.Counts, query, cancel);
        var (events, ends) = Spread(slices, values);
        var funnel = new Funnel(steps.Length, Microseconds(range.From), Microseconds(range.To), window.Length.Ticks / TimeSpan.TicksPerMicrosecond);
        var tally = Count(funnel, steps.Length, events, ends, query.Breakdown is not null);
        ArrayPool<FunnelEvent>.Shared.Return(events);
        var starts = interval is null ? null : range.Starts(interval).ToArray();
        var sharesHaveSeries = interval is not null && RangeQuery.HasShareSeries(range, interval, limit);
        return new(
            range.From, range.To, window.Text, tally.All.Of(steps),
            query.Breakdown is null ? null :
            [
                .. tally.ByValue.OrderByDescending(v => v.Value.Visitors).ThenBy(v => v.Key).Take(limit)
                    .Select(v => new FunnelShare(v.Key == Missing ? null : values[v.Key], v.Value.Of(steps), sharesHaveSeries ? Series(v.Value, starts!) : null)),
            ],
            interval, starts is null ? null : Series(tally.All, starts));
    }

    private static FunnelPoint[] Series(FunnelTally tally, DateTime[] starts)
    {
        var microseconds = Array.ConvertAll(starts, Microseconds);
        var points = new (long Entered, long Converted)[starts.Length];
        foreach (var began in tally.Began)
            points[Of(began)].Entered++;
        foreach (var began in tally.Finished)
            points[Of(began)].Converted++;
        return [.. starts.Zip(points, (start, p) => new FunnelPoint(start, p.Entered, p.Converted, p.Entered == 0 ? null : (double)p.Converted / p.Entered))];

        int Of(long time) => Array.BinarySearch(microseconds, time) is var place && place >= 0 ? place : ~place - 1;
    }

    /// <returns>The events that steps can be done with, and the different values of the breakdown in order.</returns>
    private static async Task<(Slice[] Slices, string[] Values)> ReadAsync(
        UnitOfWork work, FunnelStepQuery[] steps, IReadOnlyList<string> names, TimeRange range, IReadOnlyDictionary<string, long> counts, ScanQuery query, CancellationToken cancel)
    {
        // One row, with its events' bytes one after the other: a row for each event, or arrays, take several times as long to read. All
        // columns that are needed without filter or breakdown are in the index.
        Sql Row(string name, TimeRange part)
        {
            var bytes = (Sql)$"int8send(e.visitor) || timestamptz_send(e.occurred_at)";
            var (some, bits) = ((Sql)$"false", (Sql)$"0");
            for (var i = 0; i < steps.Length; i++)
                if (steps[i].Event == name && steps[i].Filter is not null)
                    (some, bits) = ($"{some} or {steps[i].Condition!}", $"{bits} | case when {steps[i].Condition!} then {1 << i} else 0 end");
            var plain = PlainSteps(steps, name);
            return $"""
                select string_agg({(HasFilters(steps, name) ? $"{bytes} || int4send({bits})" : bytes)}, ''),
                  {(name == steps[0].Event && query.Property() is { } by ? $"array_agg({by.Value})" : (Sql)$"null::text[]")}
                from {query.Events([name], part)} and e.visitor is not null {(plain == 0 ? $"and ({some})" : Sql.Empty)}
                having count(*) > 0
                """;
        }

        var parts = names.SelectMany(name => Split(range, (counts.GetValueOrDefault(name) / SliceEvents) + 1).Select(part => (Name: name, Part: part))).ToArray();
        var slices = new Slice[parts.Length];
        var different = new ConcurrentDictionary<string, string>(StringComparer.Ordinal);
        await Parallel.ForAsync(0, parts.Length, new ParallelOptions { MaxDegreeOfParallelism = Workers, CancellationToken = cancel }, async (i, stop) =>
        {
            var (name, part) = parts[i];
            slices[i] = await work.QueryFirstAsync(Row(name, part), row => Slice.Of(PlainSteps(steps, name), HasFilters(steps, name), row, different), stop) ?? Slice.Empty;
        });
        return (slices, [.. different.Keys.Order(StringComparer.Ordinal)]);
    }

    /// <summary>A bit for each step that any event of this name can do.</summary>
    private static int PlainSteps(FunnelStepQuery[] steps, string name) =>
        steps.Select((step, i) => step.Event == name && step.Filter is null ? 1 << i : 0).Sum();

    private static bool HasFilters(FunnelStepQuery[] steps, string name) => Array.Exists(steps, s => s.Event == name && s.Filter is not null);

    private static IEnumerable<TimeRange> Split(TimeRange range, long parts)
    {
        var length = Microseconds(range.To) - Microseconds(range.From);
        DateTime At(long part) => range.From.AddTicks(length * part / parts * TimeSpan.TicksPerMicrosecond);
        for (var part = 0L; part < parts; part++)
            yield return new(At(part), At(part + 1));
    }

    /// <summary>
    /// Puts the events onto heaps by the highest bits of their visitors. As visitors are hashes, that spreads them evenly over heaps of few
    /// events, and sorting those takes a third of the time of sorting all at once. Where it does not, a heap is sorted like all.
    /// </summary>
    /// <param name="values">All that the slices have; an event gets the number of its own.</param>
    /// <returns>The heaps one after the other in an array that is rented, and where each ends.</returns>
    private static (FunnelEvent[] Events, int[] Ends) Spread(Slice[] slices, string[] values)
    {
        var numbers = values.Select((value, i) => (value, i)).ToDictionary(v => v.value, v => v.i);
        var count = slices.Sum(s => s.Count);
        var bits = Math.Clamp(BitOperations.Log2((uint)count | 1) - 2, 1, 20);
        var ends = new int[1 << bits];
        foreach (var slice in slices)
            for (var i = 0; i < slice.Count; i++)
                ends[(ulong)slice.Visitor(i) >> (64 - bits)]++;
        for (int i = 0, end = 0; i < ends.Length; i++)
            (ends[i], end) = (end, end + ends[i]);
        // Rented, as what is so large is otherwise cleared each time, and collected only with everything else.
        var events = ArrayPool<FunnelEvent>.Shared.Rent(count);
        foreach (var slice in slices)
        {
            // Each heap's start moves to its end.
            for (var i = 0; i < slice.Count; i++)
                events[ends[(ulong)slice.Visitor(i) >> (64 - bits)]++] =
                    new(slice.Visitor(i), slice.Time(i), slice.Steps(i), slice.Values?[i] is { } text ? numbers[text] : Missing);
            slice.Return();
        }

        return (events, ends);
    }

    private static Tallies Count(Funnel funnel, int steps, FunnelEvent[] events, int[] ends, bool byValue)
    {
        // A visitor's events are all on one heap.
        var tallies = new Tallies[Workers];
        Parallel.For(0, Workers, worker =>
        {
            var tally = tallies[worker] = new(steps);
            var first = ends.Length * worker / Workers;
            for (int heap = first, start = first == 0 ? 0 : ends[first - 1]; heap < ends.Length * (worker + 1) / Workers; start = ends[heap++])
            {
                var own = events.AsSpan(start, ends[heap] - start);
                own.Sort();
                Count(funnel, own, tally, byValue);
            }
        });
        foreach (var other in tallies.Skip(1))
            tallies[0].Add(other);
        return tallies[0];
    }

    private static void Count(Funnel funnel, ReadOnlySpan<FunnelEvent> events, Tallies tally, bool byValue)
    {
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
            tally.All.Add(times[..done]);
            if (byValue)
                tally.Of(own[first].Value).Add(times[..done]);
        }
    }

    /// <summary>As PostgreSQL has them: from 2000.</summary>
    private static long Microseconds(DateTime time) => (time - Epoch).Ticks / TimeSpan.TicksPerMicrosecond;

    /// <summary>Events of one name, as PostgreSQL sent them.</summary>
    /// <param name="Plain">The steps that each of them can do.</param>
    /// <param name="Size">Bytes of one.</param>
    /// <param name="Bytes">Rented; each event's visitor, its time and, if the name's steps have filters, those whose filters it fits.</param>
    /// <param name="Values">In the breakdown, of each event; null where none was asked for. Equal ones are one and the same text.</param>
    private sealed record Slice(int Plain, int Size, byte[] Bytes, int Count, string?[]? Values)
    {
        private const int PlainSize = 2 * sizeof(long);

        public static readonly Slice Empty = new(0, PlainSize, [], 0, null);

        public static Slice Of(int plain, bool hasFilters, NpgsqlDataReader row, ConcurrentDictionary<string, string> different)
        {
            var size = PlainSize + (hasFilters ? sizeof(int) : 0);
            var length = (int)row.GetBytes(0, 0, null, 0, 0);
            var bytes = ArrayPool<byte>.Shared.Rent(length);
            row.GetBytes(0, 0, bytes, 0, length);
            var values = row.IsDBNull(1) ? null : row.GetFieldValue<string?[]>(1);
            for (var i = 0; i < values?.Length; i++)
                values[i] = values[i] is { } text ? different.GetOrAdd(text, text) : null;
            return new(plain, size, bytes, length / size, values);
        }

        public long Visitor(int i) => BinaryPrimitives.ReadInt64BigEndian(Bytes.AsSpan(i * Size));

        public long Time(int i) => BinaryPrimitives.ReadInt64BigEndian(Bytes.AsSpan((i * Size) + sizeof(long)));

        public int Steps(int i) => Size == PlainSize ? Plain : Plain | BinaryPrimitives.ReadInt32BigEndian(Bytes.AsSpan((i * Size) + PlainSize));

        public void Return() => ArrayPool<byte>.Shared.Return(Bytes);
    }

    /// <summary>What the attempts of some visitors add up to, together and by value of the breakdown.</summary>
    private sealed class Tallies(int steps)
    {
        public FunnelTally All { get; } = new(steps);

        public Dictionary<int, FunnelTally> ByValue { get; } = [];

        public FunnelTally Of(int value)
        {
            ref var tally = ref CollectionsMarshal.GetValueRefOrAddDefault(ByValue, value, out _);
            return tally ??= new(steps);
        }

        public void Add(Tallies others)
        {
            All.Add(others.All);
            foreach (var (value, tally) in others.ByValue)
                Of(value).Add(tally);
        }
    }
}

/// <summary>What the attempts of visitors add up to.</summary>
/// <param name="steps">How many there are.</param>
public sealed class FunnelTally(int steps)
{
    // Microseconds of each attempt that did the step.
    private readonly List<long>[] _fromFirst = [.. Enumerable.Range(0, steps).Select(_ => new List<long>())];
    private readonly List<long>[] _fromPrevious = [.. Enumerable.Range(0, steps).Select(_ => new List<long>())];

    /// <summary>When each attempt began, in microseconds.</summary>
    public List<long> Began { get; } = [];

    /// <summary>When those began that did all steps.</summary>
    public List<long> Finished { get; } = [];

    /// <summary>At the first step.</summary>
    public long Visitors => Began.Count;

    /// <param name="times">When each step was done, in microseconds.</param>
    public void Add(ReadOnlySpan<long> times)
    {
        Began.Add(times[0]);
        if (times.Length == steps)
            Finished.Add(times[0]);
        for (var i = 0; i < times.Length; i++)
        {
            _fromFirst[i].Add(times[i] - times[0]);
            _fromPrevious[i].Add(times[i] - times[Math.Max(i - 1, 0)]);
        }
    }

    /// <summary>Adds the attempts of other visitors.</summary>
    public void Add(FunnelTally others)
    {
        Began.AddRange(others.Began);
        Finished.AddRange(others.Finished);
        for (var i = 0; i < steps; i++)
        {
            _fromFirst[i].AddRange(others._fromFirst[i]);
            _fromPrevious[i].AddRange(others._fromPrevious[i]);
        }
    }

    public IReadOnlyList<FunnelStep> Of(IReadOnlyList<FunnelStepQuery> asked) =>
    [
        .. asked.Select((step, i) => new FunnelStep(
            step.Event, _fromFirst[i].Count, Share(i, 0), i == 0 ? null : Share(i, i - 1),
            i == 0 ? null : Time(_fromFirst[i]), i == 0 ? null : Time(_fromPrevious[i]), step.Filter)),
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
