using System.Collections.Concurrent;
using System.Net;
using Agency.Testing;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Agency.Worker.Tests;

/// <summary>What a function may rely on, in either worker.</summary>
public sealed class WorkerTests : IAsyncLifetime
{
    private readonly Sample _sample = new();
    private IHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        (_host, _client) = await StartAsync(_sample);
    }

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _host.StopAsync();
        _host.Dispose();
    }

    [Theory]
    [InlineData("/sample/7f1e5b1e-30c2-4b2a-9a5e-3f4f0d7a9b11/5/word", HttpStatusCode.OK, "7f1e5b1e-30c2-4b2a-9a5e-3f4f0d7a9b11 5 word EchoRoute")]
    [InlineData("/sample/not-a-guid/5/word", HttpStatusCode.NotFound, null)]
    [InlineData("/sample/7f1e5b1e-30c2-4b2a-9a5e-3f4f0d7a9b11/five/word", HttpStatusCode.BadRequest, null)]
    [InlineData("/nowhere", HttpStatusCode.NotFound, null)]
    public async Task Route_values_are_bound_by_name_and_type(string path, HttpStatusCode status, string? body)
    {
        var response = await _client.GetAsync(new Uri(path, UriKind.Relative));
        Assert.Equal(status, response.StatusCode);
        if (body is not null)
            Assert.Equal(body, await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Another_method_is_not_allowed() =>
        Assert.Equal(HttpStatusCode.MethodNotAllowed, (await _client.DeleteAsync(new Uri("/plain", UriKind.Relative))).StatusCode);

    [Fact]
    public async Task A_function_may_return_without_waiting() =>
        Assert.Equal("plain", await _client.GetStringAsync(new Uri("/plain", UriKind.Relative)));

    [Fact]
    public async Task Middleware_runs_in_order_and_the_result_is_written_after_it()
    {
        await _client.GetAsync(new Uri("/plain", UriKind.Relative));
        Assert.Equal(["outer in", "inner in", "inner out 200 not started", "outer out"], _sample.Steps);
    }

    [Fact]
    public async Task Middleware_may_answer_without_the_function()
    {
        var request = new HttpRequestMessage(HttpMethod.Get, "/plain");
        request.Headers.Add("x-stop", "1");
        var response = await _client.SendAsync(request);
        Assert.Equal(418, (int)response.StatusCode);
        Assert.Equal("", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task A_timer_runs_on_start_and_again_although_it_fails()
    {
        await HttpTesting.EventuallyAsync(() => Task.FromResult(_sample.Timers.Count), count => count >= 2);
        Assert.All(_sample.Timers, info => Assert.NotNull(info.ScheduleStatus));
    }

    [Fact]
    public async Task Records_reach_their_function_one_by_one_or_together()
    {
        await HttpTesting.EventuallyAsync(() => Task.FromResult(_sample.Records.Count), count => count == 4);
        Assert.Equal(["trigger-topic/sample-group", "one:b", "one:a", "many:2"], _sample.Records.OrderDescending());
    }

    [Fact]
    public async Task A_request_in_flight_ends_before_the_worker_does()
    {
        var slow = _client.GetStringAsync(new Uri("/slow", UriKind.Relative));
        await _sample.SlowStarted.WaitAsync();
        var stopping = _host.StopAsync();
        await Task.Delay(100);
        Assert.False(stopping.IsCompleted);
        _sample.SlowMayEnd.Release();
        Assert.Equal("slow", await slow);
        await stopping;
    }

    [Fact]
    public async Task A_missing_setting_is_named_at_start()
    {
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => StartAsync(new Sample(), withSettings: false));
        Assert.Contains("SampleTopic", failure.ToString(), StringComparison.Ordinal);
        Assert.Contains("local.settings.json", failure.ToString(), StringComparison.Ordinal);
    }

    private static async Task<(IHost Host, HttpClient Client)> StartAsync(Sample sample, bool withSettings = true)
    {
        var builder = FunctionsApplication.CreateBuilder([]);
        builder.ConfigureFunctionsWebApplication();
        builder.UseFunctionApps(typeof(WorkerTests).Assembly);
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        builder.Configuration["Logging:LogLevel:Default"] = "None";
        if (withSettings)
            builder.Configuration["SampleTopic"] = "trigger-topic";
        builder.Services.AddSingleton(sample);
        builder.Services.AddSingleton<IRecordSource, TwoRecords>();
        builder.UseMiddleware<Outer>().UseMiddleware<Inner>();
        var host = builder.Build();
        await host.StartAsync();
        var address = host.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        return (host, new HttpClient { BaseAddress = new Uri(address) });
    }

    private sealed class TwoRecords(Sample sample) : IRecordSource
    {
        public async Task RunAsync(RecordSubscription subscription, CancellationToken stopping)
        {
            KafkaRecord[] records = [new() { Topic = subscription.Topic, Key = "a"u8.ToArray() }, new() { Topic = subscription.Topic, Key = "b"u8.ToArray() }];
            if (subscription.IsBatched)
            {
                sample.Records.Add($"{subscription.Topic}/{subscription.ConsumerGroup}");
                await subscription.Deliver(records);
                return;
            }

            foreach (var record in records)
                await subscription.Deliver([record]);
        }
    }
}

public sealed class Sample
{
    public ConcurrentQueue<string> Steps { get; } = [];

    public ConcurrentBag<TimerInfo> Timers { get; } = [];

    public ConcurrentBag<string> Records { get; } = [];

    public SemaphoreSlim SlowStarted { get; } = new(0);

    public SemaphoreSlim SlowMayEnd { get; } = new(0);
}

public sealed class Outer(Sample sample) : IFunctionsWorkerMiddleware
{
    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.FunctionDefinition.Name != nameof(SampleFunctions.Plain))
        {
            await next(context);
            return;
        }

        sample.Steps.Enqueue("outer in");
        await next(context);
        sample.Steps.Enqueue("outer out");
    }
}

