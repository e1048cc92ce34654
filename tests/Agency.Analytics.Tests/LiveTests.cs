using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Npgsql;

namespace Agency.Analytics.Tests;

public sealed class LiveTests : IAsyncLifetime
{
    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await TestHost.StartAsync(
        [typeof(GetLiveAnalytics).Assembly],
        configure: builder => builder.Services.Replace(ServiceDescriptor.Singleton(new BroadcastOptions(MaxListeners: 4, MaxOfOrganisation: 3, MaxQuestions: 2))));

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task What_happens_is_told_as_it_happens()
    {
        using var client = _host.Client();
        await using var stream = await Listening.ToAsync(client, "/analytics/live?seconds=60");
        Assert.Equal("0 0 0  ", Line(await stream.NextAsync()));
        await _host.Database.AddRawAsync(
        [
            Ago(10, "page", "a", "/x"), Ago(20, "page", "a", "/y"), Ago(30, "page", "b", "/x"), Ago(90, "order", "b"), Ago(240, "order", "c"), Ago(310, "order", "d"),
            Ago(5, "page", null, "/z"), Ago(-60, "page", "later", "/x"), Ago(15, "page", "a", "/x", "beta"),
        ]);
        var now = await stream.UntilAsync(e => e.GetProperty("lastFiveMinutes").GetInt64() > 0);
        Assert.Equal("3 4 6 page=2/4 order=2/2 /x=2/2 /y=1/1 /z=0/1", Line(now));
        await _host.Database.AddRawAsync([Ago(1, "sign-up", "e")]);
        Assert.Equal(4, (await stream.UntilAsync(e => e.GetProperty("lastFiveMinutes").GetInt64() == 7)).GetProperty("visitors").GetInt64());
    }

    [Fact]
    public async Task It_equals_the_raw_events_at_that_time()
    {
        var random = new Random(3);
        var now = DateTime.UtcNow;
        await _host.Database.AddRawAsync([.. Enumerable.Range(0, 2000).Select(_ => new RawEvent(
            $"name{random.Next(14)}", now.AddSeconds(60 - random.Next(700)), random.Next(5) == 0 ? null : $"u{random.Next(300)}",
            Properties: random.Next(3) == 0 ? null : new JsonObject { ["$path"] = $"/{random.Next(20)}" }))]);
        using var client = _host.Client();
        await using var stream = await Listening.ToAsync(client, "/analytics/live");
        var told = await stream.NextAsync();
        var at = told.GetProperty("at").GetDateTime();
        var events = new List<(string Name, long? Visitor, DateTime Time, string? Path)>();
        await using var source = NpgsqlDataSource.Create(_host.Database.Settings.Admin);
        await using var command = source.CreateCommand("select name, visitor, occurred_at, properties->>'$path' from analytics.events");
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
            events.Add((reader.GetString(0), reader.IsDBNull(1) ? null : reader.GetInt64(1), reader.GetDateTime(2), reader.IsDBNull(3) ? null : reader.GetString(3)));
        var recent = events.Where(e => e.Time > at.AddMinutes(-5) && e.Time <= at).ToList();
        Assert.Equal(
            $"{Visitors(recent)} {recent.Count(e => e.Time > at.AddMinutes(-1))} {recent.Count} {Top(recent.Select(e => (e.Name, e.Visitor)))} {Top(recent.Where(e => e.Path is not null).Select(e => (e.Path!, e.Visitor)))}",
            Line(told));

        static int Visitors(IEnumerable<(string, long? Visitor, DateTime, string?)> of) => of.Select(e => e.Visitor).Where(v => v is not null).Distinct().Count();

        static string Top(IEnumerable<(string Name, long? Visitor)> of) => string.Join(' ', of.GroupBy(e => e.Name)
            .Select(g => (g.Key, Visitors: g.Select(e => e.Visitor).Where(v => v is not null).Distinct().Count(), Events: g.Count()))
            .OrderByDescending(g => g.Visitors).ThenByDescending(g => g.Events).ThenBy(g => g.Key, StringComparer.Ordinal).Take(10).Select(g => $"{g.Key}={g.Visitors}/{g.Events}"));
    }

