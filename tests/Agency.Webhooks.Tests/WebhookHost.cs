using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Reflection;
using System.Text.Json;
using Agency.Hosting;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Agency.Worker;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Agency.Webhooks.Tests;

/// <summary>Every app that webhooks and the audit trail need, shared by the tests of a class; each test is an organisation of its own.</summary>
public sealed class WebhookHost : IAsyncLifetime
{
    public const string Scopes = "webhooks:read webhooks:write audit:read users:read users:write events:write platform:write";

    private int _organisations;

    public static IReadOnlyList<Assembly> Apps { get; } =
    [
        typeof(CreateWebhook).Assembly, typeof(ListWebhooks).Assembly, typeof(GetWebhook).Assembly, typeof(UpdateWebhook).Assembly,
        typeof(DeleteWebhook).Assembly, typeof(RotateWebhookSecret).Assembly, typeof(ListWebhookDeliveries).Assembly,
        typeof(RedriveWebhookDelivery).Assembly, typeof(QueueWebhookDeliveries).Assembly, typeof(DeliverWebhooks).Assembly,
        typeof(ListAudit).Assembly, typeof(RedriveDeadLetter).Assembly, typeof(Users.CreateUser).Assembly, typeof(Users.GetUser).Assembly,
        typeof(Users.ListUsers).Assembly, typeof(Users.UpdateUser).Assembly, typeof(Users.DeleteUser).Assembly, typeof(Analytics.TrackEvent).Assembly,
    ];

    /// <summary>Three retries a fifth of a second apart.</summary>
    public static WebhookOptions Impatient { get; } = new(true, TimeSpan.FromSeconds(5), [.. Enumerable.Repeat(TimeSpan.FromSeconds(0.2), 3)]);

    public TestHost Host { get; private set; } = null!;

    /// <summary>A worker of webhooks in a process of its own, which a test may kill.</summary>
    public static async Task Main(string[] args)
    {
        var builder = FunctionsApplication.CreateBuilder(args);
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        builder.Configuration["Logging:LogLevel:Default"] = "Critical";
        builder.UseFunctionApps(Apps);
        builder.AddAgency(Apps);
        builder.Services.AddSingleton(Impatient);
        await builder.Build().RunAsync();
    }

    public static Process StartProcess(TestDatabase database, string home)
    {
        var start = new ProcessStartInfo("dotnet", [typeof(WebhookHost).Assembly.Location]) { WorkingDirectory = home };
        start.Environment["AGENCY_HOME"] = home;
        start.Environment["ConnectionStrings__App"] = database.Settings.App;
        start.Environment["ConnectionStrings__System"] = database.Settings.System;
        start.Environment.Remove("AGENCY_POSTGRES");
        return Process.Start(start)!;
    }

    public async Task InitializeAsync() => Host = await TestHost.StartAsync(Apps, configure: b => b.Services.AddSingleton(Impatient));

    public async Task DisposeAsync() => await Host.DisposeAsync();

    public HttpClient NewOrganisation(string subject = "tester") => Host.Client(Scopes, NewOrganisationName(), subject);

    public string NewOrganisationName() => $"org-{Interlocked.Increment(ref _organisations)}";
}

internal static class WebhookHttp
{
    /// <returns>The new webhook and its secret.</returns>
    public static async Task<(string Id, string Secret)> SubscribeAsync(this HttpClient client, string url, params string[] eventTypes)
    {
        var json = $$"""{"url":{{JsonSerializer.Serialize(url)}},"eventTypes":{{JsonSerializer.Serialize(eventTypes)}}}""";
        var response = await client.SendJsonAsync(HttpMethod.Post, "/webhooks", json);
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync());
        var made = await response.JsonAsync();
        return (made.GetProperty("webhook").GetProperty("id").GetString()!, made.GetProperty("secret").GetString()!);
    }

    /// <returns>The new user's id.</returns>
    public static async Task<string> CreateUserAsync(this HttpClient client, string email)
    {
        var response = await client.SendJsonAsync(HttpMethod.Post, "/users", $$"""{"email":"{{email}}","name":"Ada"}""");
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return (await response.JsonAsync()).GetProperty("id").GetString()!;
    }

    public static async Task<JsonElement> GetJsonAsync(this HttpClient client, string path)
    {
        var response = await client.GetAsync(path);
        Assert.True(response.StatusCode == HttpStatusCode.OK, await response.Content.ReadAsStringAsync());
        return await response.JsonAsync();
    }

    public static async Task<JsonElement[]> ListAsync(this HttpClient client, string path) => [.. (await client.GetJsonAsync(path)).EnumerateArray()];

    public static Task<HttpResponseMessage> DeleteAsync(this HttpClient client, string path, string ifMatch)
    {
        var request = new HttpRequestMessage(HttpMethod.Delete, path);
        request.Headers.IfMatch.Add(ifMatch == "*" ? EntityTagHeaderValue.Any : new(ifMatch));
        return client.SendAsync(request);
    }

    /// <summary>The webhook's only delivery, once it has this status.</summary>
    public static async Task<JsonElement> DeliveryAsync(this HttpClient client, string webhook, string status) => (await HttpTesting.EventuallyAsync(
        () => client.ListAsync($"/webhooks/{webhook}/deliveries"), all => all is [var one] && one.GetProperty("status").GetString() == status)).Single();

    public static async Task<string> ProblemAsync(this Task<HttpResponseMessage> answer, HttpStatusCode status)
    {
        var response = await answer;
        Assert.True(response.StatusCode == status, $"{response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        return (await response.JsonAsync()).GetProperty("type").GetString()!["urn:agency:problem:".Length..];
    }
}
