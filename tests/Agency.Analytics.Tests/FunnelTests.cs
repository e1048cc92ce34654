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
        var names = steps.Distinct().ToList();
        var all = events.Split(' ').Where(e => names.Contains(e[0])).Select(e => new FunnelEvent(1, int.Parse(e[1..], System.Globalization.CultureInfo.InvariantCulture), names.IndexOf(e[0]), 0)).Order().ToArray();
        Assert.Equal(times, string.Join(' ', Furthest(all, [.. steps.Select(s => names.IndexOf(s))], 10, 100, 20)));
    }

    [Fact]
    public void Equals_the_best_of_all_choices()
    {
        var random = new Random(1);
        var depths = new int[7];
        for (var n = 0; n < 30_000; n++)
        {
            int[] letters = [.. Enumerable.Range(0, random.Next(2, 6)).Select(_ => random.Next(3))];
            var names = letters.Distinct().ToList();
            int[] steps = [.. letters.Select(l => names.IndexOf(l))];
            // Few different times, so that many are the same.
            var span = random.Next(3, 40);
            var events = Enumerable.Range(0, random.Next(1, 12)).Select(_ => new FunnelEvent(1, random.Next(span), random.Next(names.Count), 0)).Order().ToArray();
            var (from, window) = (random.Next(span), random.Next(span));
            var to = from + random.Next(1, span);
            var expected = Brute(events, steps, from, to, window);
            Assert.Equal(expected, Furthest(events, steps, from, to, window));
            depths[expected.Count]++;
        }

        // It was about something: attempts of each length.
        Assert.All(depths[..6], count => Assert.InRange(count, 100, 30_000));
    }

    [Fact]
    public void Takes_as_long_as_there_are_events()
    {
        // A visitor who is a machine: quadratic would be hours.
        var events = Enumerable.Range(0, 500_000).Select(i => new FunnelEvent(1, i / 3, i % 2, 0)).Order().ToArray();
        Assert.Equal(10, Furthest(events, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0], 0, 1_000_000, 100_000).Count);
        Assert.Single(Furthest([.. events.Select(e => e with { Name = 0, Time = 5 })], [0, 1, 0, 1, 0, 1, 0, 1, 1, 0], 0, 1_000_000, 100_000));
    }

    private static List<long> Furthest(FunnelEvent[] events, int[] steps, long from, long to, long window)
    {
        var times = new long[Funnel.MaxSteps];
        var done = new Funnel(steps, from, to, window).Furthest(events, times, out var first);
        Assert.True(done == 0 || (events[first].Time == times[0] && events[first].Name == steps[0]));
        return [.. times[..done]];
    }

    /// <summary>Of all sequences of different events that do the first steps in order of time: the longest, of those the one that is earliest, step by step.</summary>
    private static List<long> Brute(FunnelEvent[] events, int[] steps, long from, long to, long window)
    {
        var best = new List<long>();
        Try([], []);
        return best;

        void Try(List<int> used, List<long> times)
        {
            if (times.Count > best.Count || (times.Count == best.Count && times.Zip(best).Select(p => p.First.CompareTo(p.Second)).FirstOrDefault(c => c != 0) < 0))
                best = times;
            if (times.Count == steps.Length)
                return;
            for (var i = 0; i < events.Length; i++)
            {
                var e = events[i];
                if (e.Name == steps[times.Count] && !used.Contains(i)
                    && (times.Count == 0 ? e.Time >= from && e.Time < to : e.Time >= times[^1] && e.Time - times[0] <= window))
                    Try([.. used, i], [.. times, e.Time]);
            }
        }
    }
}
