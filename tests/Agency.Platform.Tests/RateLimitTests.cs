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
        Assert.Contains("RateLimits:events-write", Assert.Throws<InvalidOperationException>(() => RateLimitOptions.From(settings)).Message, StringComparison.Ordinal);
    }

    private sealed class StoppedClock : TimeProvider
    {
        public long Seconds { get; set; } = 1000;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => Seconds;
    }
}
