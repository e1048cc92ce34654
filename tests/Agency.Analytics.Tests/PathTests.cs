using System.Text.Json;
using System.Text.Json.Nodes;
using Agency.Testing;
using Npgsql;

namespace Agency.Analytics.Tests;

public sealed class PathTests : IAsyncLifetime
{
    private static readonly DateTime Start = new(2011, 3, 7, 0, 0, 0, DateTimeKind.Utc);

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
    public async Task Half_an_hour_of_silence_ends_a_path()
    {
        await _host.Database.AddRawAsync(
        [
            At("u", 0, "a"), At("u", 29.99, "b"), At("u", 59.99, "c"), At("v", 0, "a"), At("v", 1, "b"), At("v", 2, "a"), At("v", 3, "c"), new("a", Start), new("a", Start, "w", Organisation: "beta"),
        ]);
        var answer = await _client.AskAsync("/analytics/paths?event=a");
        Assert.Equal((2, 2), (answer.GetProperty("sessions").GetInt64(), answer.GetProperty("visitors").GetInt64()));
        Assert.Equal(["b 2 2 1", "b>a 1 1 0", "b>a>c 1 1 1"], Lines(answer));
        Assert.Equal(["a 1 1 0", "a>b 1 1 0", "a>b>a 1 1 1"], Lines(await _client.AskAsync("/analytics/paths?event=c&direction=previous")));
        // As deep as is asked for: more comes after it, so that nothing ends there.
        Assert.Equal(["b 2 2 1"], Lines(await _client.AskAsync("/analytics/paths?event=a&depth=1")));
    }

    [Fact]
    public async Task Paths_are_of_pages_when_that_is_asked_for()
    {
        await _host.Database.AddRawAsync(
        [
            At("u", 0, "page", "/"), At("u", 1, "page", "/pricing"), At("u", 2, "click", "/pricing"), At("u", 3, "page"), At("u", 4, "page", "/docs"), At("u", 5, "page", "/pricing"),
            At("v", 0, "page", "/pricing"), At("v", 1, "click", "/docs"),
        ]);
        const string Pricing = "/analytics/paths?event=page&property=$path&filter=$path%20%3D%20%27/pricing%27";
        Assert.Equal(["/docs 1 1 0", "/docs>/pricing 1 1 1"], Lines(await _client.AskAsync(Pricing)));
        Assert.Equal(2, (await _client.AskAsync(Pricing)).GetProperty("sessions").GetInt64());
        Assert.Equal(["/docs 1 1 0", "/docs>/pricing 1 1 0", "/docs>/pricing>/ 1 1 1"], Lines(await _client.AskAsync(Pricing + "&direction=previous")));
    }

