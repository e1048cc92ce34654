using System.Net.Http.Headers;
using System.Reflection;
using System.Text;
using System.Text.Json;
using Agency.Hosting;
using Agency.Platform;
using Agency.Worker;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Npgsql;

namespace Agency.Testing;

/// <summary>Function apps in this process, on a real Kestrel and a <see cref="TestDatabase"/> of their own.</summary>
public sealed class TestHost : IAsyncDisposable
{
    private readonly IHost _host;
    private readonly string _home;
    private readonly LocalIssuer _issuer;
    private readonly bool _ownsDatabase;

    private TestHost(IHost host, TestDatabase database, string home, bool ownsDatabase)
    {
        _host = host;
        _home = home;
        _ownsDatabase = ownsDatabase;
        Database = database;
        _issuer = host.Services.GetRequiredService<LocalIssuer>();
        Address = new Uri(host.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
    }

    public TestDatabase Database { get; }

    public Uri Address { get; }

    public IServiceProvider Services => _host.Services;

    /// <param name="apps">Any type of each app; its assembly is what counts.</param>
    /// <param name="database">An existing database, which then outlives the host; a new one when null.</param>
    /// <param name="configure">Last word on services.</param>
    /// <param name="settings">Configuration that the composition root reads.</param>
    public static async Task<TestHost> StartAsync(
        IReadOnlyList<Assembly> apps,
        TestDatabase? database = null,
        Action<FunctionsApplicationBuilder>? configure = null,
        params IReadOnlyList<(string Name, string Value)> settings)
    {
        var owns = database is null;
        database ??= await TestDatabase.CreateAsync([.. new FunctionApps(apps).WithDomains()]);
        var home = Directory.CreateTempSubdirectory("agency-test-").FullName;
        var builder = FunctionsApplication.CreateBuilder([]);
        builder.Configuration["AGENCY_HOME"] = home;
        builder.Configuration["ConnectionStrings:App"] = database.Settings.App;
        builder.Configuration["ConnectionStrings:System"] = database.Settings.System;
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        builder.Configuration["Logging:LogLevel:Default"] = "Critical";
        // Tests that are about limits set their own.
        builder.Configuration["RateLimits:Default"] = "1000000/s";
        builder.Configuration["RateLimits:authentication"] = "1000000/s";
        foreach (var (name, value) in settings)
            builder.Configuration[name] = value;
        builder.UseFunctionApps(apps);
        builder.AddAgency(apps);
        configure?.Invoke(builder);
        var host = builder.Build();
        await host.StartAsync();
        return new(host, database, home, owns);
    }

    /// <summary>A client with a token of this organisation and these scopes (space-separated); no token when null.</summary>
    public HttpClient Client(string? scopes = "users:read users:write events:write analytics:read analytics:write sagas:read sagas:write platform:read platform:write",
        string organisation = "acme", string subject = "tester")
    {
        var client = new HttpClient { BaseAddress = Address };
        if (scopes is not null)
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token(scopes, organisation, subject));
        return client;
    }

    public string Token(string scopes, string organisation = "acme", string subject = "tester") =>
        _issuer.Issue(organisation, subject, scopes.Split(' '), TimeSpan.FromHours(1));

    /// <summary>What the log holds, in its order.</summary>
    public async Task<List<KafkaRecord>> LogAsync()
    {
        await using var source = NpgsqlDataSource.Create(Database.Settings.Admin);
        await using var command = source.CreateCommand(
            "select id, event_id, topic, type, tenant_id, subject, version, recorded_at, data from platform.events order by id");
        await using var reader = await command.ExecuteReaderAsync();
        var records = new List<KafkaRecord>();
        while (await reader.ReadAsync())
            records.Add(new CloudEvent(
                reader.GetGuid(1), reader.GetString(2), reader.GetString(3), reader.GetString(4), reader.GetString(5), reader.GetInt64(6),
                reader.GetFieldValue<DateTimeOffset>(7), null, reader.GetFieldValue<byte[]>(8)).ToRecord(reader.GetInt64(0)));
        return records;
    }

    public async ValueTask DisposeAsync()
    {
        await _host.StopAsync();
        await ((IAsyncDisposable)_host).DisposeAsync();
        if (_ownsDatabase)
            await Database.DisposeAsync();
        Directory.Delete(_home, recursive: true);
    }
}

public static class HttpTesting
{
    /// <summary>Sends JSON written as text, so that a test can also send what no serializer would.</summary>
    public static Task<HttpResponseMessage> SendJsonAsync(
        this HttpClient client, HttpMethod method, string path, string json, params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(method, path) { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        foreach (var (name, value) in headers)
            request.Headers.TryAddWithoutValidation(name, value);
        return client.SendAsync(request);
    }

    public static async Task<JsonElement> JsonAsync(this HttpResponseMessage response) =>
        JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync()).RootElement;

    /// <summary>Tries until the condition holds; a read model follows its events in a moment.</summary>
    /// <exception cref="TimeoutException">It does not within the time (30 s unless given).</exception>
    public static async Task<T> EventuallyAsync<T>(Func<Task<T>> probe, Func<T, bool> holds, TimeSpan? within = null)
    {
        var end = DateTime.UtcNow + (within ?? TimeSpan.FromSeconds(30));
        while (true)
        {
            var value = await probe();
            if (holds(value))
                return value;
            if (DateTime.UtcNow > end)
                throw new TimeoutException($"It did not come about; the last value was {value}.");
            await Task.Delay(50);
        }
    }
}
