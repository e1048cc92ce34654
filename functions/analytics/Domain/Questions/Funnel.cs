using System.Diagnostics.CodeAnalysis;

namespace Agency.Analytics;

/// <summary>An event as a funnel sees it.</summary>
/// <param name="Visitor">Whose it is.</param>
/// <param name="Time">Microseconds.</param>
/// <param name="Steps">A bit for each step that it can do, from the lowest for the first.</param>
/// <param name="Value">The number of its value in the breakdown.</param>
[SuppressMessage("Design", "CA1036", Justification = "It has an order so that spans of it sort without a call for each comparison; nobody compares two.")]
public readonly record struct FunnelEvent(long Visitor, long Time, int Steps, int Value) : IComparable<FunnelEvent>
{
    public int CompareTo(FunnelEvent other) => Visitor != other.Visitor ? Visitor < other.Visitor ? -1 : 1
        : Time != other.Time ? Time < other.Time ? -1 : 1
        : Steps != other.Steps ? Steps - other.Steps
        : Value - other.Value;
}

/// <summary>
/// How far visitors get through steps. An attempt begins with an event of the first step that lies in the range. It does the steps with
/// events that come one after the other, none later than the window after its first, each used for one step also where it fits several. Of
/// events at the very same moment any may come before any other. Of a visitor's attempts the one that gets furthest counts, the earliest of
/// those; and it does each step as early as it can.
/// </summary>
/// <param name="steps">How many there are; at most <see cref="MaxSteps"/>.</param>
/// <param name="from">The range, as all times in microseconds, inclusive.</param>
/// <param name="to">Exclusive; later steps may come later.</param>
public sealed class Funnel(int steps, long from, long to, long window)
{
    public const int MaxSteps = 10;

    /// <summary>Takes time linear in the events, times the steps at most.</summary>
    /// <param name="events">All of one visitor's, in their order.</param>
    /// <param name="times">When each step was done, as far as the attempt got.</param>
    /// <param name="first">The place of the event that it began with.</param>
    /// <returns>Steps done; 0 when there was no attempt.</returns>
    public int Furthest(ReadOnlySpan<FunnelEvent> events, Span<long> times, out int first)
    {
        var depth = Depth(events);
        first = depth == 0 ? 0 : Start(events, depth);
        for (int done = 0, i = first; done < depth;)
        {
            var moment = Moment(events, i);
            var run = Run(moment, done, depth);
            if (done == 0)
                first += Beginning(moment, run);
            times.Slice(done, run).Fill(moment[0].Time);
            (done, i) = (done + run, i + moment.Length);
        }

        return depth;
    }

    /// <summary>How far the furthest attempt gets. Among those that have got equally far, the latest has the most time left: it stands for all.</summary>
    private int Depth(ReadOnlySpan<FunnelEvent> events)
    {
        // By steps done: where the latest attempt began.
        Span<long> latest = stackalloc long[MaxSteps + 1];
        latest.Fill(long.MinValue);
        var depth = 0;
        for (var i = 0; i < events.Length && depth < steps;)
        {
            var moment = Moment(events, i);
            i += moment.Length;
            var time = moment[0].Time;
            // Downwards, so that what this moment adds is not taken for what was there before it.
            for (var done = depth; done >= 0; done--)
            {
                var start = done > 0 ? latest[done] : time >= from && time < to ? time : long.MinValue;
                if (start == long.MinValue || time - start > window)
                    continue;
                var run = Run(moment, done, steps);
                latest.Slice(done + 1, run).Fill(start);
                depth = Math.Max(depth, done + run);
            }
        }

        return depth;
    }