    [Fact]
    public async Task They_are_split_by_a_property_of_their_beginning_and_counted_by_its_time()
    {
        var random = new Random(9);
        await _host.Database.AddRawAsync([.. Enumerable.Range(0, 60).SelectMany(visitor =>
        {
            var time = random.NextDouble() * 60 * 24 * 5;
            return Enumerable.Range(0, random.Next(30)).Select(_ => At($"v{visitor}", time += Step(random), "abc"[random.Next(3)].ToString(), random.Next(3) switch { 0 => null, 1 => "x", _ => "y" }, "p"));
        })]);
        foreach (var direction in new[] { "next", "previous" })
        {
            var answer = await _client.AskAsync($"/analytics/paths?event=a&breakdown=p&interval=day&limit=2&depth=2&direction={direction}");
            Assert.Equal(Lines(await _client.AskAsync($"/analytics/paths?event=a&limit=2&depth=2&direction={direction}")), Lines(answer));
            var order = direction == "next" ? "at, id" : "at desc, id desc";
            var begun = $"""
                select distinct on (visitor, n) visitor, n, at, p from (
                  select *, count(*) filter (where is_new) over (partition by visitor order by at) as n from (
                    select visitor, name, occurred_at as at, message_id collate "C" as id, properties ->> 'p' as p,
                      occurred_at - lag(occurred_at) over (partition by visitor order by occurred_at) >= interval '30 minutes' as is_new
                    from analytics.events) as marked) as numbered
                where name = 'a' order by visitor, n, {order}
                """;
            Assert.Equal(
                await _host.Database.QueryAsync<string>($"select concat_ws('|', to_char(at at time zone 'UTC', 'YYYY-MM-DD'), count(*), count(distinct visitor)) from ({begun}) as b group by to_char(at at time zone 'UTC', 'YYYY-MM-DD') order by 1"),
                answer.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("sessions").GetInt64() > 0)
                    .Select(p => $"{p.GetProperty("start").GetString()![..10]}|{p.GetProperty("sessions")}|{p.GetProperty("visitors")}"));
            Assert.Equal(
                await _host.Database.QueryAsync<string>($"select concat_ws('|', coalesce(p, '(none)'), count(*), count(distinct visitor)) from ({begun}) as b group by p order by count(*) desc, p collate \"C\" limit 2"),
                answer.GetProperty("breakdown").EnumerateArray().Select(b => $"{b.GetProperty("value").GetString() ?? "(none)"}|{b.GetProperty("sessions")}|{b.GetProperty("visitors")}"));
        }

