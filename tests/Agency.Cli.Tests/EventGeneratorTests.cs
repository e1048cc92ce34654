using System.Text;
using System.Text.Json;
using Agency.Analytics;

namespace Agency.Cli.Tests;

public sealed class EventGeneratorTests
{
    private static readonly EventPlan Plan = new(5000, 3, new DateTime(2025, 1, 1, 0, 0, 0, DateTimeKind.Utc), 30);

    [Fact]
    public void The_same_figures_make_the_same_events_and_another_seed_others()
    {
        Assert.Equal(Lines(Plan), Lines(Plan));
        Assert.Empty(Lines(Plan).Intersect(Lines(Plan with { Seed = 4 })));
        using var generator = new EventGenerator(Plan);
        var batches = new List<byte[]>();
        while (generator.NextBatch(999) is { } batch)
            batches.Add(batch);
        Assert.Equal(Lines(Plan), batches.SelectMany(b => JsonDocument.Parse(b).RootElement.EnumerateArray().Select(e => e.GetRawText())));
    }

    [Fact]
    public void They_are_events_in_the_order_of_time_of_the_days_asked_for()
    {
        var items = EventReader.Read(Encoding.UTF8.GetBytes($"[{string.Join(',', Lines(Plan).Take(1000))}]"), DateTimeOffset.UtcNow);
        Assert.All(items, item => Assert.Null(item.Error));
        var times = items.Select(i => i.Event!.Time).ToList();
        Assert.Equal(times.Order(), times);
        var all = Lines(Plan).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        Assert.Equal(5000, all.Count);
        Assert.InRange(all[^1].GetProperty("time").GetDateTime(), Plan.From.AddDays(24), Plan.From.AddDays(36));
        Assert.Equal(5, all.Select(e => e.GetProperty("event").GetString()).Distinct().Count());
        var ids = all.ConvertAll(e => e.GetProperty("messageId").GetGuid());
        Assert.Equal(5000, ids.Distinct().Count());
        Assert.All(ids, id => Assert.Equal((4, 8), (id.Version, id.Variant & 0xC)));
        // In no order, as those of clients are.
        Assert.InRange(ids.Zip(ids.Skip(1)).Count(pair => pair.First.CompareTo(pair.Second) < 0), 2000, 3000);
        // The most active tenth does much more than a tenth.
        var byUser = all.Where(e => e.TryGetProperty("userId", out _)).CountBy(e => e.GetProperty("userId").GetString()!).Select(u => u.Value).OrderDescending().ToList();
        Assert.True(byUser.Take(byUser.Count / 10).Sum() > byUser.Sum() * 0.4);
    }

    private static List<string> Lines(EventPlan plan)
    {
        using var generator = new EventGenerator(plan);
        var lines = new List<string>();
        while (generator.NextLine() is { } line)
            lines.Add(Encoding.UTF8.GetString(line));
        return lines;
    }
}
