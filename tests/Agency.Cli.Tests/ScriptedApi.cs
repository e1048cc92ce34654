using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Agency.Cli.Tests;

/// <summary>A server that answers as each test says: refusals and outages, which the platform itself gives only when something is wrong.</summary>
internal sealed class ScriptedApi : IAsyncDisposable
{
    private readonly WebApplication _app;

    private ScriptedApi(WebApplication app) => _app = app;

    /// <summary>What came to <c>/events</c> and was answered with success, by message id.</summary>
    public ConcurrentDictionary<string, JsonElement> Events { get; } = new();

    /// <summary>What came to <c>/users</c> and was answered with success, by external id.</summary>
    public ConcurrentDictionary<string, JsonElement> Users { get; } = new();

    public ConcurrentBag<string> Tokens { get; } = [];

    /// <summary>May answer in the server's place; false leaves it to the ordinary answer.</summary>
    public Func<HttpContext, JsonElement, Task<bool>> Script { get; set; } = (_, _) => Task.FromResult(false);

    public static async Task<ScriptedApi> StartAsync(int port)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        var app = builder.Build();
        app.Urls.Add($"http://127.0.0.1:{port}");
        var api = new ScriptedApi(app);
        app.Run(api.AnswerAsync);
        await app.StartAsync();
        return api;
    }

    public static Task ProblemAsync(HttpContext http, int status, string type, string title, string detail)
    {
        http.Response.StatusCode = status;
        return http.Response.WriteAsJsonAsync(new { type = "urn:agency:problem:" + type, title, detail }, options: null, contentType: "application/problem+json");
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync();
        await _app.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext http)
    {
        if (http.Request.Path.StartsWithSegments("/health", StringComparison.Ordinal))
            return;
        Tokens.Add(http.Request.Headers.Authorization.ToString());
        var body = await JsonSerializer.DeserializeAsync<JsonElement>(http.Request.Body);
        if (await Script(http, body))
            return;
        if (http.Request.Path == "/users")
        {
            if (Users.TryAdd(body.GetProperty("externalId").GetString()!, body))
                http.Response.StatusCode = 201;
            else
                await ProblemAsync(http, 409, "external-id-taken", "Taken", "Somebody has it.");
            return;
        }

        var accepted = body.EnumerateArray().Count(item => Events.TryAdd(item.GetProperty("messageId").GetString()!, item));
        await http.Response.WriteAsJsonAsync(new { accepted, duplicates = body.GetArrayLength() - accepted, rejected = 0, items = Array.Empty<object>() });
    }
}
