using System.Net;
using System.Text.Json.Nodes;
using Agency.Testing;

namespace Agency.Analytics.Tests;

public sealed class AnalyticsConfigTests : IAsyncLifetime
{
    private const string Everything = """
        {"retentionDays":730,"filterBots":false,"excludedAddresses":["203.0.113.9","10.1.2.3/8","::ffff:198.51.100.7","2001:DB8:0::1/32"],"excludedUsers":["u 1"],
         "trackingPlan":{"mode":"refuse","allowUnknownEvents":false,"events":[{"name":"sign-up","allowUnknownProperties":false,"properties":[
           {"name":"plan","type":"string","required":true,"values":["free","pro"],"maxLength":10},{"name":"seats","type":"integer","minimum":1,"maximum":2.5}]}]}}
        """;

    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await AnalyticsHost.StartAsync(consuming: false);
        _client = _host.Client();
    }

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task An_organisation_that_has_set_nothing_has_the_defaults_as_version_0()
    {
        var response = await _client.GetAsync(new Uri("/analytics/config", UriKind.Relative));
        Assert.Equal("\"0\"", response.Headers.ETag!.Tag);
        Assert.Equal(
            """
            {"retentionDays":null,"filterBots":true,"excludedAddresses":[],"excludedUsers":[],"trackingPlan":{"mode":"observe","allowUnknownEvents":true,"events":[]},"version":0,"updatedAt":null}
            """.TrimEnd(),
            await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task What_was_set_is_read_and_replaced_as_a_whole()
    {
        var set = await PutAsync(Everything, "\"0\"");
        Assert.Equal((HttpStatusCode.OK, "\"1\""), (set.StatusCode, set.Headers.ETag!.Tag));
        var read = await _client.AskAsync("/analytics/config");
        Assert.Equal((await set.JsonAsync()).ToString(), read.ToString());
        Assert.Equal("""["203.0.113.9","10.0.0.0/8","198.51.100.7","2001:db8::/32"]""", read.GetProperty("excludedAddresses").GetRawText());
        Assert.Equal(
            """
            {"mode":"refuse","allowUnknownEvents":false,"events":[{"name":"sign-up","properties":[
            {"name":"plan","type":"string","required":true,"values":["free","pro"],"minimum":null,"maximum":null,"maxLength":10},
            {"name":"seats","type":"integer","required":false,"values":null,"minimum":1,"maximum":2.5,"maxLength":null}],"allowUnknownProperties":false}]}
            """.ReplaceLineEndings(""),
            read.GetProperty("trackingPlan").GetRawText());
        Assert.Equal(HttpStatusCode.OK, (await PutAsync("{}", "\"1\"")).StatusCode);
        var now = JsonNode.Parse((await _client.AskAsync("/analytics/config")).GetRawText())!;
        Assert.Equal("2|true|0|", $"{now["version"]}|{now["filterBots"]}|{now["excludedUsers"]!.AsArray().Count}|{now["retentionDays"]}");
    }

    [Fact]
    public async Task A_change_needs_the_version_that_was_read()
    {
        Assert.Equal(HttpStatusCode.PreconditionRequired, (await PutAsync("{}", null)).StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await PutAsync("{}", "\"1\"")).StatusCode);
        Assert.Equal("\"1\"", (await PutAsync("{}", "*")).Headers.ETag!.Tag);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await PutAsync("{}", "\"0\"")).StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await PutAsync("{}", "\"2\"")).StatusCode);
        Assert.Equal("\"2\"", (await PutAsync("{}", "\"1\"")).Headers.ETag!.Tag);
    }

    [Fact]
    public async Task Of_changes_at_once_with_one_version_one_is_made()
    {
        for (var version = 0; version < 5; version++)
        {
            var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => PutAsync("{}", $"\"{version}\"")));
            Assert.Equal(1, answers.Count(a => a.StatusCode == HttpStatusCode.OK));
            Assert.Equal(7, answers.Count(a => a.StatusCode == HttpStatusCode.PreconditionFailed));
        }

        Assert.Equal(["1", "2", "3", "4", "5"], await _host.Database.QueryAsync<string>("select version::text from platform.events order by version"));
    }

    [Fact]
    public async Task A_change_is_told_without_naming_anybody()
    {
        await PutAsync(Everything, "*");
        var told = await _host.Database.ScalarAsync<string>("select data::text from platform.events where type = 'agency.analytics.config-updated.v1' and subject = 'config'");
        Assert.StartsWith("""{"retentionDays":730,"filterBots":false,"excludedAddresses":4,"excludedUsers":1,"trackingPlan":{"mode":"refuse",""", told, StringComparison.Ordinal);
        Assert.DoesNotContain("u 1", told, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_organisation_has_its_own_and_a_scope_for_each_way()
    {
        await PutAsync(Everything, "*");
        using var other = _host.Client(organisation: "other");
        Assert.Equal(0, (await other.AskAsync("/analytics/config")).GetProperty("version").GetInt64());
        using var reader = _host.Client("analytics:read");
        Assert.Equal(HttpStatusCode.Forbidden, (await reader.SendJsonAsync(HttpMethod.Put, "/analytics/config", "{}", ("If-Match", "*"))).StatusCode);
        using var writer = _host.Client("analytics:write");
        Assert.Equal(HttpStatusCode.Forbidden, (await writer.GetAsync(new Uri("/analytics/config", UriKind.Relative))).StatusCode);
    }

    [Fact]
    public async Task What_is_wrong_is_named()
    {
        (string Body, string Field)[] wrong =
        [
            ("""{"retentionDays":0}""", "retentionDays"),
            ("""{"retentionDays":36501}""", "retentionDays"),
            ("""{"excludedAddresses":["10.0.0.0/33"]}""", "excludedAddresses[0]"),
            ("""{"excludedAddresses":["10.0.0.1","10.0.0.0/x"]}""", "excludedAddresses[1]"),
            ("""{"excludedAddresses":["::ffff:10.0.0.0/8"]}""", "excludedAddresses[0]"),
            ("""{"excludedAddresses":["10.0.0"]}""", "excludedAddresses[0]"),
            ("""{"excludedAddresses":[null]}""", "excludedAddresses[0]"),
            ("""{"excludedUsers":[" "]}""", "excludedUsers[0]"),
            ("""{"excludedUsers":["a\u0000"]}""", "excludedUsers[0]"),
            ("""{"trackingPlan":{"mode":"strict"}}""", "trackingPlan.mode"),
            ("""{"trackingPlan":{"mode":null}}""", "trackingPlan.mode"),
            ("""{"trackingPlan":{"events":[null]}}""", "trackingPlan.events[0].name"),
            ("""{"trackingPlan":{"events":[{"name":"a"},{"name":""}]}}""", "trackingPlan.events[1].name"),
            ("""{"trackingPlan":{"events":[{"name":"a"},{"name":"a"}]}}""", "trackingPlan.events[1].name"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"date"}]}]}}""", "trackingPlan.events[0].properties[0].type"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"string"},{"name":"p","type":"string"}]}]}}""", "trackingPlan.events[0].properties[1].name"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"integer","values":["1"]}]}]}}""", "trackingPlan.events[0].properties[0].values"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"string","values":[]}]}]}}""", "trackingPlan.events[0].properties[0].values"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"string","values":["\u0000"]}]}]}}""", "trackingPlan.events[0].properties[0].values"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"string","minimum":1}]}]}}""", "trackingPlan.events[0].properties[0].minimum"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"number","minimum":2,"maximum":1}]}]}}""", "trackingPlan.events[0].properties[0].maximum"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"number","maximum":1e400}]}]}}""", "trackingPlan.events[0].properties[0].maximum"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"string","maxLength":0}]}]}}""", "trackingPlan.events[0].properties[0].maxLength"),
            ("""{"trackingPlan":{"events":[{"name":"a","properties":[{"name":"p","type":"array","maxLength":1}]}]}}""", "trackingPlan.events[0].properties[0].maxLength"),
            ("""{"trackingPlan":{"events":[{"properties":[]}]}}""", "trackingPlan.events[0]"),
        ];
        foreach (var (body, field) in wrong)
        {
            var response = await PutAsync(body, "*");
            var problem = await response.JsonAsync();
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
            Assert.True(problem.GetProperty("errors").TryGetProperty(field, out _), $"{body} {problem}");
        }
    }

    [Fact]
    public async Task Lists_have_bounds()
    {
        string Many(int count, Func<int, string> item) => string.Join(',', Enumerable.Range(0, count).Select(item));
        Assert.Equal(HttpStatusCode.BadRequest, (await PutAsync($$"""{"excludedUsers":[{{Many(1001, i => $"\"{i}\"")}}]}""", "*")).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await PutAsync($$$"""{"trackingPlan":{"events":[{{{Many(501, i => $$"""{"name":"{{i}}"}""")}}}]}}""", "*")).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await PutAsync(
            $$$"""{"trackingPlan":{"events":[{"name":"a","properties":[{{{Many(101, i => $$"""{"name":"{{i}}","type":"string"}""")}}}]}]}}""", "*")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await PutAsync($$$"""
            {"excludedUsers":[{{{Many(1000, i => $"\"{i}\"")}}}],"excludedAddresses":[{{{Many(1000, i => $"\"10.0.{i / 250}.{i % 250}\"")}}}],
             "trackingPlan":{"events":[{{{Many(500, i => $$"""{"name":"{{i}}"}""")}}}]}}
            """, "*")).StatusCode);
    }

    private Task<HttpResponseMessage> PutAsync(string body, string? ifMatch) =>
        _client.SendJsonAsync(HttpMethod.Put, "/analytics/config", body, ifMatch is null ? [] : [("If-Match", ifMatch)]);
}
