using System.Text.Json;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Webhooks.Tests;

public sealed class WebhookCrashTests : IAsyncLifetime
{
    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("agency-webhook-host-");
    private TestDatabase _database = null!;
    private Receiver _receiver = null!;

    public async Task InitializeAsync()
    {
        _database = await TestDatabase.CreateAsync([.. new Platform.FunctionApps(WebhookHost.Apps).WithDomains()]);
        _receiver = await Receiver.StartAsync();
    }

    public async Task DisposeAsync()
    {
        await _receiver.DisposeAsync();
        await _database.DisposeAsync();
        _home.Delete(recursive: true);
    }

    [Fact]
    public async Task A_delivery_outlives_the_process_that_is_killed_while_sending_it()
    {
        var id = await RecordAsync();
        _receiver.Answer = http => Task.Delay(Timeout.Infinite, http.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
        using (var process = WebhookHost.StartProcess(_database, _home.FullName))
        {
            await HttpTesting.EventuallyAsync(() => Task.FromResult(_receiver.All.Count), count => count == 1);
            process.Kill();
            await process.WaitForExitAsync();
        }

        // What the dead one holds is free once its lease has run out, and no sooner.
        Assert.Equal(1, await _database.ScalarAsync<long>("select count(*) from platform.webhook_deliveries where status = 'pending' and lease_until > now()"));
        await _database.RunAsync("update platform.webhook_deliveries set lease_until = now() + interval '2 seconds'");
        _receiver.Answer = http => Receiver.Status(http, 204);
        await using var host = await StartAsync();
        using var client = host.Client(WebhookHost.Scopes);
        var delivery = await client.DeliveryAsync(id, "delivered");
        Assert.Equal(2, delivery.GetProperty("attempts").GetInt32());
        Assert.Equal(2, _receiver.All.Count);
        Assert.Single(_receiver.All.Select(r => r.Id).Distinct());
    }

    [Fact]
    public async Task An_event_is_queued_once_however_often_the_log_delivers_it()
    {
        var id = await RecordAsync();
        await using (var first = await StartAsync())
        {
            using var client = first.Client(WebhookHost.Scopes);
            await client.DeliveryAsync(id, "delivered");
        }

        // As after a crash before the offset was kept; and nobody remembers what was delivered.
        await _database.RunAsync("update embedded.consumer_offsets set position = 0; delete from platform.webhook_deliveries");
        await using var second = await StartAsync();
        using var again = second.Client(WebhookHost.Scopes);
        await again.CreateUserAsync("bob@example.com");
        var delivery = await again.DeliveryAsync(id, "delivered");
        Assert.Equal("delivered", delivery.GetProperty("status").GetString());
        Assert.Equal(
            ["ada@example.com", "bob@example.com"],
            _receiver.All.Select(r => JsonDocument.Parse(r.Body).RootElement.GetProperty("data").GetProperty("user").GetProperty("email").GetString()));
    }

    [Fact]
    public async Task A_host_that_stops_lets_the_attempt_end_that_is_under_way()
    {
        var id = await RecordAsync();
        _receiver.Answer = async http =>
        {
            await Task.Delay(700);
            await Receiver.Status(http, 204);
        };
        await using (await StartAsync())
            await HttpTesting.EventuallyAsync(() => Task.FromResult(_receiver.All.Count), count => count == 1);
        Assert.Equal("delivered", await _database.ScalarAsync<string>($"select status from platform.webhook_deliveries where webhook_id = '{id}'"));
    }

    private Task<TestHost> StartAsync() => TestHost.StartAsync(WebhookHost.Apps, _database, b => b.Services.AddSingleton(WebhookHost.Impatient));

    /// <summary>A webhook and an event, made by a process that delivers nothing.</summary>
    private async Task<string> RecordAsync()
    {
        await using var host = await TestHost.StartAsync(
            [typeof(PlatformFunctions.CreateWebhook).Assembly, typeof(Users.CreateUser).Assembly], _database, b => b.Services.AddSingleton(WebhookHost.Impatient));
        using var client = host.Client(WebhookHost.Scopes);
        var (id, _) = await client.SubscribeAsync(_receiver.Url, "*");
        await client.CreateUserAsync("ada@example.com");
        return id;
    }
}
