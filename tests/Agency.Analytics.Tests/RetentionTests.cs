using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Agency.Testing;
using Npgsql;

namespace Agency.Analytics.Tests;

public sealed class RetentionTests : IAsyncLifetime
{
    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await AnalyticsHost.StartAsync(consuming: false);
        _client = _host.Client();
    }

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _host.DisposeAsync();
    }

    [Fact]
    public async Task Who_comes_back_is_counted_in_the_period_in_which_he_does()
    {
        // Two begin on the first day: a comes back the same day and on the third, b never. c begins on the second and comes back on the third.
        await _host.Database.AddRawAsync(
        [
            At("a", "03-07T10:00"), At("a", "03-07T10:01"), At("b", "03-07T23:59"), At("c", "03-08T00:00"), At("a", "03-09T09:00"), At("c", "03-09T08:00"), At("a", "03-09T12:00"),
            new("page-view", Time("03-07T00:00"), Organisation: "beta", User: "z"), new("page-view", Time("03-08T00:00")),
        ]);
        var answer = await _client.AskAsync("/analytics/retention?interval=day&periods=3&from=2011-03-07&to=2011-03-10");
        Assert.Equal(
            ["2011-03-07 2: 1 0 1 | 0.5 0 0.5", "2011-03-08 1: 0 1 - | 0 1 -", "2011-03-09 0: 0 - - | - - -"],
            answer.GetProperty("cohorts").EnumerateArray().Select(c => $"{c.GetProperty("start").GetString()![..10]} {Line(c)}"));
        // The rate of period 1 is of the three who began on the first two days; nobody else has it behind him.
        Assert.Equal("3: 1 1 1 | 0.3333 0.3333 0.5", Line(answer.GetProperty("totals")));
    }

    [Fact]
    public async Task What_has_not_ended_is_not_known()
    {
        await _host.Database.AddRawAsync([At("a", "03-07T10:00"), At("a", "03-08T22:30")]);
        // The data end on the second day at 23:00, so that day is not over.
        var open = await _client.AskAsync("/analytics/retention?interval=day&periods=2");
        Assert.Equal(["1: 0 -", "0: - -"], open.GetProperty("cohorts").EnumerateArray().Select(c => Line(c).Split(" |")[0]));
        // And whatever is asked for, the future is not.
        var now = DateTime.UtcNow;
        await _host.Database.AddRawAsync([new("page-view", now, "b")]);
        var day = now.Date;
        var ahead = await _client.AskAsync($"/analytics/retention?interval=day&periods=2&from={day:yyyy-MM-dd}&to={day.AddDays(2):yyyy-MM-dd}");
        Assert.Contains("1: - -", ahead.GetProperty("cohorts").EnumerateArray().Select(c => Line(c).Split(" |")[0]));
    }

    [Fact]
    public async Task Nothing_is_answered_with_no_cohorts()
    {
        var answer = await _client.AskAsync("/analytics/retention?breakdown=plan");
        Assert.Equal((0, 0), (answer.GetProperty("cohorts").GetArrayLength(), answer.GetProperty("breakdown").GetArrayLength()));
        await _client.AskAsync("/analytics/retention?interval=day&periods=60&from=1990-01-01&to=2020-01-01", 400);
        await _client.AskAsync("/analytics/retention?filter=plan+%3D", 400);
    }

    [Theory]
    [InlineData("interval=day&periods=5", "day", 5)]
    [InlineData("interval=week&periods=8&from=2011-01-05T07:00:00Z&to=2011-03-16T13:00:00Z", "week", 8)]
    [InlineData("interval=week&periods=8&from=2011-01-05T07:00:00Z&to=2011-03-16T13:00:00Z&cohort=first-in-range", "week", 8)]
    [InlineData("interval=week&periods=5&from=2011-02-02&event=order&cohort=first-ever", "week", 5)]
    [InlineData("interval=day&periods=5&from=2011-02-02&filter=plan%20%3D%20%27b%27&cohort=first-in-range", "day", 5)]
    [InlineData("interval=month&periods=3&event=order", "month", 3)]
    [InlineData("interval=week&periods=4&event=page&returnEvent=order&to=2011-04-04", "week", 4)]
    [InlineData("interval=day&periods=20&returnEvent=order&filter=plan%20%3D%20%27b%27&from=2011-02-01", "day", 20)]
    [InlineData("interval=week&periods=6&breakdown=plan&limit=2&event=page", "week", 6)]
    public async Task Retention_equals_the_raw_events(string query, string interval, int periods)
    {
        await _host.Database.AddRawAsync(RandomEvents(seed: 11, count: 3000));
        var answer = await _client.AskAsync("/analytics/retention?" + query);
        var asked = query.Split('&').Select(p => p.Split('=')).ToDictionary(p => p[0], p => Uri.UnescapeDataString(p[1]));
        var (from, to) = (answer.GetProperty("from").GetDateTime(), answer.GetProperty("to").GetDateTime());
        var cohorts = answer.GetProperty("cohorts").EnumerateArray().ToList();
        Assert.NotEmpty(cohorts);
        Assert.True(cohorts.Sum(c => c.GetProperty("visitors").GetInt64()) > 20);
        var isEver = asked.GetValueOrDefault("cohort") != "first-in-range";
        var events = await EventsAsync(to);
        foreach (var cohort in cohorts)
        {
            var start = cohort.GetProperty("start").GetDateTime();
            Assert.Equal(Count(start, null, null), cohort.GetProperty("visitors").GetInt64());
            for (var n = 0; n < periods; n++)
                Assert.Equal(Count(start, n, null), Known(cohort, n));
        }

        if (!asked.ContainsKey("breakdown"))
            return;
        var shares = answer.GetProperty("breakdown").EnumerateArray().ToList();
        Assert.Equal(2, shares.Count);
        Assert.Contains(shares, s => s.GetProperty("value").ValueKind == JsonValueKind.Null);
        foreach (var share in shares)
            for (var n = 0; n < periods; n++)
                Assert.Equal(
                    cohorts.Select(c => Count(c.GetProperty("start").GetDateTime(), n, share.GetProperty("value").GetString() ?? "none")).Aggregate((a, b) => a is null ? b : a + (b ?? 0)),
                    Known(share, n));

        static long? Known(JsonElement of, int n) => of.GetProperty("returned")[n] is { ValueKind: JsonValueKind.Number } known ? known.GetInt64() : null;

        // Visitor by visitor; all of those of a cohort, or those who came back.
        long? Count(DateTime start, int? period, string? plan)
        {
            var (low, high) = period is { } n ? (Plus(start, n), Plus(start, n + 1)) : (from, to);
            if (period is not null && high > to)
                return null;
            return events.Count(visitor =>
                visitor.Find(e => (isEver || e.Time >= from) && (!asked.TryGetValue("event", out var name) || e.Name == name) && (!asked.ContainsKey("filter") || e.Plan == "b")) is { } first
                && first.Time >= from && first.Time >= start && first.Time < Plus(start, 1) && (plan is null || plan == (first.Plan ?? "none"))
                && (period is null || visitor.Exists(e =>
                    e.Time > first.Time && e.Time >= low && e.Time < high && (!asked.TryGetValue("returnEvent", out var name) || e.Name == name))));
        }

        DateTime Plus(DateTime start, int n) => interval switch { "day" => start.AddDays(n), "week" => start.AddDays(7 * n), _ => start.AddMonths(n) };
    }

    private sealed record Seen(string Name, DateTime Time, string? Plan);

    /// <summary>What each visitor of the organisation did, in order.</summary>
    private async Task<List<List<Seen>>> EventsAsync(DateTime to)
    {
        var events = new Dictionary<string, List<Seen>>();
        await using var source = NpgsqlDataSource.Create(_host.Database.Settings.Admin);
        await using var command = source.CreateCommand("""
            select coalesce('u' || user_id, 'a' || anonymous_id), name, occurred_at, properties->>'plan'
            from analytics.events where tenant_id = 'acme' order by occurred_at, message_id collate "C"
            """);
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
        {
            if (reader.IsDBNull(0) || reader.GetDateTime(2) >= to)
                continue;
            if (!events.TryGetValue(reader.GetString(0), out var list))
                events[reader.GetString(0)] = list = [];
            list.Add(new(reader.GetString(1), reader.GetDateTime(2), reader.IsDBNull(3) ? null : reader.GetString(3)));
        }

        return [.. events.Values];
    }

    internal static List<RawEvent> RandomEvents(int seed, int count)
    {
        var random = new Random(seed);
        string[] names = ["page", "page", "page", "order", "sign-up"];
        return [.. Enumerable.Range(0, count).Select(_ =>
        {
            var visitor = random.Next(120);
            // Later visitors begin later.
            var time = new DateTime(2011, 1, 1, 0, 0, 0, DateTimeKind.Utc).AddDays(visitor / 2.0).AddMinutes(random.Next(60 * 24 * 45));
            return new RawEvent(
                names[random.Next(names.Length)], time, visitor % 3 == 0 ? null : $"u{visitor}", visitor % 3 == 1 ? null : $"a{visitor}",
                random.Next(3) is var plan and > 0 ? new JsonObject { ["plan"] = plan == 1 ? "a" : "b" } : null, random.Next(10) == 0 ? "beta" : "acme");
        })];
    }

    private static RawEvent At(string user, string time) => new("page-view", Time(time), user);

    private static DateTime Time(string text) => DateTime.Parse($"2011-{text}:00Z", CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal);

    private static string Line(JsonElement of) =>
        $"{of.GetProperty("visitors")}: {Numbers(of.GetProperty("returned"))} | {Numbers(of.GetProperty("rates"))}";

    private static string Numbers(JsonElement array) => string.Join(' ', array.EnumerateArray().Select(n => n.ValueKind == JsonValueKind.Null ? "-" : n.GetRawText()));
}