    /// <summary>The place of the moment with which the earliest attempt begins that gets so far.</summary>
    private int Start(ReadOnlySpan<FunnelEvent> events, int depth)
    {
        // By steps done: when the others can be done at the earliest, with events after the place.
        Span<long> end = stackalloc long[MaxSteps + 1];
        end.Fill(long.MaxValue);
        var first = 0;
        for (var i = events.Length - 1; i >= 0; i--)
        {
            var time = events[i].Time;
            while (i > 0 && events[i - 1].Time == time)
                i--;
            var moment = Moment(events, i);
            for (var done = 0; done < depth; done++)
            {
                var run = Run(moment, done, depth);
                if (run > 0)
                    end[done] = done + run == depth ? time : end[done + run];
                if (done == 0 && run > 0 && time >= from && time < to && end[0] != long.MaxValue && end[0] - time <= window)
                    first = i;
            }
        }

        return first;
    }

    /// <summary>The place of the event of a moment that does the first step where so many are done in it: of several, that of the lowest value.</summary>
    private static int Beginning(ReadOnlySpan<FunnelEvent> moment, int run)
    {
        var found = -1;
        for (var i = 0; i < moment.Length; i++)
        {
            // Of those that can do the same steps the first has the lowest value, and the others would do no better.
            if ((moment[i].Steps & 1) == 0 || (i > 0 && moment[i].Steps == moment[i - 1].Steps) || (found >= 0 && moment[i].Value >= moment[found].Value))
                continue;
            if (run == 1 || RunOfSeveral(moment, 1, run, i) == run - 1)
                found = i;
        }

        return found;
    }

    /// <summary>How many steps, from the first that is not done yet, the events of a moment do, each used once.</summary>
    /// <param name="done">Steps before it.</param>
    /// <param name="depth">Where to stop.</param>
    private static int Run(ReadOnlySpan<FunnelEvent> moment, int done, int depth) =>
        moment.Length > 1 ? RunOfSeveral(moment, done, depth) : done < depth ? (moment[0].Steps >> done) & 1 : 0;

    /// <summary>
    /// The same of several events. Steps are given events one after the other; where there is none left, those before may have to take
    /// another (a matching by augmenting paths).
    /// </summary>
    /// <param name="without">The place of an event that is not to be used.</param>
    private static int RunOfSeveral(ReadOnlySpan<FunnelEvent> moment, int done, int depth, int without = -1)
    {
        // Events that can do the same steps are next to each other.
        Span<Alike> alike = stackalloc Alike[Math.Min(moment.Length, 1 << MaxSteps)];
        var kinds = 0;
        for (var i = 0; i < moment.Length; i++)
        {
            if (kinds == 0 || alike[kinds - 1].Steps != moment[i].Steps)
                alike[kinds++] = new(moment[i].Steps, 0);
            if (i != without)
                alike[kinds - 1].Left++;
        }

        Span<int> by = stackalloc int[MaxSteps];
        by.Fill(-1);
        var step = done;
        for (var asked = 0; step < depth && TryGive(step, alike[..kinds], by, ref asked); asked = 0)
            step++;
        return step - done;
    }

    /// <param name="by">For each step the kind of event that it has.</param>
    /// <param name="asked">Steps that have been asked to take another event.</param>
    private static bool TryGive(int step, Span<Alike> alike, Span<int> by, ref int asked)
    {
        for (var kind = 0; kind < alike.Length; kind++)
            if ((alike[kind].Steps >> step & 1) != 0 && alike[kind].Left > 0)
            {
                alike[kind].Left--;
                by[step] = kind;
                return true;
            }

        asked |= 1 << step;
        for (var other = 0; other < MaxSteps; other++)
            if (by[other] is var kind and >= 0 && (alike[kind].Steps >> step & 1) != 0 && (asked >> other & 1) == 0 && TryGive(other, alike, by, ref asked))
            {
                by[step] = kind;
                return true;
            }

        return false;
    }

    /// <summary>Events of a moment that can do the same steps.</summary>
    private record struct Alike(int Steps, int Left);

    /// <summary>The events from this place on that are of the same time.</summary>
    private static ReadOnlySpan<FunnelEvent> Moment(ReadOnlySpan<FunnelEvent> events, int start)
    {
        var end = start + 1;
        while (end < events.Length && events[end].Time == events[start].Time)
            end++;
        return events[start..end];
    }
}
