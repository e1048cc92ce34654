namespace Agency.Analytics.Tests;

/// <summary>Who gets how far, against every way of choosing events for steps.</summary>
public sealed class FunnelTests
{
    [Theory]
    // Each event is a letter and its minute; range is [10, 100), window 20.
    [InlineData("AB", "A10 B20", "10 20")]
    [InlineData("AB", "A9 B20", "")]
    [InlineData("AB", "A100 B101", "")]
    [InlineData("AB", "A99 B119", "99 119")]
    [InlineData("AB", "A99 B120", "99")]
    [InlineData("AB", "B10 A10", "10 10")]
    [InlineData("AB", "B9 A10", "10")]
    [InlineData("AA", "A10", "10")]
    [InlineData("AA", "A10 A10", "10 10")]
    [InlineData("ABA", "A10 A10 B10", "10 10 10")]
    [InlineData("ABA", "A10 B10 B11", "10 10")]
    // The earliest that gets furthest, not the first nor the last.
    [InlineData("ABC", "A10 B11 A15 A16 B20 C35", "15 20 35")]
    [InlineData("ABC", "A10 B11 A40 B41 A50 B51", "10 11")]
    // Each step as early as it can be.
    [InlineData("AB", "A10 B12 B13", "10 12")]
    [InlineData("ABB", "A10 B12 C12 B13 B14", "10 12 13")]
    public void An_attempt(string steps, string events, string times)
    {
        var all = events.Split(' ').Select(e => Event(steps, e[0], int.Parse(e[1..], System.Globalization.CultureInfo.InvariantCulture))).Order().ToArray();
        Assert.Equal(times, string.Join(' ', Furthest(all, steps.Length, 10, 100, 20).Times));
    }

    [Theory]
    // Events as the steps that they fit and their minute; range is [10, 100), window 20.
    [InlineData(2, "01@10", "10")]
    [InlineData(2, "01@10 01@11", "10 11")]
    [InlineData(2, "01@10 0@10", "10 10")]
    [InlineData(3, "012@10 0@10 0@10", "10 10")]
    [InlineData(3, "012@10 01@10 0@10", "10 10 10")]
    [InlineData(3, "01@10 012@12 1@13 2@14", "10 12 14")]
    public void An_event_that_fits_several_steps_is_used_for_one(int steps, string events, string times)
    {
        var all = events.Split(' ').Select(e => e.Split('@')).Select(e => new FunnelEvent(
            1, int.Parse(e[1], System.Globalization.CultureInfo.InvariantCulture), e[0].Sum(step => 1 << (step - '0')), 0)).Order().ToArray();
        Assert.Equal(times, string.Join(' ', Furthest(all, steps, 10, 100, 20).Times));
    }

    [Fact]
    public void The_event_it_began_with_is_one_that_the_other_steps_can_do_without()
    {
        // That of value 1 is needed for the second step.
        FunnelEvent[] events = [new(1, 10, 0b11, 1), new(1, 10, 0b01, 2), new(1, 10, 0b01, 3)];
        Assert.Equal(2, Furthest([.. events.Order()], 2, 10, 100, 20).Value);
        Assert.Equal(1, Furthest([.. events.Append(new(1, 10, 0b10, 0)).Order()], 2, 10, 100, 20).Value);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Equals_the_best_of_all_choices(bool areFiltered)
    {
        var random = new Random(1);
        var depths = new int[7];
        for (var n = 0; n < 20_000; n++)
        {
            var letters = string.Concat(Enumerable.Range(0, random.Next(2, 6)).Select(_ => "ABC"[random.Next(3)]));
            // Few different times, so that many are the same.
            var span = random.Next(3, 40);
            // Events of a few names; or of any steps.
            var events = Enumerable.Range(0, random.Next(1, areFiltered ? 9 : 12))
                .Select(_ => areFiltered ? new FunnelEvent(1, random.Next(span), random.Next(1 << letters.Length), random.Next(4)) : Event(letters, "ABC"[random.Next(3)], random.Next(span), random.Next(4)))
                .Where(e => e.Steps != 0).Order().ToArray();
            var (from, window) = (random.Next(span), random.Next(span));
            var to = from + random.Next(1, span);
            var expected = Brute(events, letters.Length, from, to, window);
            var found = Furthest(events, letters.Length, from, to, window);
            Assert.Equal(expected.Times, found.Times);
            Assert.Equal(expected.Value, found.Value);
            depths[expected.Times.Count]++;
        }

        // It was about something: attempts of each length.
        Assert.All(depths[..6], count => Assert.InRange(count, 50, 20_000));
    }

    [Fact]
    public void Takes_as_long_as_there_are_events()
    {
        // A visitor who is a machine: quadratic would be hours.
        var events = Enumerable.Range(0, 500_000).Select(i => Event("ABABABABBA", "AB"[i % 2], i / 3, i)).Order().ToArray();
        Assert.Equal(10, Furthest(events, 10, 0, 1_000_000, 100_000).Times.Count);
        Assert.Single(Furthest([.. events.Select((e, i) => e with { Steps = 0b1, Time = 5 }).Order()], 10, 0, 1_000_000, 100_000).Times);
        Assert.Equal(10, Furthest([.. events.Select((e, i) => e with { Steps = 1 + (i % 1023), Time = 5 }).Order()], 10, 0, 1_000_000, 100_000).Times.Count);
    }

    private static FunnelEvent Event(string steps, char name, long time, int value = 0) =>
        new(1, time, steps.Select((step, i) => step == name ? 1 << i : 0).Sum(), value);

    private static (List<long> Times, int? Value) Furthest(FunnelEvent[] events, int steps, long from, long to, long window)
    {
        var times = new long[Funnel.MaxSteps];
        var done = new Funnel(steps, from, to, window).Furthest(events, times, out var first);
        Assert.True(done == 0 || (events[first].Time == times[0] && (events[first].Steps & 1) != 0));
        return ([.. times[..done]], done == 0 ? null : events[first].Value);
    }

    /// <summary>
    /// Of all sequences of different events that do the first steps in order of time: the longest, of those the one that is earliest, step by
    /// step; and of those the lowest value that one begins with.
    /// </summary>
    private static (List<long> Times, int? Value) Brute(FunnelEvent[] events, int steps, long from, long to, long window)
    {
        var (best, value) = (new List<long>(), (int?)null);
        Try([], []);
        return (best, value);

        void Try(List<int> used, List<long> times)
        {
            var order = times.Count != best.Count ? best.Count - times.Count : times.Zip(best).Select(p => p.First.CompareTo(p.Second)).FirstOrDefault(c => c != 0);
            if (times.Count > 0 && (order < 0 || (order == 0 && events[used[0]].Value < value)))
                (best, value) = (times, events[used[0]].Value);
            if (times.Count == steps)
                return;
            for (var i = 0; i < events.Length; i++)
            {
                var e = events[i];
                if ((e.Steps >> times.Count & 1) != 0 && !used.Contains(i)
                    && (times.Count == 0 ? e.Time >= from && e.Time < to : e.Time >= times[^1] && e.Time - times[0] <= window))
                    Try([.. used, i], [.. times, e.Time]);
            }
        }
    }
}