public sealed class Inner(Sample sample) : IFunctionsWorkerMiddleware
{
    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is not { } http || context.FunctionDefinition.Name != nameof(SampleFunctions.Plain))
        {
            await next(context);
            return;
        }

        if (http.Request.Headers.ContainsKey("x-stop"))
        {
            http.Response.StatusCode = 418;
            return;
        }

        sample.Steps.Enqueue("inner in");
        await next(context);
        sample.Steps.Enqueue($"inner out {http.Response.StatusCode} {(http.Response.HasStarted ? "started" : "not started")}");
    }
}

/// <summary>One class with many functions, as the worker allows, though our apps have one each.</summary>
public sealed class SampleFunctions(Sample sample)
{
    [Function("EchoRoute")]
    public Task<IResult> EchoRoute(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "sample/{id:guid}/{number}/{word}")] HttpRequest http,
        Guid id, int number, string word, FunctionContext context) =>
        Task.FromResult(Results.Text($"{id} {number} {word} {context.FunctionDefinition.EntryPoint.Split('.')[^1]}"));

    [Function(nameof(Plain))]
    public IResult Plain([HttpTrigger(AuthorizationLevel.Anonymous, "get")] HttpRequest http) => Results.Text("plain");

    [Function("Slow")]
    public async Task<IResult> Slow([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "slow")] HttpRequest http, CancellationToken cancel)
    {
        sample.SlowStarted.Release();
        await sample.SlowMayEnd.WaitAsync(cancel);
        return Results.Text("slow");
    }

    [Function("Tick")]
    public void Tick([TimerTrigger("00:00:00.05", RunOnStartup = true)] TimerInfo timer)
    {
        sample.Timers.Add(timer);
        throw new InvalidOperationException("A timer's failure is its own.");
    }

    [Function("One")]
    public Task One([KafkaTrigger("localhost", "%SampleTopic%")] KafkaRecord record)
    {
        sample.Records.Add("one:" + System.Text.Encoding.UTF8.GetString(record.Key));
        return Task.CompletedTask;
    }

    [Function("Many")]
    public Task Many([KafkaTrigger("localhost", "%SampleTopic%", ConsumerGroup = "sample-group", IsBatched = true)] KafkaRecord[] records)
    {
        sample.Records.Add($"many:{records.Length}");
        return Task.CompletedTask;
    }
}
