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
            typeof(UpdateAnalyticsConfig).Assembly, typeof(PlatformFunctions.QueueWebhookDeliveries).Assembly,
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

    [Theory]
    [InlineData("userId=ada-user")]
    [InlineData("userId=ada-former")]
    [InlineData("anonymousId=ada-device")]
    public async Task Nothing_holds_the_person_after_a_purge(string person)
    {
        await _host.Database.RunAsync("""
            insert into platform.webhooks (tenant_id, id, url, event_types, secret, enabled) values ('acme', gen_random_uuid(), 'https://hooks.example', '{agency.analytics.*}', 's', true)
            """);
        await ConfigureAsync("""{"trackingPlan":{"events":[{"name":"page-view","properties":[{"name":"title","type":"string","required":true}]}]}}""", 0);
        string[] tracked =
        [
            AnalyticsHost.Line("ada-1", "o1", "p", 2, 10, "2024-05-01T10:00:00Z", "ada-user", anonymous: "ada-device"), AnalyticsHost.Page("ada-2", null, "2024-05-02T10:00:00Z", "ada-device"),
            AnalyticsHost.Page("ada-3", "ada-former", "2024-05-03T10:00:00Z"), AnalyticsHost.Line("4", "o2", "p", 1, 5, "2024-05-01T10:30:00Z", "other", anonymous: "ada-device"),
            AnalyticsHost.Page("5", "other", "2024-05-01T10:31:00Z", "other-device"),
        ];
        Assert.Equal(200, await KeyedAsync("/events", $"[{string.Join(',', tracked)}]"));
        // Told what is there already, or wrong, the answer names it.
        Assert.Equal(207, await KeyedAsync("/events", $"[{tracked[0]},{{\"messageId\":\"ada-6\"}}]"));
        Assert.Equal(204, await KeyedAsync("/identify", """{"anonymousId":"ada-device","userId":"ada-user"}"""));
        Assert.Equal(204, await KeyedAsync("/alias", """{"previousId":"ada-former","userId":"ada-user"}"""));
        await ConfigureAsync("""{"trackingPlan":{"mode":"refuse","events":[{"name":"page-view","properties":[{"name":"title","type":"string","required":true}]}]}}""", 1);
        Assert.Equal(207, await KeyedAsync("/events", AnalyticsHost.Page("ada-7", null, "2024-05-02T10:00:00Z", "ada-device")));
        await SettledAsync();
        await _host.Database.RunAsync("""
            insert into platform.parked (tenant_id, group_name, topic, subject, event_id, type, headers, data, state, attempts, next_attempt_at, error)
            select tenant_id, 'broken', topic, subject, event_id, type, '{}', convert_to(data::text, 'UTF8'), 'dead', 5, now(), 'It is broken.' from platform.events
            """);
        Assert.Equal("active 2, new 2, anonymous 0, sessions 4", await UsersAsync());
        var numbers = await _host.Database.QueryAsync<string>("select visitor_of::text from analytics.visitor_of('ada-user', false) union all select visitor::text from analytics.identities");
        Assert.Equal(3, numbers.Count);
        string[] holders = ["analytics.identities", "analytics.violations", "platform.events", "platform.idempotency", "platform.parked", "platform.webhook_deliveries"];
        Assert.Equal(holders, (await HoldersAsync([.. numbers, "ada-"])).Intersect(holders));

        // Also what is not counted yet.
        Assert.Equal(200, await KeyedAsync("/events", AnalyticsHost.Line("ada-8", "o3", "p", 1, 7, "2021-05-01T10:00:00Z", null, anonymous: "ada-device")));
        var report = await PurgeAsync(person);
        Assert.Equal("done|True|4", $"{report.GetProperty("status").GetString()}|{report.GetProperty("ofPerson")}|{report.GetProperty("events")}");
        await SettledAsync();
        Assert.Empty(await HoldersAsync([.. numbers, "ada-"]));
        Assert.Equal(["4|other|", "5|other|other-device"], await _host.Database.QueryAsync<string>("select concat(message_id, '|', user_id, '|', anonymous_id) from analytics.events order by 1"));
        Assert.Equal(
            ["4|other|", "5|other|other-device"],
            await _host.Database.QueryAsync<string>("""
                select concat(e ->> 'messageId', '|', e ->> 'userId', '|', e ->> 'anonymousId')
                from platform.webhook_deliveries, json_array_elements(data -> 'events') as e where type = 'agency.analytics.event-tracked.v1' order by 1
                """));
        Assert.Equal("active 1, new 1, anonymous 0, sessions 1", await UsersAsync());
        Assert.Equal("5", (await _client.AskAsync("/analytics/revenue")).GetProperty("totals").GetProperty("gross").GetRawText().TrimEnd('0').TrimEnd('.'));
        Assert.Empty(await VerifyAsync(replace: false));
        // It may be sent again, and the ids are somebody new's.
        await _client.TrackAsync(AnalyticsHost.Line("ada-2", "o1", "p", 1, 1, "2024-05-02T10:00:00Z", null, anonymous: "ada-device"));
        await SettledAsync();
        Assert.Equal("active 1, new 1, anonymous 1, sessions 2", await UsersAsync());
    }

    [Fact]
    public async Task What_a_joined_answer_was_is_replayed()
    {
        foreach (var replayed in new[] { false, true })
        {
            var answer = await _client.SendJsonAsync(HttpMethod.Post, "/identify", """{"anonymousId":"a","userId":"u"}""", ("Idempotency-Key", "k"));
            Assert.Equal((204, replayed), ((int)answer.StatusCode, answer.Headers.Contains("Idempotency-Replayed")));
        }
    }

    [Fact]
    public async Task Nobody_becomes_or_stays_another_than_he_was_when_his_purge_was_asked_for()
    {
        await PostAsync("/identify", """{"anonymousId":"a","userId":"u"}""");
        await _host.Database.RunAsync("""
            insert into analytics.purges (tenant_id, id, visitors, of_person) select 'acme', gen_random_uuid(), array[analytics.visitor_of('u', false), analytics.visitor_of('a', true)], true
            """);
        foreach (var (path, json) in new[] { ("/alias", """{"previousId":"u","userId":"v"}"""), ("/alias", """{"previousId":"v","userId":"u"}"""), ("/identify", """{"anonymousId":"b","userId":"u"}""") })
        {
            var refused = await _client.SendJsonAsync(HttpMethod.Post, path, json);
            Assert.Equal(("urn:agency:problem:being-purged", 10), ((await refused.JsonAsync()).GetProperty("type").GetString(), refused.Headers.RetryAfter?.Delta?.TotalSeconds));
        }

        // What changes nothing, or is about others, is done.
        await PostAsync("/identify", """{"anonymousId":"a","userId":"u"}""");
        await PostAsync("/identify", """{"anonymousId":"b","userId":"v"}""");
        await _host.Database.RunAsync("update analytics.purges set visitors = null, finished_at = now()");
        await PostAsync("/alias", """{"previousId":"v","userId":"u"}""");
    }

    [Fact]
    public async Task What_comes_of_a_person_while_his_purge_ends_goes_too_or_is_somebody_news()
    {
        await ConfigureAsync("""{"trackingPlan":{"allowUnknownEvents":false,"events":[{"name":"page-view"}]}}""", 0);
        await PostAsync("/identify", """{"anonymousId":"a","userId":"u"}""");
        await _client.TrackAsync(AnalyticsHost.Page("1", "u", "2024-05-01T10:00:00Z"), AnalyticsHost.Page("2", null, "2024-05-01T10:00:00Z", "b"));
        await SettledAsync();
        var person = new PurgeCriteria([Visitor.Of("u", anonymous: false), Visitor.Of("a", anonymous: true)], null, null, null);
        await EventPurge.RunAsync(Scopes, Acme, person, null, CancellationToken.None);
        await _client.TrackAsync(AnalyticsHost.Page("3", null, "2024-05-02T10:00:00Z", "a"));
        await SettledAsync();

        // One is on its way: kept as the person's, but its transaction has not ended.
        await using var source = Npgsql.NpgsqlDataSource.Create(_host.Database.Settings.Admin);
        await using var connection = await source.OpenConnectionAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        await using (var close = new Npgsql.NpgsqlCommand("lock table analytics.violations in share mode", connection))
            await close.ExecuteNonQueryAsync();
        var tracking = _client.TrackAsync("""{"messageId":"4","event":"unplanned","anonymousId":"a","time":"2024-05-02T10:10:00Z"}""");
        await WaitingAsync(1);
        var ending = Scopes.RunAsync(Acme, work => work.TransactAsync(
            async () =>
            {
                await Identities.LockAsync(work, CancellationToken.None);
                return await EventPurge.EndAsync(work, person, CancellationToken.None);
            },
            CancellationToken.None));
        await WaitingAsync(2);
        await transaction.CommitAsync();
        await tracking;
        Assert.Equal(2, await ending);
        await _client.TrackAsync(AnalyticsHost.Page("5", null, "2024-05-03T10:00:00Z", "a"));
        await SettledAsync();
        Assert.Equal(["2", "5"], await _host.Database.QueryAsync<string>("select message_id from analytics.events order by 1"));
        Assert.Equal("active 0, new 0, anonymous 2, sessions 2", await UsersAsync());
        Assert.Empty(await VerifyAsync(replace: false));

        Task<bool> WaitingAsync(long sessions) => HttpTesting.EventuallyAsync(
            () => _host.Database.ScalarAsync<bool>($"select count(*) >= {sessions} from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"), enough => enough);
    }

    [Theory]
    [InlineData("page-view", null, null)]
    [InlineData(null, "2024-05-01T10:20:00Z", null)]
    [InlineData(null, "2024-05-01T10:20:00Z", "u1")]
    public async Task A_purge_goes_piece_by_piece_and_on_from_where_it_broke_off(string? name, string? from, string? user)
    {
        // Two thirds of them are in one hour.
        await _client.TrackAsync(Enumerable.Range(0, 300).Select(n => new DateTime(2024, 5, 1, 9, 40, 0, DateTimeKind.Utc).AddSeconds(n % 3 == 0 ? n * 60 : 1200 + (n * 10)).ToString("O", CultureInfo.InvariantCulture) is var time && n % 2 == 0
            ? AnalyticsHost.Page($"{n}", "u" + (n % 7), time) : AnalyticsHost.Line($"{n}", "o" + (n % 40), "p", 1, 1, time, "u" + (n % 7))));
        await SettledAsync();
        var criteria = new PurgeCriteria(
            user is null ? null : [Visitor.Of(user, anonymous: false)], name, from is null ? null : DateTime.Parse(from, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal), null);
        var meant = await _host.Database.ScalarAsync<long>($"""
            select count(*) from analytics.events where ('{name}' = '' or name = '{name}') and ('{user}' = '' or user_id = '{user}') and occurred_at >= coalesce(nullif('{from}', ''), '-infinity')::timestamptz
            """);
        var atMost = (int)(meant / 6);
        var pieces = new List<int>();
        for (var isDone = false; !isDone;)
        {
            var committed = 0;
            var run = EventPurge.RunAsync(
                Scopes, Acme, criteria,
                (_, removed) =>
                {
                    if (removed > 0 && committed++ > 0)
                        throw new InvalidOperationException("It breaks off.");
                    pieces.Add(removed);
                    return Task.CompletedTask;
                },
                CancellationToken.None, atMost);
            isDone = await Record.ExceptionAsync(() => run) is null;
            Assert.Equal(
                await _host.Database.ScalarAsync<long>("select count(*) from analytics.events"),
                await _host.Database.ScalarAsync<long>("select sum(events)::bigint from analytics.event_counts where resolution = 'month'"));
        }

        Assert.Equal((meant, true), (pieces.Sum(), pieces.Count(p => p > 0) >= 6 && pieces.Max() <= atMost));
        Assert.Equal(300 - meant, await _host.Database.ScalarAsync<long>("select count(*) from analytics.events"));
        Assert.Empty(await VerifyAsync(replace: false));
    }

    [Fact]
    public async Task An_order_line_that_cannot_be_read_holds_up_neither_purge_nor_rebuild()
    {
        await _client.TrackAsync(AnalyticsHost.Line("1", "o1", "p", 2, 10, "2024-05-01T10:00:00Z", "u"), AnalyticsHost.Line("2", "o2", "p", 2, 10, "2024-05-01T10:00:00Z", "u"));
        await SettledAsync();
        await _host.Database.RunAsync("update analytics.events set properties = properties - 'orderId' where message_id = '1'");
        Assert.NotEmpty(await VerifyAsync(replace: true));
        Assert.Equal(2, (await PurgeAsync("event=order-line")).GetProperty("events").GetInt32());
        Assert.Empty(await VerifyAsync(replace: false));
    }

    [Fact]
    public async Task What_fails_for_one_organisation_keeps_no_other_from_its_maintenance()
    {
        var old = DateTime.UtcNow.AddDays(-40).ToString("O", CultureInfo.InvariantCulture);
        foreach (var organisation in new[] { "acme", "other" })
        {
            using var client = _host.Client(organisation: organisation);
            await client.TrackAsync(AnalyticsHost.Page("1", "u", old));
            await SettledAsync();
            Assert.Equal(200, (int)(await client.SendJsonAsync(HttpMethod.Put, "/analytics/config", """{"retentionDays":30}""", ("If-Match", "\"0\""))).StatusCode);
        }

        await _host.Database.RunAsync("""
            insert into analytics.rebuilds values ('acme'), ('other');
            create function fail() returns trigger language plpgsql as $$ begin raise exception 'It is broken.'; end $$;
            create trigger fail before delete on analytics.events for each row when (old.tenant_id = 'acme') execute function fail();
            create trigger fail before delete on analytics.rebuilds for each row when (old.tenant_id = 'acme') execute function fail();
            """);
        await MaintainAsync();
        Assert.Equal(["acme"], await _host.Database.QueryAsync<string>("select tenant_id from analytics.events"));
        Assert.Equal(["acme"], await _host.Database.QueryAsync<string>("select tenant_id from analytics.rebuilds"));
    }

    [Fact]
    public async Task A_person_is_excluded_under_all_of_his_ids()
    {
        await PostAsync("/identify", """{"anonymousId":"a","userId":"staff-1"}""");
        await PostAsync("/alias", """{"previousId":"former","userId":"staff-1"}""");
        await ConfigureAsync("""{"excludedUsers":["former"]}""", 0);
        var answer = await (await _client.PostAsync($"[{string.Join(',',
            AnalyticsHost.Page("1", null, "2024-05-01T10:00:00Z", "a"), AnalyticsHost.Page("2", "staff-1", "2024-05-01T10:00:00Z"), AnalyticsHost.Page("3", "u", "2024-05-01T10:00:00Z", "a"),
            AnalyticsHost.Page("4", "former", "2024-05-01T10:00:00Z"), AnalyticsHost.Page("5", "a", "2024-05-01T10:00:00Z"), AnalyticsHost.Page("6", "u", "2024-05-01T10:00:00Z", "b"))}]")).JsonAsync();
        Assert.Equal((2, 4), (answer.GetProperty("accepted").GetInt32(), answer.GetProperty("excluded").GetInt32()));
        Assert.Equal(["5", "6"], await _host.Database.QueryAsync<string>("select message_id from analytics.events order by 1"));
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
        await ConfigureAsync("{}", 1);
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

    private IServiceScopeFactory Scopes => _host.Services.GetRequiredService<IServiceScopeFactory>();

    private static Caller Acme => Caller.Of("acme", "test");

    /// <summary>The tables that have one of these texts in one of their columns, in that of bytes too.</summary>
    private Task<List<string>> HoldersAsync(IReadOnlyList<string> texts) => HoldersAsync(string.Join(" or ", texts.Select(text => $"position('{text}'::bytea in column_value) > 0")));

    private async Task<List<string>> HoldersAsync(string found)
    {
        var columns = await _host.Database.QueryAsync<string>("""
            select format('select %L as table_name, case when true then %s end as column_value from %I.%I', n.nspname || '.' || c.relname,
              case when a.atttypid = 'bytea'::regtype then quote_ident(a.attname) else format('convert_to(%I::text, ''UTF8'')', a.attname) end, n.nspname, c.relname)
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'
            """);
        return await _host.Database.QueryAsync<string>($"select distinct table_name from ({string.Join(" union all ", columns)}) as everything where {found} order by 1");
    }

    private async Task<int> KeyedAsync(string path, string json) =>
        (int)(await _client.SendJsonAsync(HttpMethod.Post, path, json, ("Idempotency-Key", Guid.NewGuid().ToString()))).StatusCode;

    private async Task ConfigureAsync(string json, int version) =>
        Assert.Equal(200, (int)(await _client.SendJsonAsync(HttpMethod.Put, "/analytics/config", json, ("If-Match", $"\"{version}\""))).StatusCode);

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

    private async Task PostAsync(string path, string json, int? expected = 204)
    {
        var answer = await _client.SendJsonAsync(HttpMethod.Post, path, json);
        if (expected is not null)
            Assert.Equal(expected, (int)answer.StatusCode);
    }

    private async Task<string> RefusedAsync(string path, string json)
    {
        using var response = await _client.SendJsonAsync(HttpMethod.Post, path, json);
        var problem = await response.JsonAsync();
        // A problem that is the same for all still names the request that it answers.
        Assert.Equal(response.Headers.GetValues("X-Trace-Id").Single(), problem.GetProperty("traceId").GetString());
        return problem.GetProperty("type").GetString()!.Split(':')[^1];
    }

    /// <summary>Waits until every group has read all there is.</summary>
    private Task<bool> SettledAsync() => HttpTesting.EventuallyAsync(
        () => _host.Database.ScalarAsync<bool>("""
            select not exists (select from platform.events where position is null)
              and not exists (select from analytics.pending_batches)
              and (select coalesce(max(position), 0) from platform.events where topic = 'agency.analytics')
                <= all(select coalesce(o.position, 0) from (values ('RollUpEvents'), ('QueueWebhookDeliveries')) as g (name) left join embedded.consumer_offsets o on o.group_name = g.name)
            """),
        done => done,
        TimeSpan.FromMinutes(2));

    private async Task<string> UsersAsync()
    {
        var totals = (await _client.AskAsync("/analytics/users")).GetProperty("totals");
        return string.Join(", ", new[] { "active", "new", "anonymous", "sessions" }.Select(f => $"{f} {totals.GetProperty(f)}"));
    }
}
