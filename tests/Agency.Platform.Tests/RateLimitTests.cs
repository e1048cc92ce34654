using System.Net;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform.Tests;

public sealed class RateLimitTests
{
    [Fact]
    public async Task A_bucket_is_exact_under_concurrency()
    {
        var clock = new StoppedClock();
        var limiter = new ProcessRateLimiter(clock);
        var limit = new RateLimit(10, 250);
        async Task<int> TakeManyAsync() => (await Task.WhenAll(Enumerable.Range(0, 1000).Select(_ => Task.Run(async () =>
            (await limiter.TakeAsync("g", "c", limit, CancellationToken.None)).Allowed)))).Count(allowed => allowed);

        Assert.Equal(250, await TakeManyAsync());
        clock.Seconds += 3;
        Assert.Equal(30, await TakeManyAsync());
        clock.Seconds += 1000;
        Assert.Equal(250, await TakeManyAsync());
        Assert.True((await limiter.TakeAsync("g", "another", limit, CancellationToken.None)).Allowed);
        Assert.True((await limiter.TakeAsync("another", "c", limit, CancellationToken.None)).Allowed);
    }

    [Fact]
    public async Task Who_asks_too_much_is_told_when_to_come_back_and_others_are_served()
    {
        var clock = new StoppedClock();
        await using var host = await TestHost.StartAsync(
            [typeof(ListDeadLetters).Assembly],
            configure: builder => builder.Services.AddSingleton<TimeProvider>(clock),
            settings: ("RateLimits:platform-read", "1/s burst 3"));
        using var client = host.Client("platform:read", subject: "greedy");
        var path = new Uri("/dead-letters", UriKind.Relative);
        var first = await client.GetAsync(path);
        Assert.Equal("\"platform:read\";q=3;w=3", first.Headers.GetValues("RateLimit-Policy").Single());
        Assert.Equal("\"platform:read\";r=2;t=1", first.Headers.GetValues("RateLimit").Single());
        var statuses = await Task.WhenAll(Enumerable.Range(0, 10).Select(async _ => (await client.GetAsync(path)).StatusCode));
        Assert.Equal(2, statuses.Count(status => status == HttpStatusCode.OK));
        var refused = await client.GetAsync(path);
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        Assert.Equal("1", refused.Headers.RetryAfter!.ToString());
        Assert.Equal("application/problem+json", refused.Content.Headers.ContentType!.MediaType);
        clock.Seconds++;
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync(path)).StatusCode);
        using var other = host.Client("platform:read", subject: "modest");
        Assert.Equal(HttpStatusCode.OK, (await other.GetAsync(path)).StatusCode);
    }

    [Theory]
    [InlineData("100/s", 100, 200)]
    [InlineData("5/s burst 50", 5, 50)]
    public void A_limit_is_read(string text, int perSecond, int burst) => Assert.Equal(new RateLimit(perSecond, burst), RateLimit.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("100")]
    [InlineData("0/s")]
    [InlineData("-1/s")]
    [InlineData("5/s burst")]
    [InlineData("5/s burst 0")]
    public void A_limit_that_is_none_is_refused_at_start(string text)
    {
        var settings = new ConfigurationBuilder().AddInMemoryCollection([new("RateLimits:events-write", text)]).Build();
        Assert.Contains("RateLimits:events-write", Assert.Throws<InvalidOperationException>(() => RateLimitOptions.From(settings, OneApp)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("apikeys-read", "apikeys:read")]
    [InlineData("PLATFORM-read", "platform:read")]
    [InlineData("health", "health")]
    [InlineData("Anonymous", "anonymous")]
    [InlineData("authentication", "authentication")]
    public void A_group_is_named_by_its_scope_with_a_hyphen_for_the_colon(string name, string group) =>
        Assert.Equal(new RateLimit(7, 14), From(name, TwoApps).Groups[group]);

    [Fact]
    public void A_scope_may_have_hyphens_itself() => Assert.True(From("analytics-plans-read", OneApp).Groups.ContainsKey("analytics-plans:read"));

    [Theory]
    [InlineData("platform-raed")]
    [InlineData("platform")]
    [InlineData("anonymus")]
    [InlineData("-")]
    public void A_group_that_there_is_not_is_refused_at_start(string name)
    {
        var wrong = Assert.Throws<InvalidOperationException>(() => From(name, TwoApps)).Message;
        Assert.StartsWith($"The setting RateLimits:{name} names no group.", wrong, StringComparison.Ordinal);
        Assert.EndsWith("such as apikeys-read.", wrong, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_is_not_let_in_is_limited_by_address_before_a_key_is_looked_up()
    {
        var clock = new StoppedClock();
        await using var host = await TestHost.StartAsync(
            [typeof(ListDeadLetters).Assembly],
            configure: builder => builder.Services.AddSingleton<TimeProvider>(clock),
            settings: [("RateLimits:authentication", "1/s burst 3"), ("ForwardedHeaders:KnownNetworks", "127.0.0.1")]);
        var good = ApiKey.New();
        await host.Database.RunAsync($$"""
            insert into platform.api_keys (id, tenant_id, name, prefix, secret_hash, scopes, created_by)
            values (gen_random_uuid(), 'acme', 'ci', '{{ApiKey.Prefix(good)}}', '\x{{Convert.ToHexString(ApiKey.Hash(good))}}', '{platform:read}', 'me')
            """);
        // A good key gets back what its look-up was charged.
        Assert.Equal(200, (await AskAsync(host, good)).Status);
        Assert.Equal((401, "\"authentication\";q=3;w=3", "\"authentication\";r=2;t=1"), await AskAsync(host, null));
        Assert.Equal(401, (await AskAsync(host, ApiKey.New())).Status);
        Assert.Equal(401, (await AskAsync(host, ApiKey.New())).Status);
        // From here on a look-up would fail.
        await host.Database.RunAsync("alter table platform.api_keys rename to hidden");
        foreach (var bad in (string?[])[ApiKey.New(), ApiKey.New(), "a.b.c", null])
            Assert.Equal((429, "\"authentication\";q=3;w=3", "\"authentication\";r=0;t=3"), await AskAsync(host, bad));
        // Who comes with what is good need not wait, nor need others.
        Assert.Equal(200, (await AskAsync(host, good)).Status);
        Assert.Equal(200, (await AskAsync(host, host.Token("platform:read"))).Status);
        Assert.Equal(401, (await AskAsync(host, "a.b.c", "203.0.113.7")).Status);
        clock.Seconds++;
        Assert.Equal(401, (await AskAsync(host, "a.b.c")).Status);
    }

    [Fact]
    public async Task A_refusal_for_want_of_the_scope_counts_and_tells_what_is_left()
    {
        await using var host = await TestHost.StartAsync(
            [typeof(ListDeadLetters).Assembly],
            configure: builder => builder.Services.AddSingleton<TimeProvider>(new StoppedClock()),
            settings: ("RateLimits:platform-read", "1/s burst 2"));
        var token = host.Token("users:read");
        Assert.Equal((403, "\"platform:read\";q=2;w=2", "\"platform:read\";r=1;t=1"), await AskAsync(host, token));
        Assert.Equal(403, (await AskAsync(host, token)).Status);
        Assert.Equal(429, (await AskAsync(host, token)).Status);
    }

    [Fact]
    public async Task A_network_of_64_bits_is_one_caller_and_health_is_asked_apart()
    {
        await using var host = await TestHost.StartAsync(
            [typeof(GetOpenApi).Assembly, typeof(CheckLiveness).Assembly],
            configure: builder => builder.Services.AddSingleton<TimeProvider>(new StoppedClock()),
            settings: [("RateLimits:anonymous", "1/s burst 1"), ("RateLimits:health", "1/s burst 1"), ("ForwardedHeaders:KnownNetworks", "127.0.0.1")]);
        Assert.Equal(200, (await AskAsync(host, null, "2001:db8::1", "/openapi.json")).Status);
        Assert.Equal(429, (await AskAsync(host, null, "2001:db8::ffff:2", "/openapi.json")).Status);
        Assert.Equal(200, (await AskAsync(host, null, "2001:db8:0:1::1", "/openapi.json")).Status);
        Assert.Equal(200, (await AskAsync(host, null, "203.0.113.7", "/openapi.json")).Status);
        Assert.Equal(429, (await AskAsync(host, null, "::ffff:203.0.113.7", "/openapi.json")).Status);
        Assert.Equal(200, (await AskAsync(host, null, "203.0.113.8", "/openapi.json")).Status);
        Assert.Equal((204, "\"health\";q=1;w=1", "\"health\";r=0;t=1"), await AskAsync(host, null, "203.0.113.7", "/health/live"));
    }

    private static FunctionApps OneApp { get; } = new([typeof(ListDeadLetters).Assembly]);

    private static FunctionApps TwoApps { get; } = new([typeof(ListDeadLetters).Assembly, typeof(ListApiKeys).Assembly]);

    private static RateLimitOptions From(string name, FunctionApps apps) =>
        RateLimitOptions.From(new ConfigurationBuilder().AddInMemoryCollection([new("RateLimits:" + name, "7/s")]).Build(), apps);

    private static async Task<(int Status, string? Policy, string? Limit)> AskAsync(TestHost host, string? credential, string? from = null, string path = "/dead-letters")
    {
        using var client = host.Client(null);
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        if (credential is not null)
            request.Headers.Authorization = new("Bearer", credential);
        if (from is not null)
            request.Headers.Add("X-Forwarded-For", from);
        using var answer = await client.SendAsync(request);
        Assert.Equal(answer.StatusCode == HttpStatusCode.TooManyRequests ? "1" : null, answer.Headers.RetryAfter?.ToString());
        return ((int)answer.StatusCode, One("RateLimit-Policy"), One("RateLimit"));

        string? One(string name) => answer.Headers.TryGetValues(name, out var values) ? values.Single() : null;
    }

    private sealed class StoppedClock : TimeProvider
    {
        public long Seconds { get; set; } = 1000;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => Seconds;
    }
}
