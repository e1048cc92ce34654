using System.Diagnostics.CodeAnalysis;

namespace Agency.Analytics;

/// <summary>An event as a funnel sees it.</summary>
/// <param name="Visitor">Whose it is.</param>
/// <param name="Time">Microseconds.</param>
/// <param name="Name">The number of its name among the different names of the steps, in their order, from 0.</param>
/// <param name="Value">The number of its value in the breakdown.</param>
[SuppressMessage("Design", "CA1036", Justification = "It has an order so that spans of it sort without a call for each comparison; nobody compares two.")]
public readonly record struct FunnelEvent(long Visitor, long Time, int Name, int Value) : IComparable<FunnelEvent>
{
    public int CompareTo(FunnelEvent other) => Visitor != other.Visitor ? Visitor < other.Visitor ? -1 : 1
        : Time != other.Time ? Time < other.Time ? -1 : 1
        : Name != other.Name ? Name - other.Name
        : Value - other.Value;
}

/// <summary>
/// How far visitors get through steps, each of which is an event of its name. An attempt begins with an event of the first step that lies in
/// the range. It does the steps with events that come one after the other, none later than the window after its first, each used for one
/// step. Of events at the very same time any may come before any other. Of a visitor's attempts the one that gets furthest counts, the
/// earliest of those; and it does each step as early as it can.
/// </summary>
/// <param name="steps">For each step the number of its name, so that the first is 0; at most <see cref="MaxSteps"/>.</param>
/// <param name="from">The range, as all times in microseconds, inclusive.</param>
/// <param name="to">Exclusive; later steps may come later.</param>
public sealed class Funnel(int[] steps, long from, long to, long window)
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
            for (var run = Run(moment, steps.AsSpan(done, depth - done)); run > 0; run--)
                times[done++] = moment[0].Time;
            i += moment.Length;
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
        for (var i = 0; i < events.Length && depth < steps.Length;)
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
                var run = Run(moment, steps.AsSpan(done));
                latest.Slice(done + 1, run).Fill(start);
                depth = Math.Max(depth, done + run);
            }
        }

        return depth;
    }

    /// <summary>The place of the event with which the earliest attempt begins that gets so far.</summary>
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
                var run = Run(moment, steps.AsSpan(done, depth - done));
                if (run > 0)
                    end[done] = done + run == depth ? time : end[done + run];
                if (done == 0 && run > 0 && time >= from && time < to && end[0] != long.MaxValue && end[0] - time <= window)
                    first = i;
            }
        }

        return first;
    }

    /// <summary>How many of these steps, from the first, the events of a moment do, each being used once.</summary>
    private static int Run(ReadOnlySpan<FunnelEvent> moment, ReadOnlySpan<int> steps)
    {
        if (moment.Length == 1)
            return steps.Length > 0 && moment[0].Name == steps[0] ? 1 : 0;
        Span<int> left = stackalloc int[MaxSteps];
        left.Clear();
        foreach (var e in moment)
            left[e.Name]++;
        var done = 0;
        while (done < steps.Length && left[steps[done]]-- > 0)
            done++;
        return done;
    }

    /// <summary>The events from this place on that are of the same time.</summary>
    private static ReadOnlySpan<FunnelEvent> Moment(ReadOnlySpan<FunnelEvent> events, int start)
    {
        var end = start + 1;
        while (end < events.Length && events[end].Time == events[start].Time)
            end++;
        return events[start..end];
    }
}