    [Fact]
    public async Task It_is_of_the_events_that_fit_and_split_by_a_property()
    {
        await _host.Database.AddRawAsync([Ago(5, "page", "a", "/x"), Ago(6, "page", "b", "/x"), Ago(7, "page", "b", "/y"), Ago(8, "order", "c"), Ago(9, "order", "a", "/x")]);
        using var client = _host.Client();
        // Two questions at a time, each with its own answer.
        await using var one = await Listening.ToAsync(client, "/analytics/live?breakdown=$path&filter=" + Uri.EscapeDataString("@event = 'page'"));
        await using var two = await Listening.ToAsync(client, "/analytics/live?breakdown=@event");
        Assert.Equal("/x=2/2 /y=1/1", Counts((await one.NextAsync()).GetProperty("breakdown")));
        Assert.Equal("page=2/3 order=2/2", Counts((await two.NextAsync()).GetProperty("breakdown")));
    }

    [Fact]
    public async Task Of_too_many_events_the_latest_are_looked_at()
    {
        var now = DateTime.UtcNow;
        await _host.Database.AddRawAsync([.. Enumerable.Range(0, 100).Select(n => new RawEvent("a", now.AddSeconds(-1 - (n * 2.5)), $"u{n}"))]);
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        foreach (var (most, seconds, visitors) in new[] { (100, 300, 100), (99, 240, 96), (24, 60, 24), (23, 30, 12), (1, 3, 1), (0, 1, 0) })
        {
            var live = await Live.ReadAsync(work, now, new(null, null), CancellationToken.None, most);
            Assert.Equal((seconds, visitors, seconds < 300), ((int)(live.At - live.Since).TotalSeconds, (int)live.Visitors, live.IsCapped));
            Assert.Equal((seconds >= 60, seconds >= 300), (live.LastMinute is not null, live.LastFiveMinutes is not null));
        }
    }

    [Fact]
    public async Task All_listeners_of_an_organisation_share_one_computation_which_ends_with_the_last()
    {
        using var client = _host.Client();
        await using (var one = await Listening.ToAsync(client, "/analytics/live"))
        await using (var two = await Listening.ToAsync(client, "/analytics/live"))
        {
            var seen = new HashSet<DateTime>();
            for (var i = 0; i < 3; i++)
            {
                // Either may miss some.
                var at = (await two.NextAsync()).GetProperty("at").GetDateTime();
                while (seen.Count == 0 || seen.Max() < at)
                    seen.Add((await one.NextAsync()).GetProperty("at").GetDateTime());
                Assert.Contains(at, seen);
            }
        }

        // What is under way ends, and then nothing asks any more.
        await HttpTesting.EventuallyAsync(
            async () =>
            {
                var before = await QueriesAsync();
                await Task.Delay(2500);
                return await QueriesAsync() - before;
            },
            more => more == 0);

        Task<long> QueriesAsync() => _host.Database.ScalarAsync<long>("select coalesce(sum(idx_scan + seq_scan), 0)::bigint from pg_stat_user_tables where relname = 'event_counts'");
    }

    [Fact]
    public async Task No_connection_is_held_between_two_events()
    {
        using var client = _host.Client();
        await using var stream = await Listening.ToAsync(client, "/analytics/live");
        await stream.NextAsync();
        // Of others in this process too, so not at every moment.
        Assert.Equal(0, await HttpTesting.EventuallyAsync(
            () => _host.Database.ScalarAsync<long>("select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'"),
            busy => busy == 0));
        await stream.NextAsync();
    }

    [Fact]
    public async Task There_is_a_bound_on_listeners_and_who_leaves_makes_room()
    {
        using var client = _host.Client();
        using var other = _host.Client(organisation: "beta");
        using var third = _host.Client(organisation: "gamma");
        // Who asks for the headers alone does not listen.
        for (var n = 0; n < 4; n++)
        {
            using var head = await client.SendAsync(new(HttpMethod.Head, "/analytics/live"));
            Assert.Equal((HttpStatusCode.OK, "text/event-stream", ""), (head.StatusCode, head.Content.Headers.ContentType?.MediaType, await head.Content.ReadAsStringAsync()));
        }

        var one = await Listening.ToAsync(client, "/analytics/live");
        await using var two = await Listening.ToAsync(client, "/analytics/live");
        await using var asking = await Listening.ToAsync(client, "/analytics/live?breakdown=$path");
        Assert.Equal((429, true), await RefusedAsync(client));
        await using var three = await Listening.ToAsync(other, "/analytics/live");
        Assert.Equal((503, true), await RefusedAsync(third));
        await one.DisposeAsync();
        Assert.Equal(200, await HttpTesting.EventuallyAsync(async () => (await RefusedAsync(third, 1)).Status, status => status == 200));
        Assert.Equal("0 0 0  ", Line(await two.NextAsync()));

    }

