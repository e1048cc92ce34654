using System.Net;
using System.Text.RegularExpressions;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;

namespace Agency.EndToEnd.Tests;

/// <summary>One organisation's rows are out of another's reach, by every route that this build has.</summary>
public sealed partial class IsolationTests(Platform platform) : IClassFixture<Platform>, IAsyncLifetime
{
    private const string Purge = "0199c0de-0000-7000-8000-000000000001";
    private const string Owner = "owner-org";
    private const string Stranger = "stranger-org";

    // In every text of the owner's that an answer could show.
    private const string Mark = "Quetzalcoatl";

    private string _user = "";
    private string _deadLetter = "";
    private string _apiKey = "";
    private string _webhook = "";
    private string _delivery = "";

    private string Saga => "user-onboarding-" + _user;

    public async Task InitializeAsync()
    {
        using var owner = platform.Client(Owner);
        using var created = await owner.SendJsonAsync(
            HttpMethod.Post, "/users", $$"""{"email":"{{Mark}}@owner.example","name":"{{Mark}}","country":"GB","tags":["{{Mark}}"],"externalId":"{{Mark}}"}""", ("Idempotency-Key", Mark));
        _user = (await created.JsonAsync()).GetProperty("id").GetString()!;
        using var tracked = await owner.SendJsonAsync(HttpMethod.Post, "/events", $"[{Writers.OrderLine(Mark, 1).Replace("\"p1\"", $"\"{Mark}\"", StringComparison.Ordinal)}]");
        Assert.Equal(HttpStatusCode.OK, tracked.StatusCode);
        await platform.ExecuteAsync($$"""
            insert into platform.parked (tenant_id, group_name, topic, subject, event_id, type, headers, data, state, attempts, next_attempt_at, error)
            values ('{{Owner}}', 'ProjectUserGraph', 'agency.users', '{{Mark}}', '{{Guid.AllBitsSet}}', '{{Mark}}', '{}', '', 'dead', 5, now(), '{{Mark}}')
            on conflict do nothing
            """);
        _deadLetter = await platform.ScalarAsync<string>($"select id::text from platform.parked where tenant_id = '{Owner}'");
        using var key = await owner.SendJsonAsync(HttpMethod.Post, "/api-keys", $$"""{"name":"{{Mark}}","scopes":["users:read"]}""", ("Idempotency-Key", "key of " + Mark));
        _apiKey = (await key.JsonAsync()).GetProperty("apiKey").GetProperty("id").GetString()!;
        using var hook = await owner.SendJsonAsync(
            HttpMethod.Post, "/webhooks", $$"""{"url":"https://{{Mark}}.example/","eventTypes":["agency.users.*"],"enabled":false}""", ("Idempotency-Key", "hook of " + Mark));
        _webhook = hook.Headers.Location!.ToString().Split('/')[^1];
        await platform.ExecuteAsync($$"""
            insert into platform.webhook_deliveries (tenant_id, webhook_id, event_id, type, occurred_at, data, status, last_error)
            values ('{{Owner}}', '{{_webhook}}', '{{Guid.AllBitsSet}}', '{{Mark}}', now(), '{}', 'failed', '{{Mark}}')
            on conflict do nothing
            """);
        await platform.ExecuteAsync(
            $"insert into analytics.purges (tenant_id, id, of_person, event, finished_at) values ('{Owner}', '{Purge}', false, '{Mark}', now()) on conflict do nothing");
        _delivery = await platform.ScalarAsync<string>($"select id::text from platform.webhook_deliveries where tenant_id = '{Owner}'");
        await platform.CaughtUpAsync();
        await HttpTesting.EventuallyAsync(
            () => platform.ScalarAsync<bool>($"select exists (select from embedded.sagas where id = '{Saga}' and waiting_for is not null)"), waits => waits);
    }

    public Task DisposeAsync() => Task.CompletedTask;

    [Fact]
    public async Task Another_organisations_rows_cannot_be_read_or_changed_by_any_route()
    {
        using var owner = platform.Client(Owner);
        using var stranger = platform.Client(Stranger);
        var before = await SnapshotAsync();
        var (reachable, hidden) = (new List<string>(), new List<string>());
        foreach (var (method, route) in Functions.Of<HttpTriggerAttribute>()
            .SelectMany(f => f.Trigger.Methods!.Select(method => (Method: method.ToUpperInvariant(), f.Trigger.Route)))
            // Reads first, and what the owner can see is proof that the stranger asked for the right thing.
            .OrderBy(r => r.Method != "GET"))
        {
            if (PathOf(route!) is not { } path)
                continue;
            if (method == "GET")
            {
                using var seen = await owner.GetAsync(path);
                if (seen.IsSuccessStatusCode && (await seen.Content.ReadAsStringAsync()).Contains(Mark, StringComparison.OrdinalIgnoreCase))
                    reachable.Add(path);
            }

            using var answer = await stranger.SendJsonAsync(new(method), path, Body(route!), ("If-Match", "*"));
            var text = await answer.Content.ReadAsStringAsync();
            Assert.False(text.Contains(Mark, StringComparison.OrdinalIgnoreCase), $"{method} {path} answers {text}");
            Assert.NotEqual(HttpStatusCode.InternalServerError, answer.StatusCode);
            if (Parameter().IsMatch(route!))
            {
                Assert.True(answer.StatusCode == HttpStatusCode.NotFound, $"{method} {path} answers {(int)answer.StatusCode} {text}");
                hidden.Add($"{method} {route}");
            }
        }

        Assert.Equal(before, await SnapshotAsync());
        // The loop did meet the rows in question.
        Assert.Superset(
            new HashSet<string> { "/users", $"/users/{_user}", $"/users/search?q={Mark}", "/analytics/revenue?by=product", "/dead-letters", "/api-keys", "/webhooks", $"/webhooks/{_webhook}", $"/webhooks/{_webhook}/deliveries" }, reachable.ToHashSet());
        Assert.Superset(
            new HashSet<string>
            {
                "GET users/{id:guid}", "PUT users/{id:guid}", "DELETE users/{id:guid}", "GET users/{id:guid}/related",
                "GET sagas/{id}", "POST sagas/{id}/cancel", "POST sagas/{id}/signals/{name}",
                "POST dead-letters/{id:long}/redrive", "DELETE dead-letters/{id:long}", "DELETE api-keys/{id:guid}",
                "GET webhooks/{id:guid}", "PUT webhooks/{id:guid}", "DELETE webhooks/{id:guid}", "POST webhooks/{id:guid}/secret",
                "GET webhooks/{id:guid}/deliveries", "POST webhooks/{id:guid}/deliveries/{deliveryId:long}/redrive",
            },
            hidden.ToHashSet());
    }

    [Fact]
    public async Task Another_organisations_ids_keys_and_names_are_free_to_use_and_lead_nowhere()
    {
        using var stranger = platform.Client("borrower-org");
        // The same key, email and external id: a user of its own, not the owner's answer.
        using var created = await stranger.SendJsonAsync(
            HttpMethod.Post, "/users", $$"""{"email":"{{Mark}}@owner.example","name":"mine","externalId":"{{Mark}}"}""", ("Idempotency-Key", Mark));
        Assert.Equal((HttpStatusCode.Created, false), (created.StatusCode, created.Headers.Contains("Idempotency-Replayed")));
        var mine = (await created.JsonAsync()).GetProperty("id").GetString()!;
        Assert.NotEqual(_user, mine);

        // The same message id: no duplicate.
        using var tracked = await stranger.SendJsonAsync(HttpMethod.Post, "/events", $"[{Writers.OrderLine(Mark, 2)}]");
        Assert.Equal(1, (await tracked.JsonAsync()).GetProperty("accepted").GetInt32());

        // The owner's user brings nobody here.
        using var referred = await stranger.SendJsonAsync(
            HttpMethod.Post, "/users", $$"""{"email":"b@stranger.example","name":"b","referredBy":"{{_user}}"}""");
        Assert.Equal(HttpStatusCode.BadRequest, referred.StatusCode);

        // A cursor names a place in the list, not whose list.
        using var page = await stranger.GetAsync("/users");
        Assert.All((await page.JsonAsync()).EnumerateArray(), user => Assert.NotEqual(_user, user.GetProperty("id").GetString()));

        // A line of the same product in the same currency: the sums are the stranger's alone.
        await platform.CaughtUpAsync();
        using var revenue = await stranger.GetAsync("/analytics/revenue");
        Assert.Equal(1, (await revenue.JsonAsync()).GetProperty("totals").GetProperty("lines").GetInt64());
        using var removed = await stranger.SendJsonAsync(HttpMethod.Delete, $"/users/{mine}", "", ("If-Match", "*"));
        Assert.Equal(HttpStatusCode.NoContent, removed.StatusCode);
    }

    /// <summary>The route with the owner's ids in it; null when it is no route of the rows that were made here.</summary>
    private string? PathOf(string route) => route.Split('/')[0] switch
    {
        // A body of Clerk's is signed and names its organisation itself.
        _ when route == "webhooks/clerk" => null,
        "webhooks" => "/" + route.Replace("{id:guid}", _webhook, StringComparison.Ordinal).Replace("{deliveryId:long}", _delivery, StringComparison.Ordinal),
        "users" => "/" + route.Replace("{id:guid}", _user, StringComparison.Ordinal) + (route.EndsWith("search", StringComparison.Ordinal) ? $"?q={Mark}" : ""),
        "sagas" => "/" + route.Replace("{id}", Saga, StringComparison.Ordinal).Replace("{name}", "email-verified", StringComparison.Ordinal),
        "dead-letters" => "/" + route.Replace("{id:long}", _deadLetter, StringComparison.Ordinal),
        "api-keys" => "/" + route.Replace("{id:guid}", _apiKey, StringComparison.Ordinal),
        "audit" => "/" + route,
        "analytics" => "/" + route.Replace("{id:guid}", Purge, StringComparison.Ordinal) + route.Split('/')[1] switch
        {
            "revenue" => "?by=product",
            // A stream, and as short as it can be.
            "live" => "?seconds=1",
            _ => "",
        },
        "events" => "/" + route,
        _ => null,
    };

    private static string Body(string route) => route switch
    {
        "events" => $"[{Writers.OrderLine("mine", 3)}]",
        "api-keys" => """{"name":"mine","scopes":["users:read"]}""",
        _ when route.StartsWith("webhooks", StringComparison.Ordinal) => """{"url":"https://stranger.example/","eventTypes":["agency.users.*"],"enabled":false}""",
        _ when route.StartsWith("sagas", StringComparison.Ordinal) => "{}",
        _ => """{"email":"changed@stranger.example","name":"changed"}""",
    };

    private Task<string> SnapshotAsync() => platform.SnapshotAsync(Owner, "users", "analytics", "embedded", "platform");

    [GeneratedRegex(@"\{[^}]+\}")]
    private static partial Regex Parameter();
}
