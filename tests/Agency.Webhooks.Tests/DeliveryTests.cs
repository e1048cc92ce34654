using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Webhooks.Tests;

public sealed class DeliveryTests(WebhookHost webhooks) : IClassFixture<WebhookHost>, IAsyncLifetime
{
    private readonly HttpClient _client = webhooks.NewOrganisation();
    private Receiver _receiver = null!;

    public async Task InitializeAsync() => _receiver = await Receiver.StartAsync();

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _receiver.DisposeAsync();
    }

    [Fact]
    public async Task An_event_arrives_once_and_signed_so_that_anybody_can_verify_it()
    {
        var (id, secret) = await _client.SubscribeAsync(_receiver.Url, "agency.users.*");
        var user = await _client.CreateUserAsync("ada@example.com");
        await _client.DeliveryAsync(id, "delivered");
        var received = Assert.Single(_receiver.All);

        Assert.Equal(Hmac(secret, received), received.Signature);
        Assert.InRange(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - long.Parse(received.Timestamp, System.Globalization.CultureInfo.InvariantCulture), 0, 30);
        Assert.Equal("application/json", received.ContentType);
        var body = JsonDocument.Parse(received.Body).RootElement;
        Assert.Equal(["type", "timestamp", "data"], body.EnumerateObject().Select(p => p.Name));
        Assert.Equal("agency.users.user-created.v1", body.GetProperty("type").GetString());
        Assert.InRange(DateTime.UtcNow - body.GetProperty("timestamp").GetDateTime(), TimeSpan.Zero, TimeSpan.FromMinutes(1));
        Assert.Equal(user, body.GetProperty("data").GetProperty("user").GetProperty("id").GetString());
        Assert.Equal(
            received.Id, await webhooks.Host.Database.ScalarAsync<string>($"select event_id::text from platform.events where subject = '{user}'"));
    }

    [Fact]
    public async Task What_has_been_redacted_since_it_was_read_is_not_queued()
    {
        var (id, _) = await _client.SubscribeAsync(_receiver.Url, "agency.users.*");
        var user = await _client.CreateUserAsync("ada@example.com");
        await _client.DeliveryAsync(id, "delivered");
        var record = (await webhooks.Host.LogAsync()).Single(r => CloudEvent.From(r).Subject == user);
        var ofEvent = $"event_id = '{CloudEvent.From(record).Id}'";
        await webhooks.Host.Database.RunAsync($"""
            update platform.events set data = json_build_object('user', null) where {ofEvent};
            delete from platform.webhook_deliveries where {ofEvent};
            delete from platform.inbox where group_name = '{nameof(QueueWebhookDeliveries)}' and {ofEvent};
            """);
        await using (var scope = webhooks.Host.Services.CreateAsyncScope())
            await ActivatorUtilities.CreateInstance<QueueWebhookDeliveries>(scope.ServiceProvider).Run([record], CancellationToken.None);
        Assert.Equal("""{"user" : null}""", await webhooks.Host.Database.ScalarAsync<string>($"select data::text from platform.webhook_deliveries where {ofEvent}"));
    }

    [Fact]
    public async Task A_failed_delivery_is_sent_again_under_the_same_id_until_it_succeeds()
    {
        var answers = new Queue<int>([500, 302, 204]);
        _receiver.Answer = http =>
        {
            http.Response.Headers.Location = $"{_receiver.Url}/elsewhere";
            return Receiver.Status(http, answers.Dequeue());
        };
        var (id, secret) = await _client.SubscribeAsync(_receiver.Url, "*");
        await _client.CreateUserAsync("ada@example.com");
        var delivery = await _client.DeliveryAsync(id, "delivered");
        Assert.Equal(3, delivery.GetProperty("attempts").GetInt32());
        Assert.Equal(204, delivery.GetProperty("lastStatus").GetInt32());
        Assert.Equal(JsonValueKind.Null, delivery.GetProperty("nextAttemptAt").ValueKind);
        Assert.Single(_receiver.All.Select(r => r.Id).Distinct());
        // The redirect was a failure; nobody went where it points.
        Assert.All(_receiver.All, r => Assert.Equal("/hook", r.Path));
        Assert.All(_receiver.All, r => Assert.Equal(Hmac(secret, r), r.Signature));
    }

    [Fact]
    public async Task A_delivery_that_keeps_failing_ends_and_can_be_redriven()
    {
        _receiver.Answer = http => Receiver.Status(http, 503);
        var (id, _) = await _client.SubscribeAsync(_receiver.Url, "agency.users.user-created.v1");
        await _client.CreateUserAsync("ada@example.com");
        var failed = await _client.DeliveryAsync(id, "failed");
        Assert.Equal(4, failed.GetProperty("attempts").GetInt32());
        Assert.Equal(503, failed.GetProperty("lastStatus").GetInt32());
        Assert.Equal("It answered 503.", failed.GetProperty("lastError").GetString());

        _receiver.Answer = http => Receiver.Status(http, 200);
        var redrive = await _client.PostAsync($"/webhooks/{id}/deliveries/{failed.GetProperty("id")}/redrive", null);
        Assert.Equal(HttpStatusCode.Accepted, redrive.StatusCode);
        var delivered = await _client.DeliveryAsync(id, "delivered");
        Assert.Equal(5, delivered.GetProperty("attempts").GetInt32());
        Assert.Equal(JsonValueKind.Null, delivered.GetProperty("lastError").ValueKind);
        Assert.Empty(await _client.ListAsync($"/webhooks/{id}/deliveries?status=failed"));
    }

    [Fact]
    public async Task A_delivery_that_cannot_be_made_at_all_fails_like_any_other()
    {
        var (id, _) = await _client.SubscribeAsync(_receiver.Url, "agency.users.user-created.v1");
        // A scheme that no webhook is taken with and no client can send to.
        await webhooks.Host.Database.RunAsync($"update platform.webhooks set url = 'ftp://hooks.invalid/' where id = '{id}'");
        await _client.CreateUserAsync("ada@example.com");
        var failed = await _client.DeliveryAsync(id, "failed");
        Assert.Equal(4, failed.GetProperty("attempts").GetInt32());
        Assert.Equal("It could not be sent: NotSupportedException.", failed.GetProperty("lastError").GetString());
    }

    [Fact]
    public async Task A_receiver_that_answers_gone_is_left_alone_until_the_webhook_is_enabled_again()
    {
        _receiver.Answer = http => Receiver.Status(http, 410);
        var (id, _) = await _client.SubscribeAsync(_receiver.Url, "*");
        await _client.CreateUserAsync("ada@example.com");
        var failed = await _client.DeliveryAsync(id, "failed");
        var webhook = await _client.GetJsonAsync($"/webhooks/{id}");
        Assert.False(webhook.GetProperty("enabled").GetBoolean());
        Assert.Equal("The receiver answered 410 Gone.", webhook.GetProperty("disabledReason").GetString());
        Assert.Equal(2, webhook.GetProperty("version").GetInt64());
        var redrive = $"/webhooks/{id}/deliveries/{failed.GetProperty("id")}/redrive";
        Assert.Equal("webhook-disabled", await _client.PostAsync(redrive, null).ProblemAsync(HttpStatusCode.Conflict));

        // What happens meanwhile is not for it.
        await _client.CreateUserAsync("bob@example.com");
        await HandledAsync();
        Assert.Single(_receiver.All);

        _receiver.Answer = http => Receiver.Status(http, 204);
        var enabled = await _client.SendJsonAsync(HttpMethod.Put, $"/webhooks/{id}", $$"""{"url":"{{_receiver.Url}}","eventTypes":["*"],"enabled":true}""", ("If-Match", "\"2\""));
        Assert.Equal(JsonValueKind.Null, (await enabled.JsonAsync()).GetProperty("disabledReason").ValueKind);
        Assert.Equal(HttpStatusCode.Accepted, (await _client.PostAsync(redrive, null)).StatusCode);
        await _client.DeliveryAsync(id, "delivered");
        Assert.Equal(2, _receiver.All.Count);
    }

    [Fact]
    public async Task A_receiver_that_hangs_keeps_no_other_waiting()
    {
        // Longer than this test waits for anything.
        await using var host = await TestHost.StartAsync(
            WebhookHost.Apps, configure: b => b.Services.AddSingleton(WebhookHost.Impatient with { Timeout = TimeSpan.FromMinutes(2) }));
        using var client = host.Client(WebhookHost.Scopes);
        await using var slow = await Receiver.StartAsync();
        var end = new TaskCompletionSource();
        slow.Answer = _ => end.Task;
        await client.SubscribeAsync(slow.Url, "*");
        for (var i = 0; i < 20; i++)
            await client.CreateUserAsync($"slow{i}@example.com");
        await HttpTesting.EventuallyAsync(() => Task.FromResult(slow.All.Count), count => count == 4);
        var (prompt, _) = await client.SubscribeAsync(_receiver.Url, "agency.users.user-deleted.v1");
        await client.DeleteAsync($"/users/{await client.CreateUserAsync("prompt@example.com")}", "*");
        await client.DeliveryAsync(prompt, "delivered");
        Assert.Equal(4, slow.All.Count);
        end.SetResult();
    }

    [Fact]
    public async Task A_webhook_gets_the_events_of_its_types_and_organisation_only()
    {
        using var stranger = webhooks.NewOrganisation();
        var (all, _) = await _client.SubscribeAsync(_receiver.Url + "/all", "agency.users.*", "agency.analytics.event-tracked.v1");
        var (deleted, _) = await _client.SubscribeAsync(_receiver.Url + "/deleted", "agency.users.user-deleted.v1");
        await stranger.SubscribeAsync(_receiver.Url + "/stranger", "*");
        var user = await _client.CreateUserAsync("ada@example.com");
        await _client.DeleteAsync($"/users/{user}", "*");
        await _client.SendJsonAsync(HttpMethod.Post, "/events", """{"messageId":"1","event":"signed-up","time":"2026-01-01T00:00:00Z","userId":"u"}""");
        await HttpTesting.EventuallyAsync(() => Task.FromResult(_receiver.All.Count), count => count == 4);
        await HandledAsync();
        Assert.Equal(
            ["/hook/all agency.analytics.event-tracked.v1", "/hook/all agency.users.user-created.v1", "/hook/all agency.users.user-deleted.v1", "/hook/deleted agency.users.user-deleted.v1"],
            _receiver.All.Select(r => $"{r.Path} {JsonDocument.Parse(r.Body).RootElement.GetProperty("type")}").Order(StringComparer.Ordinal));
        Assert.Equal(3, (await _client.ListAsync($"/webhooks/{all}/deliveries")).Length);
        Assert.Single(await _client.ListAsync($"/webhooks/{deleted}/deliveries"));
    }

    [Fact]
    public async Task Deliveries_are_listed_newest_first_in_pages()
    {
        var (id, _) = await _client.SubscribeAsync(_receiver.Url, "*");
        for (var i = 0; i < 5; i++)
            await _client.CreateUserAsync($"user{i}@example.com");
        var all = await HttpTesting.EventuallyAsync(() => _client.ListAsync($"/webhooks/{id}/deliveries"), found => found.Length == 5);
        var ids = all.Select(d => d.GetProperty("id").GetInt64()).ToArray();
        Assert.Equal(ids.OrderDescending(), ids);
        var walked = new List<long>();
        for (string? path = $"/webhooks/{id}/deliveries?limit=2"; path is not null;)
        {
            var page = await _client.GetAsync(path);
            walked.AddRange((await page.JsonAsync()).EnumerateArray().Select(d => d.GetProperty("id").GetInt64()));
            path = page.Headers.TryGetValues("Link", out var link) ? link.Single()[1..link.Single().IndexOf('>', StringComparison.Ordinal)] : null;
        }

        Assert.Equal(ids, walked);
    }

    [Fact]
    public async Task After_a_rotation_both_secrets_verify()
    {
        var (id, old) = await _client.SubscribeAsync(_receiver.Url, "*");
        var rotated = await _client.PostAsync($"/webhooks/{id}/secret", null);
        Assert.Equal(HttpStatusCode.Created, rotated.StatusCode);
        var secret = (await rotated.JsonAsync()).GetProperty("secret").GetString()!;
        Assert.NotEqual(old, secret);
        await _client.CreateUserAsync("ada@example.com");
        await _client.DeliveryAsync(id, "delivered");
        var received = Assert.Single(_receiver.All);
        Assert.Equal($"{Hmac(secret, received)} {Hmac(old, received)}", received.Signature);
    }

    [Theory]
    [InlineData(1, 5)]
    [InlineData(2, 300)]
    [InlineData(5, 18000)]
    [InlineData(9, 86400)]
    public void Retries_wait_longer_each_time_and_a_little_by_chance(int tries, int seconds)
    {
        Assert.Equal(TimeSpan.FromSeconds(seconds), WebhookOptions.Default.DelayAfter(tries, 0));
        Assert.Equal(TimeSpan.FromSeconds(seconds * 1.2), WebhookOptions.Default.DelayAfter(tries, 1));
    }

    [Fact]
    public void The_tenth_failure_is_the_last() => Assert.Null(WebhookOptions.Default.DelayAfter(10, 0));

    /// <summary>Computed from the specification alone: not by what signs.</summary>
    internal static string Hmac(string secret, Received received)
    {
        Assert.StartsWith("whsec_", secret, StringComparison.Ordinal);
        var key = Convert.FromBase64String(secret["whsec_".Length..]);
        Assert.InRange(key.Length, 24, 64);
        byte[] signed = [.. Encoding.UTF8.GetBytes($"{received.Id}.{received.Timestamp}."), .. received.Body];
        return "v1," + Convert.ToBase64String(HMACSHA256.HashData(key, signed));
    }

    /// <summary>Until the consumer has seen all that has been recorded.</summary>
    private async Task HandledAsync()
    {
        var events = await webhooks.Host.Database.ScalarAsync<long>("select count(*) from platform.events");
        await HttpTesting.EventuallyAsync(
            () => webhooks.Host.Database.ScalarAsync<long>("select count(*) from platform.inbox where group_name = 'QueueWebhookDeliveries'"), n => n >= events);
    }
}
