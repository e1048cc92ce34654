using System.Net;
using System.Text.Json;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Webhooks.Tests;

public sealed class WebhookRoutesTests(WebhookHost webhooks) : IClassFixture<WebhookHost>
{
    private const string Url = "https://hooks.invalid/a";

    [Fact]
    public async Task A_webhook_can_be_made_read_changed_and_deleted()
    {
        using var client = webhooks.NewOrganisation();
        var (id, _) = await client.SubscribeAsync(Url, "agency.users.*");
        var made = await client.GetAsync($"/webhooks/{id}");
        Assert.Equal("\"1\"", made.Headers.ETag?.Tag);
        Assert.True((await made.JsonAsync()).GetProperty("enabled").GetBoolean());

        var body = """{"url":"https://hooks.invalid/b","eventTypes":["*"],"enabled":false}""";
        Assert.Equal("precondition-required", await client.SendJsonAsync(HttpMethod.Put, $"/webhooks/{id}", body).ProblemAsync((HttpStatusCode)428));
        Assert.Equal("precondition-failed", await client.SendJsonAsync(HttpMethod.Put, $"/webhooks/{id}", body, ("If-Match", "\"2\"")).ProblemAsync((HttpStatusCode)412));
        var changed = await client.SendJsonAsync(HttpMethod.Put, $"/webhooks/{id}", body, ("If-Match", "\"1\""));
        Assert.Equal("\"2\"", changed.Headers.ETag?.Tag);
        var listed = Assert.Single(await client.ListAsync("/webhooks"));
        Assert.Equal("https://hooks.invalid/b", listed.GetProperty("url").GetString());
        Assert.False(listed.GetProperty("enabled").GetBoolean());

        Assert.Equal("precondition-failed", await client.DeleteAsync($"/webhooks/{id}", "\"1\"").ProblemAsync((HttpStatusCode)412));
        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync($"/webhooks/{id}", "\"2\"")).StatusCode);
        Assert.Equal("not-found", await client.GetAsync($"/webhooks/{id}").ProblemAsync(HttpStatusCode.NotFound));
        Assert.Empty(await client.ListAsync("/webhooks"));
    }

    [Fact]
    public async Task A_secret_is_shown_once_and_not_stored_for_a_replay()
    {
        using var client = webhooks.NewOrganisation();
        var body = $$"""{"url":"{{Url}}","eventTypes":["*"]}""";
        var first = await (await client.SendJsonAsync(HttpMethod.Post, "/webhooks", body, ("Idempotency-Key", "k"))).JsonAsync();
        var again = await client.SendJsonAsync(HttpMethod.Post, "/webhooks", body, ("Idempotency-Key", "k"));
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
        var replayed = await again.JsonAsync();
        var id = first.GetProperty("webhook").GetProperty("id").GetString();
        Assert.Equal(id, replayed.GetProperty("webhook").GetProperty("id").GetString());
        Assert.Equal(JsonValueKind.Null, replayed.GetProperty("secret").ValueKind);
        Assert.StartsWith("whsec_", first.GetProperty("secret").GetString(), StringComparison.Ordinal);
        Assert.DoesNotContain("whsec_", (await client.GetJsonAsync("/webhooks")).ToString() + await client.GetJsonAsync($"/webhooks/{id}"), StringComparison.Ordinal);
        Assert.Equal(0, await webhooks.Host.Database.ScalarAsync<long>(
            "select count(*) from platform.idempotency where convert_from(body, 'UTF8') like '%whsec%'"));
    }

    [Fact]
    public async Task Another_organisation_cannot_read_a_secret_even_from_the_table()
    {
        var owner = webhooks.NewOrganisationName();
        using var client = webhooks.Host.Client(WebhookHost.Scopes, owner);
        await client.SubscribeAsync(Url, "*");
        Assert.Equal(1, await SecretsAsync(owner));
        Assert.Equal(0, await SecretsAsync(webhooks.NewOrganisationName()));

        async Task<long> SecretsAsync(string organisation)
        {
            await using var scope = webhooks.Host.Services.CreateAsyncScope();
            scope.ServiceProvider.GetRequiredService<Caller>().Become(organisation, "tester");
            return await scope.ServiceProvider.GetRequiredService<UnitOfWork>().QueryFirstAsync(
                $"select count(secret) from platform.webhooks", row => row.GetInt64(0), CancellationToken.None);
        }
    }

    [Theory]
    [InlineData("""{"url":"https://hooks.invalid/a","eventTypes":[]}""", "eventTypes")]
    [InlineData("""{"url":"https://hooks.invalid/a","eventTypes":["agency.user.*"]}""", "eventTypes")]
    [InlineData("""{"url":"https://hooks.invalid/a","eventTypes":["agency.users.user-created"]}""", "eventTypes")]
    [InlineData("""{"url":"https://hooks.invalid/a","eventTypes":["agency.users*"]}""", "eventTypes")]
    [InlineData("""{"url":"https://hooks.invalid/a","eventTypes":[null]}""", "eventTypes")]
    [InlineData("""{"url":"https://hooks.invalid/a","eventTypes":["\u0000"]}""", "eventTypes")]
    [InlineData("""{"url":"ftp://hooks.invalid/a","eventTypes":["*"]}""", "url")]
    [InlineData("""{"url":"https://a:b@hooks.invalid/a","eventTypes":["*"]}""", "url")]
    public async Task What_does_not_fit_is_refused_by_field(string body, string field)
    {
        using var client = webhooks.NewOrganisation();
        var answer = await client.SendJsonAsync(HttpMethod.Post, "/webhooks", body);
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Equal([field], (await answer.JsonAsync()).GetProperty("errors").EnumerateObject().Select(e => e.Name));
        Assert.Empty(await client.ListAsync("/webhooks"));
    }

    [Fact]
    public async Task What_a_webhook_has_is_checked_again_only_when_it_is_enabled()
    {
        using var client = webhooks.NewOrganisation();
        var (id, _) = await client.SubscribeAsync(Url, "*");
        // As if the rules had changed since.
        await webhooks.Host.Database.RunAsync($"update platform.webhooks set url = 'ftp://hooks.invalid/', event_types = '{{agency.gone.*}}' where id = '{id}'");
        Assert.Equal(HttpStatusCode.OK, (await PutAsync("ftp://hooks.invalid/", "agency.gone.*", false)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await PutAsync("ftp://hooks.invalid/", "agency.users.*", false)).StatusCode);
        Assert.Equal("validation", await PutAsync("ftp://hooks.invalid/b", "agency.users.*", false).ProblemAsync(HttpStatusCode.BadRequest));
        Assert.Equal("validation", await PutAsync("ftp://hooks.invalid/", "agency.users.*", true).ProblemAsync(HttpStatusCode.BadRequest));
        Assert.Equal(HttpStatusCode.OK, (await PutAsync(Url, "agency.users.*", true)).StatusCode);
        Assert.Equal("validation", await PutAsync(Url, "agency.gone.*", true).ProblemAsync(HttpStatusCode.BadRequest));

        async Task<HttpResponseMessage> PutAsync(string url, string type, bool enabled) => await client.SendJsonAsync(
            HttpMethod.Put, $"/webhooks/{id}", $$"""{"url":"{{url}}","eventTypes":["{{type}}"],"enabled":{{(enabled ? "true" : "false")}}}""", ("If-Match", "*"));
    }

    [Fact]
    public async Task A_replay_is_answered_whatever_has_become_of_what_the_request_asked_for()
    {
        await using var database = await TestDatabase.CreateAsync([.. new FunctionApps(WebhookHost.Apps).WithDomains()]);
        var body = """{"url":"http://hooks.invalid/","eventTypes":["*"]}""";
        await using (var open = await TestHost.StartAsync(WebhookHost.Apps, database, settings: ("Webhooks:AllowPrivateTargets", "true")))
        using (var client = open.Client(WebhookHost.Scopes))
            Assert.Equal(HttpStatusCode.Created, (await client.SendJsonAsync(HttpMethod.Post, "/webhooks", body, ("Idempotency-Key", "k"))).StatusCode);
        await using var closed = await TestHost.StartAsync(WebhookHost.Apps, database);
        using var again = closed.Client(WebhookHost.Scopes);
        Assert.Equal("validation", await again.SendJsonAsync(HttpMethod.Post, "/webhooks", body, ("Idempotency-Key", "other")).ProblemAsync(HttpStatusCode.BadRequest));
        var replay = await again.SendJsonAsync(HttpMethod.Post, "/webhooks", body, ("Idempotency-Key", "k"));
        Assert.Equal(HttpStatusCode.Created, replay.StatusCode);
        Assert.Equal("true", replay.Headers.GetValues("Idempotency-Replayed").Single());
    }

    [Fact]
    public async Task An_organisation_has_a_limited_number_of_webhooks()
    {
        using var client = webhooks.NewOrganisation();
        var first = await client.SubscribeAsync(Url, "agency.users.user-deleted.v1");
        for (var i = 2; i < PlatformFunctions.CreateWebhook.Most; i++)
            await client.SubscribeAsync(Url, "agency.users.user-deleted.v1");
        // Of several at once one is the last.
        var statuses = (await Task.WhenAll(Enumerable.Range(0, 8).Select(i => AskAsync($"k{i}")))).Select(answer => answer.StatusCode).ToList();
        Assert.Single(statuses, HttpStatusCode.Created);
        Assert.Equal(7, statuses.Count(s => s == HttpStatusCode.Conflict));
        Assert.Equal(PlatformFunctions.CreateWebhook.Most, (await client.ListAsync("/webhooks?limit=200")).Length);

        // A refusal is not kept under the key: the same request is taken once there is room.
        Assert.Equal("too-many-webhooks", await AskAsync("again").ProblemAsync(HttpStatusCode.Conflict));
        await client.DeleteAsync($"/webhooks/{first.Id}", "*");
        Assert.Equal(HttpStatusCode.Created, (await AskAsync("again")).StatusCode);

        async Task<HttpResponseMessage> AskAsync(string key) =>
            await client.SendJsonAsync(HttpMethod.Post, "/webhooks", $$"""{"url":"{{Url}}","eventTypes":["*"]}""", ("Idempotency-Key", key));
    }

    [Fact]
    public async Task No_route_shows_or_changes_another_organisations_webhook()
    {
        await using var receiver = await Receiver.StartAsync();
        using var owner = webhooks.NewOrganisation();
        using var stranger = webhooks.NewOrganisation();
        var (id, _) = await owner.SubscribeAsync(receiver.Url, "*");
        await owner.CreateUserAsync("ada@example.com");
        var delivery = (await owner.DeliveryAsync(id, "delivered")).GetProperty("id").GetInt64();
        var body = $$"""{"url":"{{Url}}","eventTypes":["*"],"enabled":true}""";
        Assert.Empty(await stranger.ListAsync("/webhooks"));
        Assert.Equal("not-found", await stranger.GetAsync($"/webhooks/{id}").ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("not-found", await stranger.SendJsonAsync(HttpMethod.Put, $"/webhooks/{id}", body, ("If-Match", "*")).ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("not-found", await stranger.DeleteAsync($"/webhooks/{id}", "*").ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("not-found", await stranger.PostAsync($"/webhooks/{id}/secret", null).ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("not-found", await stranger.GetAsync($"/webhooks/{id}/deliveries").ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("not-found", await stranger.PostAsync($"/webhooks/{id}/deliveries/{delivery}/redrive", null).ProblemAsync(HttpStatusCode.NotFound));
        // Nor does a delivery answer under a webhook that is the caller's own.
        var (own, _) = await stranger.SubscribeAsync(Url, "*");
        Assert.Equal("not-found", await stranger.PostAsync($"/webhooks/{own}/deliveries/{delivery}/redrive", null).ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("\"1\"", (await owner.GetAsync($"/webhooks/{id}")).Headers.ETag?.Tag);
        Assert.Single(receiver.All);
    }

    [Theory]
    [InlineData("GET", "/webhooks", "webhooks:write")]
    [InlineData("POST", "/webhooks", "webhooks:read")]
    [InlineData("GET", "/audit", "webhooks:read")]
    public async Task A_route_needs_its_own_scope(string method, string path, string scope)
    {
        using var client = webhooks.Host.Client(scope);
        Assert.Equal("forbidden", await client.SendAsync(new(new(method), path)).ProblemAsync(HttpStatusCode.Forbidden));
    }
}