    [Fact]
    public async Task There_is_a_bound_on_different_questions_as_each_is_computed_on_its_own()
    {
        using var client = _host.Client();
        await using var one = await Listening.ToAsync(client, "/analytics/live?breakdown=$path");
        await using var two = await Listening.ToAsync(client, "/analytics/live?breakdown=@event");
        Assert.Equal((429, true), await RefusedAsync(client));
        await using var three = await Listening.ToAsync(client, "/analytics/live?breakdown=$path");
    }

    private static async Task<(int Status, bool TellsWhen)> RefusedAsync(HttpClient client, int seconds = 60)
    {
        using var answer = await client.GetAsync(new Uri($"/analytics/live?seconds={seconds}", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);
        return ((int)answer.StatusCode, answer.Headers.RetryAfter is not null);
    }

    [Fact]
    public async Task A_stream_ends_when_its_time_is_over_or_the_host_stops()
    {
        using var client = _host.Client();
        await using (var stream = await Listening.ToAsync(client, "/analytics/live?seconds=2"))
        {
            var told = 0;
            while (await stream.TryNextAsync() is not null)
                told++;
            Assert.InRange(told, 1, 20);
        }

        var second = await TestHost.StartAsync([typeof(GetLiveAnalytics).Assembly], _host.Database);
        using var patient = second.Client();
        await using var cut = await Listening.ToAsync(patient, "/analytics/live?seconds=600");
        await cut.NextAsync();
        // Long before the stream's own end.
        await second.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromMinutes(1));
        while (await cut.TryNextAsync().WaitAsync(TimeSpan.FromMinutes(1)) is not null)
        {
        }
    }

    [Theory]
    [InlineData("seconds=0")]
    [InlineData("seconds=3601")]
    [InlineData("seconds=x")]
    [InlineData("second=1")]
    public async Task A_wrong_question_is_a_problem_and_no_stream(string query)
    {
        using var client = _host.Client();
        await client.AskAsync("/analytics/live?" + query, 400);
    }

    private static RawEvent Ago(double seconds, string name, string? user, string? path = null, string organisation = "acme") => new(
        name, DateTime.UtcNow.AddSeconds(-seconds), user, Properties: path is null ? null : new JsonObject { ["$path"] = path }, Organisation: organisation);

    private static string Line(JsonElement live) =>
        $"{live.GetProperty("visitors")} {live.GetProperty("lastMinute")} {live.GetProperty("lastFiveMinutes")} {Counts(live.GetProperty("events"))} {Counts(live.GetProperty("pages"))}";

    private static string Counts(JsonElement of) =>
        string.Join(' ', of.EnumerateArray().Select(c => $"{c.GetProperty("name")}={c.GetProperty("visitors")}/{c.GetProperty("events")}"));

    /// <summary>Reads server-sent events.</summary>
    private sealed class Listening(HttpResponseMessage answer, StreamReader reader) : IAsyncDisposable
    {
        public static async Task<Listening> ToAsync(HttpClient client, string path)
        {
            var answer = await client.GetAsync(new Uri(path, UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);
            Assert.Equal((HttpStatusCode.OK, "text/event-stream", "no-store"), (answer.StatusCode, answer.Content.Headers.ContentType!.MediaType, answer.Headers.CacheControl!.ToString()));
            return new(answer, new(await answer.Content.ReadAsStreamAsync()));
        }

        public async Task<JsonElement> NextAsync() => await TryNextAsync() ?? throw new EndOfStreamException();

        public async Task<JsonElement> UntilAsync(Func<JsonElement, bool> holds)
        {
            while (true)
                if (await NextAsync() is var e && holds(e))
                    return e;
        }

        /// <returns>Null at the end.</returns>
        public async Task<JsonElement?> TryNextAsync()
        {
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            JsonElement? data = null;
            while (await reader.ReadLineAsync(patience.Token) is { } line)
                if (line.StartsWith("data: ", StringComparison.Ordinal))
                    data = JsonDocument.Parse(line[6..]).RootElement;
                else if (line.Length == 0 && data is not null)
                    return data;
                else
                    Assert.True(line.Length == 0 || line is "event: live" or "retry: 1000" || line[0] == ':', line);
            return null;
        }

        public ValueTask DisposeAsync()
        {
            reader.Dispose();
            answer.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
