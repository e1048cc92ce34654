using System.Globalization;
using System.Text.Json;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics.Tests;

/// <summary>History that changes afterwards: persons who turn out to be one, and events that are taken out.</summary>
public sealed class HistoryTests : IAsyncLifetime
{
    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await TestHost.StartAsync(
        [
            typeof(TrackEvent).Assembly, typeof(GetRevenueAnalytics).Assembly, typeof(GetUserAnalytics).Assembly, typeof(RollUpEvents).Assembly,
            typeof(IdentifyVisitor).Assembly, typeof(AliasUser).Assembly, typeof(PurgeAnalyticsData).Assembly, typeof(GetPurge).Assembly,
            typeof(UpdateAnalyticsConfig).Assembly,
        ]);
        _client = _host.Client();
    }

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _host.DisposeAsync();
    }

    [Fact]
    public async Task What_a_visitor_did_before_is_the_users_once_he_is_identified()
    {
        await _client.TrackAsync(
            AnalyticsHost.Page("1", null, "2024-05-01T10:00:00Z", "a"), AnalyticsHost.Page("2", null, "2024-05-01T10:20:00Z", "a"),
            AnalyticsHost.Page("3", "u", "2024-05-01T10:40:00Z"), AnalyticsHost.Page("4", "u", "2024-05-03T10:00:00Z"));
        await SettledAsync();
        Assert.Equal("active 1, new 1, anonymous 1, sessions 3", await UsersAsync());
        await IdentifyAsync("a", "u");
        Assert.Equal("active 1, new 1, anonymous 0, sessions 2", await UsersAsync());
        await _client.TrackAsync(AnalyticsHost.Page("5", null, "2024-05-02T10:00:00Z", "a"));
        await SettledAsync();
        Assert.Equal("active 1, new 1, anonymous 0, sessions 3", await UsersAsync());
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from analytics.events where visitor <> analytics.visitor_of('u', false)"));
    }

    [Fact]
    public async Task Aliases_of_aliases_are_one_person_in_whatever_order_they_become_known()
    {
        await _client.TrackAsync(
            AnalyticsHost.Page("1", null, "2024-05-01T10:00:00Z", "a"), AnalyticsHost.Page("2", "b", "2024-05-02T10:00:00Z"),
            AnalyticsHost.Page("3", "c", "2024-05-03T10:00:00Z"), AnalyticsHost.Page("4", "d", "2024-05-04T10:00:00Z"));
        await PostAsync("/alias", """{"previousId":"b","userId":"c"}""");
        await PostAsync("/alias", """{"previousId":"c","userId":"d"}""");
        await IdentifyAsync("a", "b");
        await SettledAsync();
        Assert.Equal("active 1, new 1, anonymous 0, sessions 4", await UsersAsync());
        await PostAsync("/alias", """{"previousId":"d","userId":"b"}""");
        Assert.Equal("identity-taken", await RefusedAsync("/identify", """{"anonymousId":"a","userId":"someone"}"""));
        Assert.Equal("identity-taken", await RefusedAsync("/alias", """{"previousId":"c","userId":"someone"}"""));
        Assert.Equal(3, await _host.Database.ScalarAsync<long>("select count(*) from analytics.identities where same_as = analytics.visitor_of('d', false)"));
    }

    [Fact]
    public async Task Nothing_holds_the_person_after_a_purge()
    {
        var person = "person-" + Guid.NewGuid();
        await _client.TrackAsync(
            AnalyticsHost.Line($"{person}/1", "o1", "p", 2, 10, "2024-05-01T10:00:00Z", person), AnalyticsHost.Page($"{person}/2", null, "2024-05-02T10:00:00Z", person + "-anonymous"),
            AnalyticsHost.Line("3", "o2", "p", 1, 5, "2024-05-01T10:30:00Z", "other"));
        await IdentifyAsync(person + "-anonymous", person);
        Assert.Equal("active 2, new 2, anonymous 0, sessions 3", await UsersAsync());
        var report = await PurgeAsync("userId=" + person);
        Assert.Equal("done|True|2", $"{report.GetProperty("status").GetString()}|{report.GetProperty("ofPerson")}|{report.GetProperty("events")}");
        Assert.Equal("active 1, new 1, anonymous 0, sessions 1", await UsersAsync());
        Assert.Equal("5", (await _client.AskAsync("/analytics/revenue")).GetProperty("totals").GetProperty("gross").GetRawText().TrimEnd('0').TrimEnd('.'));
        foreach (var table in await _host.Database.QueryAsync<string>("select c.oid::regclass::text from pg_class c where relkind in ('r', 'p') and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"))
            Assert.Equal((table, 0L), (table, await _host.Database.ScalarAsync<long>($"select count(*) from {table} as t where convert_from(t::text::bytea, 'UTF8') like '%{person}%'")));
        Assert.Equal(0, await _host.Database.ScalarAsync<long>($"select count(*) from analytics.purges where visitors is not null"));
        // It may be sent again.
        await _client.TrackAsync(AnalyticsHost.Page($"{person}/2", person, "2024-05-02T10:00:00Z"));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Tables_are_as_if_built_from_what_is_left(int seed)
    {
        var random = new Random(seed);
        var start = new DateTime(2024, 2, 20, 0, 0, 0, DateTimeKind.Utc);
        for (var (round, number) = (0, 0); round < 6; round++)
        {
            await _client.TrackAsync(Enumerable.Range(0, 120).Select(_ =>
            {
                var time = start.AddMinutes(random.Next(20 * 24 * 6) * 10).ToString("O", CultureInfo.InvariantCulture);
                var user = random.Next(2) > 0 ? "u" + random.Next(12) : null;
                var anonymous = random.Next(3) > 0 ? "a" + random.Next(12) : null;
                return random.Next(2) > 0
                    ? AnalyticsHost.Page($"{number++}", user, time, anonymous)
                    : AnalyticsHost.Line($"{number++}", "o" + random.Next(60), "p" + random.Next(5), random.Next(-2, 5), random.Next(1, 900) / 100m, time, user, null, random.Next(5) == 0, anonymous: anonymous);
            }));
            foreach (var _ in Enumerable.Range(0, 3))
                await PostAsync("/identify", $$"""{"anonymousId":"a{{random.Next(12)}}","userId":"u{{random.Next(12)}}"}""", null);
            if (random.Next(2) > 0)
                await PostAsync("/alias", $$"""{"previousId":"u{{random.Next(12)}}","userId":"u{{random.Next(12)}}"}""", null);
            if (random.Next(2) > 0)
                await SettledAsync();
            var from = start.AddHours(random.Next(20 * 24)).ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture);
            await PurgeAsync(random.Next(4) switch
            {
                0 => $"userId=u{random.Next(12)}",
                1 => $"anonymousId=a{random.Next(12)}&from={from}",
                2 => $"event=page-view&to={from}",
                _ => $"from={from}&to={start.AddDays(21):yyyy-MM-dd}&userId=u{random.Next(12)}",
            });
        }

        await SettledAsync();
        Assert.Empty(await VerifyAsync(replace: false));
        Assert.Equal(
            await _host.Database.ScalarAsync<long>("select count(*) from analytics.events"),
            await _host.Database.ScalarAsync<long>("select sum(events)::bigint from analytics.event_counts where resolution = 'month'"));
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from platform.parked"));
    }

    [Fact]
    public async Task Estimates_follow_persons_who_turn_out_to_be_one_and_events_that_go()
    {
        // More of either kind than a sketch keeps; of the anonymous ones soon so few that it does.
        const int Anonymous = Sketch.MaxExact + 10;
        var number = 0;
        string Event(int i, string? user, string? anonymous)
        {
            // The users in one hour, the others in two.
            var time = new DateTime(2024, 5, 1, 10, 0, 0, DateTimeKind.Utc).AddSeconds(i % (user is null ? 7000 : 3600)).ToString("O", CultureInfo.InvariantCulture);
            return user is null && i % 4 > 0
                ? AnalyticsHost.Page($"{number++}", user, time, anonymous)
                : AnalyticsHost.Line($"{number++}", $"o{number}", "p", 1, 1, time, user, anonymous: anonymous);
        }

        await _client.TrackAsync(Enumerable.Range(0, Anonymous).Select(i => Event(i, null, $"a{i}")).Concat(Enumerable.Range(0, 40_000 - Anonymous).Select(i => Event(i, $"u{i}", null))));
        await SettledAsync();
        for (var i = 0; i < 20; i++)
        {
            await PostAsync("/identify", $$"""{"anonymousId":"a{{i * 100}}","userId":"u{{i}}"}""");
            await PostAsync("/alias", $$"""{"previousId":"u{{1000 + i}}","userId":"u{{i}}"}""");
        }

        await SettledAsync();
        // Before the purge too, which counts the hours anew.
        Assert.Empty(await VerifyAsync(replace: false));
        await PurgeAsync("userId=u0");
        Assert.Empty(await VerifyAsync(replace: false));
        var exact = await _host.Database.QueryAsync<long>("""
            select unnest(array[count(distinct visitor) filter (where visitor & 1 = 0), count(distinct visitor) filter (where visitor & 1 = 1),
              count(distinct visitor), count(distinct visitor) filter (where name = 'order-line')]) from analytics.events
            """);
        Assert.Equal([40_000 - Anonymous - 21, Anonymous - 20], exact[..2]);
        var users = (await _client.AskAsync("/analytics/users")).GetProperty("totals");
        Assert.Equal(exact[1], users.GetProperty("anonymous").GetInt64());
        Assert.Equal(exact[2], users.GetProperty("newVisitors").GetInt64());
        foreach (var (estimate, of) in new[]
        {
            (users.GetProperty("active"), exact[0]), (users.GetProperty("visitors"), exact[2]),
            ((await _client.AskAsync("/analytics/revenue")).GetProperty("totals").GetProperty("customers"), exact[3]),
        })
            Assert.InRange(estimate.GetInt64(), of * 0.99, of * 1.01);
    }

    [Fact]
    public async Task A_rebuild_finds_events_that_count_for_somebody_else_than_whom_they_name()
    {
        await _client.TrackAsync(
            AnalyticsHost.Page("1", null, "2024-05-01T10:00:00Z", "a"), AnalyticsHost.Page("2", "v", "2024-05-01T10:00:00Z"), AnalyticsHost.Page("3", null, "2024-05-01T10:00:00Z"));
        await IdentifyAsync("a", "u");
        Assert.Empty(await VerifyAsync(replace: false));
        await _host.Database.RunAsync("update analytics.events set visitor = 5 where message_id = '1'");
        Assert.Equal(new RollupDifference("events", 1, 0), (await VerifyAsync(replace: false))[^1]);
        // The rollups have been right all the time.
        Assert.Equal([new("events", 1, 0)], await VerifyAsync(replace: true));
        Assert.Empty(await VerifyAsync(replace: false));
        // Whose history is still to be moved counts for himself until then.
        await _host.Database.RunAsync("insert into analytics.identities (tenant_id, visitor, same_as, moved) values ('acme', analytics.visitor_of('v', false), 7, false)");
        Assert.Empty(await VerifyAsync(replace: false));
    }

    [Fact]
    public async Task A_rebuild_that_only_verifies_waits_for_nobody_and_nobody_for_it()
    {
        await _client.TrackAsync(AnalyticsHost.Page("1", "u", "2024-05-01T10:00:00Z"));
        await SettledAsync();
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "test");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        await work.TransactAsync(
            async () =>
            {
                await RollupTables.LockAsync(work, CancellationToken.None);
                return await VerifyAsync(replace: false);
            },
            CancellationToken.None);
        await using var other = _host.Services.CreateAsyncScope();
        other.ServiceProvider.GetRequiredService<Caller>().Become("acme", "test");
        var differences = await RollupRebuild.RunAsync(
            other.ServiceProvider.GetRequiredService<UnitOfWork>(), replace: false,
            (_, _) =>
            {
                _client.TrackAsync(AnalyticsHost.Page("2", "u", "2024-05-01T12:00:00Z")).GetAwaiter().GetResult();
                SettledAsync().GetAwaiter().GetResult();
            },
            CancellationToken.None);
        // As it was when it began.
        Assert.Empty(differences);
        Assert.Equal(2, await _host.Database.ScalarAsync<long>("select sum(events)::bigint from analytics.event_counts where resolution = 'month'"));
    }

    [Fact]
    public async Task A_rebuild_names_the_event_that_it_cannot_count()
    {
        await _client.TrackAsync(AnalyticsHost.Line("odd-one", "o1", "p", 2, 10, "2024-05-01T10:00:00Z", "u"));
        await SettledAsync();
        await _host.Database.RunAsync("update analytics.events set properties = '{}'");
        Assert.Contains("odd-one", (await Assert.ThrowsAsync<JsonException>(() => VerifyAsync(replace: false))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_rebuild_finds_what_is_wrong_and_mends_it()
    {
        await _client.TrackAsync(AnalyticsHost.Line("1", "o1", "p", 2, 10, "2024-05-01T10:00:00Z", "u"), AnalyticsHost.Page("2", "v", "2023-05-02T10:00:00Z"));
        await SettledAsync();
        await _host.Database.RunAsync("update analytics.event_counts set events = events + 1 where resolution = 'day'; delete from analytics.sessions where start < '2024-01-01'");
        Assert.Equal("event_counts 2 2, sessions 0 1", string.Join(", ", (await VerifyAsync(replace: false)).Select(d => $"{d.Table} {d.Wrong} {d.Missing}")));
        Assert.NotEmpty(await VerifyAsync(replace: true));
        Assert.Empty(await VerifyAsync(replace: false));
    }

    [Fact]
    public async Task What_is_older_than_events_are_kept_is_gone_from_every_answer_and_so_is_its_partition()
    {
        var now = DateTime.UtcNow;
        string At(int days) => now.AddDays(-days).ToString("O", CultureInfo.InvariantCulture);
        await _client.TrackAsync(
            AnalyticsHost.Page("1", "u", At(400)), AnalyticsHost.Page("2", "u", At(31)), AnalyticsHost.Page("3", "u", At(29)), AnalyticsHost.Page("4", "v", At(1)));
        using var other = _host.Client(organisation: "other");
        await other.TrackAsync(AnalyticsHost.Page("1", "u", At(30)));
        await SettledAsync();
        var set = await _client.SendJsonAsync(HttpMethod.Put, "/analytics/config", """{"retentionDays":30}""", ("If-Match", "\"0\""));
        Assert.Equal(200, (int)set.StatusCode);
        await MaintainAsync();
        Assert.Equal("active 2, new 2, anonymous 0, sessions 2", await UsersAsync());
        Assert.Equal(["3", "4"], await _host.Database.QueryAsync<string>("select message_id from analytics.events where tenant_id = 'acme' order by 1"));
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from analytics.events where tenant_id = 'other'"));
        Assert.Equal(0, await _host.Database.ScalarAsync<long>($"select count(*) from pg_class where relname = 'events_{now.AddDays(-400):yyyy_MM}'"));
        Assert.Equal(1, await _host.Database.ScalarAsync<long>($"select count(*) from pg_class where relname = 'events_{now.AddDays(-now.Day + 1).AddMonths(2):yyyy_MM}'"));
        Assert.Empty(await VerifyAsync(replace: false));
        // And back again, though the process has seen that month's partition.
        await _client.TrackAsync(AnalyticsHost.Page("5", "u", At(400)));
    }

    [Fact]
    public async Task What_a_migration_leaves_to_be_rebuilt_is_rebuilt()
    {
        await _client.TrackAsync(AnalyticsHost.Page("1", "u", "2024-05-01T10:00:00Z"));
        await SettledAsync();
        await _host.Database.RunAsync("insert into analytics.rebuilds values ('acme'); truncate analytics.event_counts, analytics.visits, analytics.uniques, analytics.sessions");
        await MaintainAsync();
        Assert.Equal("active 1, new 1, anonymous 0, sessions 1", await UsersAsync());
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from analytics.rebuilds"));
    }

    [Fact]
    public async Task A_purge_that_says_nothing_or_nonsense_is_refused()
    {
        foreach (var (query, field) in new[] { ("", "$"), ("userId=a&anonymousId=b", "anonymousId"), ("from=2024-01-02&to=2024-01-01", "to"), ("userId=%20", "userId"), ("event=%01", "event") })
        {
            var refused = await (await _client.DeleteAsync(new Uri("/analytics/data?" + query, UriKind.Relative))).JsonAsync();
            Assert.Equal(field, refused.GetProperty("errors").EnumerateObject().Single().Name);
        }
    }

    private async Task<IReadOnlyList<RollupDifference>> VerifyAsync(bool replace)
    {
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "test");
        return await RollupRebuild.RunAsync(scope.ServiceProvider.GetRequiredService<UnitOfWork>(), replace, null, CancellationToken.None);
    }

    private async Task MaintainAsync()
    {
        await using var scope = _host.Services.CreateAsyncScope();
        await ActivatorUtilities.CreateInstance<MaintainAnalytics>(scope.ServiceProvider).Run(new(), CancellationToken.None);
    }

    private async Task<JsonElement> PurgeAsync(string query)
    {
        var answer = await _client.DeleteAsync(new Uri("/analytics/data?" + query, UriKind.Relative));
        Assert.Equal(202, (int)answer.StatusCode);
        return await HttpTesting.EventuallyAsync(() => _client.AskAsync(answer.Headers.Location!.ToString()), r => r.GetProperty("status").GetString() == "done");
    }

    private async Task IdentifyAsync(string anonymous, string user)
    {
        await PostAsync("/identify", $$"""{"anonymousId":"{{anonymous}}","userId":"{{user}}"}""");
        await SettledAsync();
    }

    private async Task PostAsync(string path, string json, int? expected = 200)
    {
        var answer = await _client.SendJsonAsync(HttpMethod.Post, path, json);
        if (expected is not null)
            Assert.Equal(expected, (int)answer.StatusCode);
    }

    private async Task<string> RefusedAsync(string path, string json) =>
        (await (await _client.SendJsonAsync(HttpMethod.Post, path, json)).JsonAsync()).GetProperty("type").GetString()!.Split(':')[^1];

    /// <summary>Waits until every group has read all there is.</summary>
    private Task<bool> SettledAsync() => HttpTesting.EventuallyAsync(
        () => _host.Database.ScalarAsync<bool>("""
            select not exists (select from platform.events where position is null)
              and not exists (select from analytics.pending_batches)
              and (select coalesce(max(position), 0) from platform.events where topic = 'agency.analytics')
                <= coalesce((select position from embedded.consumer_offsets where group_name = 'RollUpEvents'), 0)
            """),
        done => done);

    private async Task<string> UsersAsync()
    {
        var totals = (await _client.AskAsync("/analytics/users")).GetProperty("totals");
        return string.Join(", ", new[] { "active", "new", "anonymous", "sessions" }.Select(f => $"{f} {totals.GetProperty(f)}"));
    }
}
