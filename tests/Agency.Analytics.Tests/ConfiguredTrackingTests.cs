using System.Globalization;
using System.Net;
using Agency.Testing;

namespace Agency.Analytics.Tests;

/// <summary>What a config does to POST /events.</summary>
public sealed class ConfiguredTrackingTests : IAsyncLifetime
{
    private const string Plan = """
        {"trackingPlan":{"mode":"MODE","allowUnknownEvents":false,"events":[{"name":"sign-up","allowUnknownProperties":false,"properties":[
          {"name":"plan","type":"string","required":true,"values":["free","pro"]}]}]}}
        """;

    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await AnalyticsHost.StartAsync(consuming: false, settings: [("Analytics:CountryHeader", "CF-IPCountry")]);
        _client = _host.Client();
    }

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task What_is_excluded_is_told_and_leaves_nothing()
    {
        await ConfigureAsync("""{"excludedAddresses":["10.0.0.0/8"],"excludedUsers":["tester"]}""");
        var response = await _client.PostAsync("""
            [{"messageId":"1","event":"a","context":{"userAgent":"Googlebot/2.1"}},{"messageId":"2","event":"a","context":{"address":"10.1.2.3"}},
             {"messageId":"3","event":"a","anonymousId":"tester"},{"messageId":"4","event":"a"},{"messageId":"4","event":"a"},{"messageId":"1","event":"b"}]
            """);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(
            """
            {"accepted":2,"duplicates":1,"rejected":0,"excluded":3,"items":[
            {"index":0,"messageId":"1","status":"excluded","reason":"bot"},{"index":1,"messageId":"2","status":"excluded","reason":"address"},
            {"index":2,"messageId":"3","status":"excluded","reason":"user"},{"index":4,"messageId":"4","status":"duplicate"}]}
            """.ReplaceLineEndings(""),
            await response.Content.ReadAsStringAsync());
        Assert.Equal(["1", "4"], await _host.Database.QueryAsync<string>("select message_id from analytics.events order by 1"));
        Assert.Equal(Digests("1", "4"), await KnownAsync());
    }

    [Fact]
    public async Task An_event_older_than_events_are_kept_is_rejected_and_leaves_nothing()
    {
        await ConfigureAsync("""{"retentionDays":30,"trackingPlan":{"allowUnknownEvents":false}}""");
        var oldest = DateTime.UtcNow.Date.AddDays(-30);
        var response = await _client.PostAsync($$"""
            [{"messageId":"1","event":"a","time":"{{oldest.AddMicroseconds(-1):O}}"},{"messageId":"2","event":"a","time":"{{oldest.AddDays(1):O}}"}]
            """);
        Assert.Equal(HttpStatusCode.MultiStatus, response.StatusCode);
        var item = Assert.Single((await response.JsonAsync()).GetProperty("items").EnumerateArray());
        // Midnight may have come meanwhile.
        Assert.Matches("^1 rejected time is before 20..-..-.., and older events are not kept$", $"{item.GetProperty("messageId")} {item.GetProperty("status")} {item.GetProperty("error")}");
        Assert.Equal(["2"], await _host.Database.QueryAsync<string>("select message_id from analytics.events union select message_id from analytics.violations"));
        Assert.Equal(Digests("2"), await KnownAsync());
    }

    [Fact]
    public async Task What_the_request_tells_is_kept_and_its_address_is_not()
    {
        await _client.SendJsonAsync(HttpMethod.Post, "/events", """
            [{"messageId":"1","event":"a","properties":{"x":1},"context":{"url":"https://shop.example/sale?utm_source=news","address":"198.51.100.77"}}]
            """, ("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0"), ("CF-IPCountry", "NL"));
        Assert.Equal(
            """{"x": 1, "$os": "Windows", "$url": "https://shop.example/sale?utm_source=news", "$path": "/sale", "$device": "desktop", "$browser": "Firefox", "$country": "NL", "$utm_source": "news"}""",
            await _host.Database.ScalarAsync<string>("select properties::text from analytics.events"));
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("""
            select (select count(*) from platform.events e where e::text like '%198.51.100.77%') + (select count(*) from analytics.events e where e::text like '%198.51.100.77%')
            """));
    }

    [Fact]
    public async Task An_observed_plan_keeps_the_event_and_lists_what_is_wrong_once()
    {
        await ConfigureAsync(Plan.Replace("MODE", "observe", StringComparison.Ordinal));
        const string Batch = """
            [{"messageId":"1","event":"sign-up","userId":"ada","properties":{"plan":"secret"}},{"messageId":"2","event":"other"},
             {"messageId":"3","event":"sign-up","properties":{"extra":1}},{"messageId":"4","event":"sign-up","properties":{"plan":"free"}},{"messageId":"2","event":"other"}]
            """;
        for (var round = 0; round < 2; round++)
            await _client.SendJsonAsync(HttpMethod.Post, "/events", Batch, ("Idempotency-Key", "k"));
        var again = await (await _client.PostAsync(Batch)).JsonAsync();
        Assert.Equal((0, 5), (again.GetProperty("accepted").GetInt32(), again.GetProperty("duplicates").GetInt32()));
        // What is wrong with an event that is not kept is nobody's.
        await _client.PostAsync("""{"messageId":"4","event":"sign-up","properties":{"plan":"x"}}""");

        Assert.Equal(
            ["3|sign-up|extra|unknown-property|False", "3|sign-up|plan|missing|False", "2|other||unknown-event|False", "1|sign-up|plan|values|False"],
            await ListedAsync("/analytics/violations"));
        Assert.Equal(["2|other||unknown-event|False"], await ListedAsync("/analytics/violations?event=other"));
        var counts = await _client.AskAsync("/analytics/violations/counts");
        // Midnight may have come meanwhile.
        var today = counts.GetProperty("days")[0].GetProperty("day").GetString()!;
        Assert.InRange((DateTime.UtcNow.Date - DateTime.Parse(today, CultureInfo.InvariantCulture)).Days, 0, 1);
        Assert.Equal(
            """
            {"violations":4,"counts":[{"event":"other","rule":"unknown-event","violations":1,"last":"TODAY"},{"event":"sign-up","rule":"missing","violations":1,"last":"TODAY"},
            {"event":"sign-up","rule":"unknown-property","violations":1,"last":"TODAY"},{"event":"sign-up","rule":"values","violations":1,"last":"TODAY"}],"days":[{"day":"TODAY","violations":4}]}
            """.ReplaceLineEndings("").Replace("TODAY", today, StringComparison.Ordinal),
            counts.GetRawText());
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from analytics.violations v where v::text like '%ada%' or v::text like '%secret%'"));
        Assert.Equal(4, await _host.Database.ScalarAsync<long>("select count(*) from analytics.events"));
        using var other = _host.Client(organisation: "other");
        Assert.Equal(0, (await other.AskAsync("/analytics/violations")).GetArrayLength());
        Assert.Equal(0, (await other.AskAsync("/analytics/violations/counts")).GetProperty("violations").GetInt64());
    }

    [Fact]
    public async Task An_enforced_plan_rejects_the_event_and_lists_it_once_however_often_it_is_sent()
    {
        await ConfigureAsync(Plan.Replace("MODE", "refuse", StringComparison.Ordinal));
        for (var round = 0; round < 3; round++)
        {
            var response = await _client.PostAsync("""[{"messageId":"1","event":"sign-up","properties":{"plan":"x"}},{"messageId":"2","event":"sign-up","properties":{"plan":"pro"}}]""");
            Assert.Equal(HttpStatusCode.MultiStatus, response.StatusCode);
            var item = (await response.JsonAsync()).GetProperty("items")[0];
            Assert.Equal("rejected|does not follow the tracking plan: properties.plan must be one of free, pro", $"{item.GetProperty("status")}|{item.GetProperty("error")}");
        }

        Assert.Equal(["1|sign-up|plan|values|True"], await ListedAsync("/analytics/violations"));
        Assert.Equal(1, (await _client.AskAsync("/analytics/violations/counts")).GetProperty("violations").GetInt64());
        Assert.Equal(Digests("2"), await KnownAsync());
        // Corrected, it is taken under its id.
        await _client.TrackAsync("""{"messageId":"1","event":"sign-up","properties":{"plan":"free"}}""");
    }

    [Fact]
    public async Task The_list_has_pages_and_an_end_and_the_counts_have_days()
    {
        await ConfigureAsync(Plan.Replace("MODE", "observe", StringComparison.Ordinal));
        await _host.Database.RunAsync("""
            insert into analytics.violations (tenant_id, event, property, rule, message_id, refused)
            select 'acme', 'old', '', 'unknown-event', n::text, false from generate_series(1, 10500) as n;
            insert into analytics.violations (tenant_id, event, property, rule, message_id, refused) values ('other', 'old', '', 'unknown-event', '1', false);
            insert into analytics.violation_counts (tenant_id, day, event, rule, slot, violations)
            values ('acme', '2026-01-01', 'old', 'unknown-event', 0, 3), ('acme', '2026-01-01', 'old', 'unknown-event', 1, 4), ('acme', '2026-01-02', 'old', 'unknown-event', 0, 5)
            """);
        // So many that the oldest are taken away.
        await _client.TrackAsync(Enumerable.Range(0, 500).Select(i => $$"""{"messageId":"new {{i}}","event":"new"}"""));
        Assert.Equal(10_000, await _host.Database.ScalarAsync<long>("select count(*) from analytics.violations where tenant_id = 'acme'"));
        Assert.Equal(500, await _host.Database.ScalarAsync<long>("select count(*) from analytics.violations where event = 'new'"));
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from analytics.violations where tenant_id = 'other'"));

        var first = await _client.GetAsync(new Uri("/analytics/violations?event=new&limit=300", UriKind.Relative));
        var next = first.Headers.GetValues("Link").Single().Split('<', '>')[1];
        Assert.Equal((300, 200), ((await first.JsonAsync()).GetArrayLength(), (await _client.AskAsync(next)).GetArrayLength()));

        Assert.Equal(512, (await _client.AskAsync("/analytics/violations/counts")).GetProperty("violations").GetInt64());
        var january = await _client.AskAsync("/analytics/violations/counts?from=2026-01-01&to=2026-01-02&event=old");
        Assert.Equal("""{"violations":7,"counts":[{"event":"old","rule":"unknown-event","violations":7,"last":"2026-01-01"}],"days":[{"day":"2026-01-01","violations":7}]}""", january.GetRawText());
        await _client.AskAsync("/analytics/violations/counts?from=2026-01-02&to=2026-01-02", 400);
        await _client.AskAsync("/analytics/violations/counts?from=2026-01-02T03:00:00Z", 400);
    }

    [Fact]
    public async Task Writers_of_the_same_violations_at_once_count_each_once()
    {
        await ConfigureAsync(Plan.Replace("MODE", "refuse", StringComparison.Ordinal));
        var events = Enumerable.Range(0, 200).Select(i => string.Create(CultureInfo.InvariantCulture, $$"""{"messageId":"{{i}}","event":"{{(i % 2 == 0 ? "sign-up" : "other")}}"}""")).ToArray();
        var answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(round =>
        {
            new Random(round).Shuffle(events);
            return _client.PostAsync($"[{string.Join(',', events)}]");
        }));
        Assert.All(answers, answer => Assert.Equal(HttpStatusCode.MultiStatus, answer.StatusCode));
        Assert.Equal(200, (await _client.AskAsync("/analytics/violations/counts")).GetProperty("violations").GetInt64());
    }

    [Fact]
    public async Task A_change_of_the_config_holds_at_once_here_and_in_a_moment_elsewhere()
    {
        await using var elsewhere = await AnalyticsHost.StartAsync(consuming: false, database: _host.Database);
        using var there = elsewhere.Client();
        var n = 0;
        for (var round = 0; round < 6; round++)
        {
            var wanted = round % 2;
            await ConfigureAsync($$"""{"excludedUsers":[{{(wanted == 0 ? "\"u\"" : "")}}]}""");
            Assert.Equal(wanted, await SendAsync(_client));
            await HttpTesting.EventuallyAsync(() => SendAsync(there), accepted => accepted == wanted);
        }

        async Task<int> SendAsync(HttpClient client) =>
            (await (await client.PostAsync($$"""{"messageId":"{{Interlocked.Increment(ref n)}}","event":"a","userId":"u"}""")).JsonAsync()).GetProperty("accepted").GetInt32();
    }

    [Fact]
    public async Task The_config_is_not_read_for_each_request()
    {
        // The tail of the log takes it out once more when it comes to the change; if that is between the two requests, they are tried again.
        await HttpTesting.EventuallyAsync(
            async () =>
            {
                await ConfigureAsync("""{"excludedUsers":["u"]}""");
                await Task.Delay(100);
                await _client.PostAsync("""{"messageId":"0","event":"a","userId":"u"}""");
                // No event tells of this.
                await _host.Database.RunAsync("update analytics.config set excluded_users = '{}'");
                return (await (await _client.PostAsync("""{"messageId":"0","event":"a","userId":"u"}""")).JsonAsync()).GetProperty("excluded").GetInt32();
            },
            excluded => excluded == 1);
    }

    private async Task<List<string>> ListedAsync(string path) => [.. (await _client.AskAsync(path)).EnumerateArray().Select(v =>
        $"{v.GetProperty("messageId")}|{v.GetProperty("event")}|{v.GetProperty("property")}|{v.GetProperty("rule")}|{v.GetProperty("refused")}")];

    private static IEnumerable<Guid> Digests(params string[] messageIds) => messageIds.Select(MessageId.DigestOf).OrderBy(digest => digest.ToString(), StringComparer.Ordinal);

    private Task<List<Guid>> KnownAsync() => _host.Database.QueryAsync<Guid>("select digest from analytics.message_ids order by digest");

    private async Task ConfigureAsync(string config) =>
        Assert.Equal(HttpStatusCode.OK, (await _client.SendJsonAsync(HttpMethod.Put, "/analytics/config", config, ("If-Match", "*"))).StatusCode);
}
