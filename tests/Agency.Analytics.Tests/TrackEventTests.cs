using System.Globalization;
using System.Net;
using System.Text;
using Agency.Testing;

namespace Agency.Analytics.Tests;

public sealed class TrackEventTests : IAsyncLifetime
{
    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await AnalyticsHost.StartAsync();
        _client = _host.Client();
    }

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task One_event_needs_no_more_than_its_message_id_and_name()
    {
        var before = DateTime.UtcNow;
        var response = await _client.PostAsync("""{"messageId":"m","event":"sign-up"}""");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("""{"accepted":1,"duplicates":0,"rejected":0,"excluded":0,"items":[]}""", await response.Content.ReadAsStringAsync());
        Assert.InRange(await _host.Database.ScalarAsync<DateTime>("select occurred_at from analytics.events where user_id is null and properties = '{}'"),
            before.AddMilliseconds(-1), DateTime.UtcNow);
    }

    [Fact]
    public async Task A_message_id_is_known_again_by_what_the_database_makes_of_it_too()
    {
        var longest = string.Concat(Enumerable.Repeat("日", EventReader.MaxText));
        await _client.TrackAsync(
            $$"""{"messageId":"{{longest}}","event":"a"}""", """{"messageId":"Zoë 😀","event":"a"}""", """{"messageId":"m","event":"a"}""");
        Assert.Equal(3, await _host.Database.ScalarAsync<long>("""
            select count(*) from analytics.events e join analytics.message_ids m on m.tenant_id = e.tenant_id and m.digest = analytics.digest_of(e.message_id)
            """));
    }

    [Fact]
    public async Task An_event_is_kept_as_it_was_sent()
    {
        await _client.TrackAsync("""
            {"properties" : { "path":"/caf\u00e9", "width":1280, "price":12.50, "tags":["a",null,true,{"x":{}}] } ,
             "event":"page-view","time":"2011-12-09T14:50:00.1234567+02:00","anonymousId":"a 1","userId":"Zoë 😀","messageId":"id\"1"}
            """);
        Assert.Equal(
            """id"1|page-view|Zoë 😀|a 1|2011-12-09 12:50:00.123456|{"path": "/café", "tags": ["a", null, true, {"x": {}}], "price": 12.50, "width": 1280}""",
            await _host.Database.ScalarAsync<string>("""
                select concat_ws('|', message_id, name, user_id, anonymous_id, occurred_at at time zone 'UTC', properties) from analytics.events
                where tenant_id = 'acme' and received_at > now() - interval '1 minute'
                """));
    }

    [Fact]
    public async Task The_log_has_the_accepted_events_as_they_were_sent()
    {
        await _client.PostAsync("""
            [{"messageId":"2","event":"a","time":"2011-12-09T12:50:00Z","properties":{"b":"caf\u00e9", "a":[1.50]}},{"messageId":"2","event":"b"},{"event":"c"},
             {"messageId":"1","event":"d","userId":"u","time":"2011-12-09T12:50:00.5Z"}]
            """);
        Assert.Equal(
            """
            {"events":[{"messageId":"2","event":"a","userId":null,"anonymousId":null,"time":"2011-12-09T12:50:00+00:00","properties":{"b":"caf\u00e9", "a":[1.50]}},
            {"messageId":"1","event":"d","userId":"u","anonymousId":null,"time":"2011-12-09T12:50:00.5+00:00","properties":{}}]}
            """.ReplaceLineEndings(""),
            await _host.Database.ScalarAsync<string>("select data::text from platform.events where type = 'agency.analytics.event-tracked.v1' and version = 1"));
    }

    [Fact]
    public async Task A_bad_item_is_rejected_and_the_others_are_kept()
    {
        var response = await _client.PostAsync("""
            [{"messageId":"1","event":"a"}, 5, {"messageId":"2","event":"b"}, {"event":"c"}, {"messageId":"1","event":"a"}, {"messageId":"3"}]
            """);
        Assert.Equal(HttpStatusCode.MultiStatus, response.StatusCode);
        Assert.Equal(
            """
            {"accepted":2,"duplicates":1,"rejected":3,"excluded":0,"items":[
            {"index":1,"messageId":null,"status":"rejected","error":"an event must be a JSON object"},
            {"index":3,"messageId":null,"status":"rejected","error":"messageId is missing"},
            {"index":4,"messageId":"1","status":"duplicate"},
            {"index":5,"messageId":"3","status":"rejected","error":"event is missing"}]}
            """.ReplaceLineEndings(""),
            await response.Content.ReadAsStringAsync());
        Assert.Equal(["1", "2"], await _host.Database.QueryAsync<string>("select message_id from analytics.events order by 1"));
    }

    [Fact]
    public async Task An_item_that_is_rejected_does_not_use_up_its_message_id()
    {
        Assert.Equal((1, 0, 1), await CountsAsync("""[{"messageId":"1","event":7},{"messageId":"1","event":"a"}]"""));
        Assert.Equal((0, 1, 0), await CountsAsync("""{"messageId":"1","event":"a"}"""));
    }

    [Fact]
    public async Task A_body_that_is_no_batch_keeps_nothing()
    {
        (string Body, string Problem)[] bodies =
        [
            ("", "malformed-json"),
            ("""{"messageId":"1","event":"a"} x""", "malformed-json"),
            ("""[{"messageId":"1","event":"a"},{"messageId":"2","event":"a"]""", "malformed-json"),
            ("""[{"messageId":"1","event":"a"},]""", "malformed-json"),
            ("[]", "validation"), ("null", "validation"), ("\"event\"", "validation"), ("7", "validation"),
        ];
        foreach (var (body, problem) in bodies)
        {
            var response = await _client.PostAsync(body);
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
            Assert.Equal("application/problem+json", response.Content.Headers.ContentType!.MediaType);
            Assert.Equal("urn:agency:problem:" + problem, (await response.JsonAsync()).GetProperty("type").GetString());
        }

        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from analytics.events"));
    }

    [Fact]
    public async Task A_body_that_is_not_UTF_8_is_refused()
    {
        using var content = new ByteArrayContent([.. """{"messageId":"1","event":"a"""u8, 0xFF, .. "\"}"u8]);
        content.Headers.ContentType = new("application/json");
        Assert.Equal(HttpStatusCode.BadRequest, (await _client.PostAsync(new Uri("/events", UriKind.Relative), content)).StatusCode);
    }

    [Fact]
    public async Task A_thousand_events_are_one_batch_and_one_record_and_one_more_is_too_many()
    {
        var events = Enumerable.Range(0, 1001).Select(i => string.Create(CultureInfo.InvariantCulture, $$"""{"messageId":"{{i}}","event":"a"}""")).ToList();
        Assert.Equal(HttpStatusCode.BadRequest, (await _client.PostAsync($"[{string.Join(',', events)}]")).StatusCode);
        Assert.Equal((1000, 0, 0), await CountsAsync($"[{string.Join(',', events.Take(1000))}]"));
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from platform.events"));
        Assert.Equal(1000, await _host.Database.ScalarAsync<int>("select json_array_length(data -> 'events') from platform.events"));
    }

    [Fact]
    public async Task More_than_4_MiB_is_too_large()
    {
        var large = $$$"""{"messageId":"1","event":"a","properties":{"x":"{{{new string('x', 4 * 1024 * 1024)}}}"}}""";
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await _client.PostAsync(large)).StatusCode);
    }

    [Fact]
    public async Task What_is_not_sent_as_JSON_is_an_unsupported_media_type()
    {
        using var content = new StringContent("""{"messageId":"1","event":"a"}""", Encoding.UTF8, "text/plain");
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await _client.PostAsync(new Uri("/events", UriKind.Relative), content)).StatusCode);
    }

    [Fact]
    public async Task A_caller_without_the_scope_is_refused()
    {
        using var reader = _host.Client("analytics:read");
        Assert.Equal(HttpStatusCode.Forbidden, (await reader.PostAsync("""{"messageId":"1","event":"a"}""")).StatusCode);
        using var nobody = _host.Client(null);
        Assert.Equal(HttpStatusCode.Unauthorized, (await nobody.PostAsync("""{"messageId":"1","event":"a"}""")).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await _host.Client("events:write").GetAsync(new Uri("/analytics/revenue", UriKind.Relative))).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await _host.Client("events:write").GetAsync(new Uri("/analytics/users", UriKind.Relative))).StatusCode);
    }

    [Fact]
    public async Task A_message_id_counts_once_in_its_organisation_and_once_in_each_other()
    {
        using var other = _host.Client(organisation: "other");
        var e = AnalyticsHost.Line("m", "o", "p", 2, 1.5m, "2011-01-01T00:00:00Z");
        await _client.TrackAsync(e);
        await other.TrackAsync(e);
        Assert.Equal((0, 1, 0), await CountsAsync(e));
        await _host.RolledUpAsync();
        Assert.Equal("3.0", (await other.AskAsync("/analytics/revenue")).GetProperty("totals").GetProperty("gross").GetRawText());
        Assert.Equal(2, await _host.Database.ScalarAsync<long>("select count(*) from platform.events"));
    }

    [Fact]
    public async Task The_same_batch_from_sixteen_clients_at_once_counts_once()
    {
        for (var round = 0; round < 5; round++)
        {
            var random = new Random(round);
            var events = Enumerable.Range(0, 100)
                .Select(i => AnalyticsHost.Line($"{round}-{i}", $"o{round}-{i / 4}", "p" + (i % 7), 1, 2.25m, "2011-06-01T10:00:00Z", "u" + (i % 9))).ToArray();
            var answers = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ =>
            {
                // In another order each, so that they would wait for each other in a circle if they could.
                random.Shuffle(events);
                return CountsAsync($"[{string.Join(',', events)}]");
            }));
            Assert.Equal((100, 1500), (answers.Sum(a => a.Accepted), answers.Sum(a => a.Duplicates)));
        }

        await _host.RolledUpAsync();
        var totals = (await _client.AskAsync("/analytics/revenue")).GetProperty("totals");
        Assert.Equal("1125.00|125|500", $"{totals.GetProperty("gross").GetRawText()}|{totals.GetProperty("orders")}|{totals.GetProperty("lines")}");
    }

    [Fact]
    public async Task A_request_repeated_with_its_idempotency_key_gets_its_first_answer()
    {
        const string Body = """{"messageId":"1","event":"a"}""";
        await _client.SendJsonAsync(HttpMethod.Post, "/events", Body, ("Idempotency-Key", "k"));
        var again = await _client.SendJsonAsync(HttpMethod.Post, "/events", Body, ("Idempotency-Key", "k"));
        Assert.Equal(1, (await again.JsonAsync()).GetProperty("accepted").GetInt32());
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from analytics.events"));
    }

    [Fact]
    public async Task A_batch_that_adds_nothing_leaves_no_record()
    {
        await _client.PostAsync("""[{"event":"a"}]""");
        await _client.TrackAsync("""{"messageId":"1","event":"a"}""");
        await _client.PostAsync("""[{"messageId":"1","event":"a"},{"messageId":"1","event":"b"}]""");
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from platform.events"));
    }

    private async Task<(int Accepted, int Duplicates, int Rejected)> CountsAsync(string body)
    {
        var answer = await (await _client.PostAsync(body)).JsonAsync();
        return (answer.GetProperty("accepted").GetInt32(), answer.GetProperty("duplicates").GetInt32(), answer.GetProperty("rejected").GetInt32());
    }
}
