using System.Net;
using System.Text.Json;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Webhooks.Tests;

public sealed class AuditTests(WebhookHost webhooks) : IClassFixture<WebhookHost>
{
    [Fact]
    public async Task Every_command_leaves_who_what_when_and_from_where()
    {
        using var client = webhooks.NewOrganisation("ada-the-admin");
        var user = await client.CreateUserAsync("ada@example.com");
        var update = await client.SendJsonAsync(HttpMethod.Put, $"/users/{user}", """{"email":"ada@example.org","name":"Ada"}""", ("If-Match", "*"));
        await client.DeleteAsync($"/users/{user}", "*");
        await client.SendJsonAsync(HttpMethod.Post, "/events", """{"messageId":"1","event":"signed-up","time":"2026-01-01T00:00:00Z","userId":"u"}""");
        var (webhook, _) = await client.SubscribeAsync("https://hooks.invalid/token-in-url?key=hidden", "*");
        await client.PostAsync($"/webhooks/{webhook}/secret", null);
        await client.DeleteAsync($"/webhooks/{webhook}", "*");

        var trail = await client.ListAsync("/audit");
        Assert.Equal(
            ["DeleteWebhook", "RotateWebhookSecret", "CreateWebhook", "TrackEvent", "DeleteUser", "UpdateUser", "CreateUser"],
            trail.Select(e => e.GetProperty("action").GetString()));
        Assert.All(trail, e => Assert.Equal("ada-the-admin", e.GetProperty("subject").GetString()));
        Assert.All(trail, e => Assert.Equal("127.0.0.1", e.GetProperty("remoteAddress").GetString()));
        Assert.All(trail, e => Assert.InRange(DateTimeOffset.UtcNow - e.GetProperty("at").GetDateTimeOffset(), TimeSpan.FromSeconds(-1), TimeSpan.FromMinutes(1)));
        var updated = trail[5];
        Assert.Equal(update.Headers.GetValues("X-Trace-Id").Single(), updated.GetProperty("traceId").GetString());
        Assert.Equal("PUT", updated.GetProperty("method").GetString());
        Assert.Equal($"/users/{user}", updated.GetProperty("path").GetString());
        Assert.Equal([user], updated.GetProperty("subjects").EnumerateArray().Select(s => s.GetString()));
        Assert.Equal(["agency.users.user-updated.v1"], updated.GetProperty("eventTypes").EnumerateArray().Select(s => s.GetString()));
        Assert.Equal(200, updated.GetProperty("status").GetInt32());
        // What records no event is named by the location of what was made.
        Assert.Equal([webhook], trail[2].GetProperty("subjects").EnumerateArray().Select(s => s.GetString()));
        var everything = JsonSerializer.Serialize(trail);
        foreach (var secret in (string[])["example.com", "example.org", "whsec_", "token-in-url", "hidden"])
            Assert.DoesNotContain(secret, everything, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_changes_nothing_leaves_nothing()
    {
        using var client = webhooks.NewOrganisation();
        const string Body = """{"email":"ada@example.com","name":"Ada"}""";
        var created = await client.SendJsonAsync(HttpMethod.Post, "/users", Body, ("Idempotency-Key", "k"));
        var user = (await created.JsonAsync()).GetProperty("id").GetString();
        Assert.Single(await client.ListAsync("/audit"));

        // Reads, a replay, and refusals: by a thrown problem, an answered one, a constraint, and before the command begins.
        await client.GetAsync($"/users/{user}");
        await client.GetAsync("/users");
        Assert.Equal(HttpStatusCode.Created, (await client.SendJsonAsync(HttpMethod.Post, "/users", Body, ("Idempotency-Key", "k"))).StatusCode);
        Assert.Equal((HttpStatusCode)422, (await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"b@example.com","name":"B"}""", ("Idempotency-Key", "k"))).StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await client.DeleteAsync($"/users/{user}", "\"7\"")).StatusCode);
        Assert.Equal(HttpStatusCode.Conflict, (await client.SendJsonAsync(HttpMethod.Post, "/users", Body)).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await client.SendJsonAsync(HttpMethod.Post, "/users", "{}")).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await client.PostAsync("/dead-letters/1/redrive", null)).StatusCode);
        Assert.Single(await client.ListAsync("/audit"));
    }

    [Fact]
    public async Task The_trail_is_filtered_and_paged_newest_first_and_each_organisation_sees_its_own()
    {
        var organisation = webhooks.NewOrganisationName();
        using var ada = webhooks.Host.Client(WebhookHost.Scopes, organisation, "ada");
        using var bob = webhooks.Host.Client(WebhookHost.Scopes, organisation, "bob");
        using var stranger = webhooks.NewOrganisation();
        for (var i = 0; i < 3; i++)
            await ada.CreateUserAsync($"a{i}@example.com");
        var middle = DateTime.UtcNow;
        await Task.Delay(20);
        var (hook, _) = await bob.SubscribeAsync("https://hooks.invalid/a", "*");
        await bob.CreateUserAsync("b@example.com");

        Assert.Equal(5, (await ada.ListAsync("/audit")).Length);
        Assert.Equal(2, (await ada.ListAsync("/audit?subject=bob")).Length);
        Assert.Single(await ada.ListAsync("/audit?subject=bob&action=CreateUser"));
        Assert.Equal(2, (await ada.ListAsync($"/audit?from={middle:O}")).Length);
        Assert.Equal(3, (await ada.ListAsync($"/audit?to={middle:O}")).Length);
        Assert.Empty(await stranger.ListAsync("/audit"));
        Assert.Equal(HttpStatusCode.BadRequest, (await ada.GetAsync("/audit?who=bob")).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await ada.GetAsync("/audit?cursor=!!")).StatusCode);

        var walked = new List<long>();
        for (string? path = "/audit?limit=2"; path is not null;)
        {
            var page = await ada.GetAsync(path);
            walked.AddRange((await page.JsonAsync()).EnumerateArray().Select(e => e.GetProperty("id").GetInt64()));
            path = page.Headers.TryGetValues("Link", out var link) ? link.Single()[1..link.Single().IndexOf('>', StringComparison.Ordinal)] : null;
        }

        Assert.Equal((await ada.ListAsync("/audit")).Select(e => e.GetProperty("id").GetInt64()), walked);
        Assert.Equal(walked.OrderDescending(), walked);
    }

    [Theory]
    [InlineData("update platform.audit set subject = 'somebody else'")]
    [InlineData("delete from platform.audit")]
    [InlineData("truncate platform.audit")]
    public async Task Nobody_changes_the_trail_not_even_its_owner(string statement)
    {
        using var client = webhooks.NewOrganisation();
        await client.CreateUserAsync("ada@example.com");
        var before = await webhooks.Host.Database.ScalarAsync<long>("select count(*) from platform.audit");
        var database = webhooks.Host.Services.GetRequiredService<Database>();
        await RefusedAsync(database.App, statement);
        await RefusedAsync(database.System, statement);
        await using var owner = NpgsqlDataSource.Create(webhooks.Host.Database.Settings.Admin);
        await RefusedAsync(owner, statement);
        await RefusedAsync(owner, "set session_replication_role = replica; " + statement);
        // Nor when the grants were given by mistake.
        Assert.Equal(0, await webhooks.Host.Database.ScalarAsync<long>(
            "select count(*) from information_schema.role_table_grants where table_schema = 'platform' and table_name = 'audit' and privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE') and grantee <> current_user"));
        Assert.Equal(before, await webhooks.Host.Database.ScalarAsync<long>("select count(*) from platform.audit"));

        static async Task RefusedAsync(NpgsqlDataSource source, string sql)
        {
            await using var command = source.CreateCommand(sql);
            var refused = await Assert.ThrowsAsync<PostgresException>(() => command.ExecuteNonQueryAsync());
            Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
        }
    }
}