        // Where the first such event of every session has the value, its paths are those of the filter.
        await _host.Database.RunAsync("delete from analytics.events where name = 'a' and properties ->> 'p' is distinct from 'x'");
        var whole = await _client.AskAsync("/analytics/paths?event=a&breakdown=p");
        Assert.Equal(Lines(whole), Lines(whole.GetProperty("breakdown").EnumerateArray().Single()));
    }

    [Theory]
    [InlineData("event=a", 3, 10)]
    [InlineData("event=a&direction=previous&depth=4&limit=100", 4, 100)]
    [InlineData("event=b&depth=5&limit=3", 5, 3)]
    [InlineData("event=c&property=p&depth=2&limit=4", 2, 4)]
    [InlineData("event=c&property=p&depth=5&limit=50&filter=p%20%3D%20%27x%27&direction=previous", 5, 50)]
    [InlineData("event=c&filter=p%20%3D%20%27x%27&from=2011-03-07T05:00:00Z&to=2011-03-08T03:00:00Z", 3, 10)]
    public async Task Paths_equal_those_walked_one_by_one(string query, int depth, int limit)
    {
        var random = new Random(depth + limit);
        string[] names = ["a", "b", "b", "c", "c", "d"];
        await _host.Database.AddRawAsync([.. Enumerable.Range(0, 40).SelectMany(visitor =>
        {
            var time = random.NextDouble() * 600;
            return Enumerable.Range(0, random.Next(60)).Select(_ => At($"v{visitor}", time += Step(random), names[random.Next(names.Length)], random.Next(4) switch { 0 => null, 1 => "x", 2 => "y", _ => "z" }, "p"));
        })]);
        var asked = query.Split('&').Select(p => p.Split('=')).ToDictionary(p => p[0], p => Uri.UnescapeDataString(p[1]));
        var answer = await _client.AskAsync("/analytics/paths?" + query);
        var walks = await WalkAsync(asked, answer.GetProperty("from").GetDateTime(), answer.GetProperty("to").GetDateTime());
        Assert.True(walks.Count > 20);
        Assert.Equal(walks.Count, answer.GetProperty("sessions").GetInt64());
        Assert.Equal(walks.Select(w => w.Visitor).Distinct().Count(), answer.GetProperty("visitors").GetInt64());
        var expected = new List<string>();
        List<string[]> kept = [[]];
        for (var length = 1; length <= depth; length++)
        {
            kept = [.. walks.Where(w => w.Steps.Length >= length && kept.Any(k => k.SequenceEqual(w.Steps.Take(length - 1))))
                .GroupBy(w => string.Join('>', w.Steps[..length]))
                .OrderByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal).Take(limit)
                .Select(g =>
                {
                    expected.Add($"{g.Key} {g.Count()} {g.Select(w => w.Visitor).Distinct().Count()} {g.Count(w => w.Steps.Length == length)}");
                    return g.Key.Split('>');
                })];
        }

        Assert.Equal(expected, Lines(answer));
    }

    [Theory]
    [InlineData("a'b")]
    [InlineData("\"; drop table x; --")]
    [InlineData("{0}$1:x%s")]
    [InlineData("\U0001F600")]
    [InlineData("@user")]
    public async Task A_step_may_be_called_by_any_property(string property)
    {
        await _host.Database.AddRawAsync([At("u", 0, "a"), At("u", 1, "a", "x", property)]);
        var lines = Lines(await _client.AskAsync($"/analytics/paths?event=a&property={Uri.EscapeDataString(property)}"));
        Assert.Equal([property == "@user" ? "u 1 1 1" : "x 1 1 1"], lines);
        await _client.AskAsync("/analytics/paths?event=a&property=@nothing", 400);
        await _client.AskAsync("/analytics/paths?property=x", 400);
    }

    private static double Step(Random random) => random.Next(6) switch { 0 => 30, 1 => 29.9999, 2 => 0, 3 => 31, _ => random.NextDouble() * 10 };

    /// <summary>The steps of every session that has the event, all of them, away from it.</summary>
    private async Task<List<(long Visitor, string[] Steps)>> WalkAsync(Dictionary<string, string> asked, DateTime from, DateTime to)
    {
        var events = new List<(long Visitor, DateTime Time, string Id, string Name, string? P)>();
        await using var source = NpgsqlDataSource.Create(_host.Database.Settings.Admin);
        await using var command = source.CreateCommand("select visitor, occurred_at, message_id, name, properties->>'p' from analytics.events");
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
            events.Add((reader.GetInt64(0), reader.GetDateTime(1), reader.GetString(2), reader.GetString(3), reader.IsDBNull(4) ? null : reader.GetString(4)));
        var walks = new List<(long, string[])>();
        foreach (var visitor in events.Where(e => e.Time >= from && e.Time < to).GroupBy(e => e.Visitor))
        {
            var sessions = new List<List<(string Name, string? P)>>();
            DateTime? before = null;
            foreach (var e in visitor.OrderBy(e => e.Time).ThenBy(e => e.Id, StringComparer.Ordinal))
            {
                if (before is null || e.Time - before >= TimeSpan.FromMinutes(30))
                    sessions.Add([]);
                sessions[^1].Add((e.Name, e.P));
                before = e.Time;
            }

            foreach (var session in sessions)
            {
                if (asked.GetValueOrDefault("direction") == "previous")
                    session.Reverse();
                var at = session.FindIndex(e => e.Name == asked["event"] && (!asked.ContainsKey("filter") || e.P == "x"));
                if (at >= 0)
                    walks.Add((visitor.Key, [.. session.Skip(at + 1).Where(e => !asked.ContainsKey("property") || (e.Name == asked["event"] && e.P is not null))
                        .Select(e => asked.ContainsKey("property") ? e.P! : e.Name)]));
            }
        }

        return walks;
    }

    private static RawEvent At(string user, double minutes, string name, string? path = null, string property = "$path") => new(
        name, Start.AddMicroseconds(Math.Round(minutes * 60_000_000)), user, Properties: path is null ? null : new JsonObject { [property] = path });

    private static IEnumerable<string> Lines(JsonElement answer) => answer.GetProperty("paths").EnumerateArray().Select(p =>
        $"{string.Join('>', p.GetProperty("steps").EnumerateArray().Select(s => s.GetString()))} {p.GetProperty("sessions")} {p.GetProperty("visitors")} {p.GetProperty("ended")}");
}
