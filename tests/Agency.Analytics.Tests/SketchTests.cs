using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Agency.Analytics.Tests;

public sealed class SketchTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1000)]
    [InlineData(Sketch.MaxExact)]
    [InlineData(Sketch.MaxExact + 1)]
    [InlineData(100_000)]
    [InlineData(1_000_000)]
    public void A_count_is_within_one_percent(int members)
    {
        var sketch = new Sketch();
        for (var i = 0; i < members; i++)
            sketch.Add(Visitor.Of("member " + i, anonymous: false));
        Assert.InRange(sketch.Count(), members * 0.99, members * 1.01);
        Assert.Equal(sketch.Count(), Sketch.From(sketch.ToBytes()).Count());
        if (members <= Sketch.MaxExact)
            Assert.Equal(members, sketch.Count());
    }

    [Theory]
    [InlineData(100)]
    [InlineData(10_000)]
    [InlineData(40_000)]
    public void A_set_has_the_same_bytes_however_it_came_together(int members)
    {
        var visitors = Enumerable.Range(0, members).Select(i => Visitor.Of("v" + i, i % 2 == 0)).ToArray();
        var whole = new Sketch();
        foreach (var visitor in visitors)
            whole.Add(visitor);
        new Random(1).Shuffle(visitors);
        var united = new Sketch();
        var parts = new List<CountedSketch>();
        foreach (var part in visitors.Chunk((members / 7) + 1))
        {
            var sketch = new Sketch();
            // Some of them again, and some that are in other parts too.
            foreach (var visitor in part.Concat(part.Take(50)).Concat(visitors.Take(90)))
                sketch.Add(visitor);
            united.Unite(Sketch.From(sketch.ToBytes()));
            parts.Add(new(sketch.Count(), sketch.ToBytes()));
        }

        Assert.Equal(whole.ToBytes(), united.ToBytes());
        Assert.Equal(whole.Count(), Sketch.CountUnion(parts));
        Assert.Equal(whole.Count(), Sketch.CountUnion([new(whole.Count(), whole.ToBytes())]));
        Assert.Equal(whole.Count(), Sketch.CountUnion([.. parts, new(whole.Count(), whole.ToBytes())]));
        Assert.Equal(0, Sketch.CountUnion([]));
        var other = new Sketch();
        other.Add(visitors[0]);
        other.Unite(whole);
        Assert.Equal(whole.ToBytes(), other.ToBytes());
    }

    [Fact]
    public void Visitors_are_told_apart_and_their_kind_is_known()
    {
        // Not by the last bit alone, at which a sketch does not look.
        Assert.NotEqual(Visitor.Of("a", anonymous: true) | 1, Visitor.Of("a", anonymous: false) | 1);
        Assert.True(Visitor.IsAnonymous(Visitor.Of("a", anonymous: true)));
        Assert.False(Visitor.IsAnonymous(Visitor.Of("a", anonymous: false)));
        Assert.Equal(Visitor.Of("u", false), Visitor.Of(new TrackedEvent("1", "e", "u", "a", default, default)));
        Assert.Null(Visitor.Of(new TrackedEvent("1", "e", null, null, default, default)));
    }

    [Fact]
    public void Half_an_hour_of_silence_ends_a_session()
    {
        var start = new DateTime(2024, 5, 1, 0, 0, 0, DateTimeKind.Utc);
        Session[] parts = [Session.Of(start.AddMinutes(90)), Session.Of(start), Session.Of(start.AddMinutes(60)), Session.Of(start.AddMinutes(29.99)), Session.Of(start.AddMinutes(59.98))];
        Assert.Equal(
            [new(start, start.AddMinutes(60), 4), new(start.AddMinutes(90), start.AddMinutes(90), 1)],
            Session.Join(parts));
        Assert.Equal(Session.Join(parts), Session.Join(Session.Join(parts[..3]).Concat(parts[3..])));
    }

    [Fact]
    public void What_is_read_from_the_log_by_hand_is_what_the_serializer_reads()
    {
        var time = new DateTimeOffset(2024, 5, 1, 10, 0, 0, 123, TimeSpan.Zero).AddMicroseconds(456);
        var tracked = new EventTrackedEvent(
        [
            new("1 \"é\" \u0001", "näme", "u", null, time, new(Encoding.UTF8.GetBytes("""{"a":[{"b":"}"}],"c":1.50}"""))),
            new("2", "e", null, "a", time.AddSeconds(1), new("{}"u8.ToArray())),
        ]);
        var data = JsonSerializer.SerializeToUtf8Bytes(tracked, AnalyticsJson.Default.EventTrackedEvent);
        Assert.Equal(Texts(JsonSerializer.Deserialize(data, AnalyticsJson.Default.EventTrackedEvent)!.Events), Texts(EventReader.ReadTracked(data)));
        Assert.Throws<JsonException>(() => EventReader.ReadTracked("""{"events":[{"messageId":"1"}]}"""u8.ToArray()));

        static IEnumerable<string> Texts(IReadOnlyList<TrackedEvent> events) => events.Select(e => string.Create(
            CultureInfo.InvariantCulture, $"{e.MessageId}|{e.Event}|{e.UserId}|{e.AnonymousId}|{e.Time:O}|{Encoding.UTF8.GetString(e.Properties.Utf8.Span)}"));
    }
}
