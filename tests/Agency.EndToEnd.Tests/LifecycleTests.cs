using System.Globalization;
using System.Net;
using Agency.Testing;

namespace Agency.EndToEnd.Tests;

/// <summary>Starting, stopping and standing beside one another.</summary>
public sealed class LifecycleTests(Platform platform) : IClassFixture<Platform>, IAsyncLifetime
{
    public async Task InitializeAsync()
    {
        await platform.StayUpAsync();
        await Gate.InstallAsync(platform);
    }

    public Task DisposeAsync() => Task.CompletedTask;

    [InterruptFact]
    public Task Ctrl_C_lets_a_request_in_flight_be_answered_and_the_next_start_finds_its_state() => DrainAsync("INT");

    [Fact]
    public Task SIGTERM_lets_a_request_in_flight_be_answered_and_the_next_start_finds_its_state() => DrainAsync("TERM");

    [Fact]
    public async Task A_second_host_in_the_same_home_says_so_and_the_first_goes_on()
    {
        var second = await platform.RunAsync(null, "up");
        Assert.Equal(1, second.ExitCode);
        Assert.StartsWith("agency: Agency already runs in ", Assert.Single(second.Error.Trim().Split('\n')), StringComparison.Ordinal);
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"(process {platform.Host.Id})"), second.Error, StringComparison.Ordinal);
        using var client = platform.Client("life");
        using var answer = await client.GetAsync("/users");
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
    }

    [Fact]
    public async Task Two_homes_run_side_by_side_and_share_nothing()
    {
        var other = new Platform();
        try
        {
            await other.InitializeAsync();
            foreach (var (here, name) in new[] { (platform, "here"), (other, "there") })
            {
                using var client = here.Client("side");
                using var made = await client.SendJsonAsync(HttpMethod.Post, "/users", $$"""{"email":"{{name}}@side.example","name":"{{name}}"}""");
                Assert.Equal(HttpStatusCode.Created, made.StatusCode);
                using var list = await client.GetAsync("/users");
                Assert.Equal([name], (await list.JsonAsync()).EnumerateArray().Select(u => u.GetProperty("name").GetString()));
            }

            // A token is one home's own.
            using var stranger = platform.Client("side");
            using var refused = await stranger.GetAsync(new Uri(other.Address, "/users"));
            Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        }
        finally
        {
            await other.DisposeAsync();
        }
    }

    private async Task DrainAsync(string signal)
    {
        Task<HttpResponseMessage> inFlight;
        await using (var gate = await Gate.CloseAsync(platform))
        {
            inFlight = PostAsync($$"""{"email":"{{signal}}@life.example","name":"before commit {{signal}}"}""");
            await gate.StandAtAsync(1);
            await platform.Host.SignalAsync(signal);
            // Until it takes no more connections, and so has certainly heard.
            await HttpTesting.EventuallyAsync(RefusesAsync, refuses => refuses);
            Assert.True(platform.Host.IsRunning);
            Assert.False(inFlight.IsCompleted);
        }

        using var answer = await inFlight;
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        var ran = await platform.Host.EndAsync();
        Assert.Equal((0, ""), (ran.ExitCode, string.Concat(ran.Error.Split('\n').Where(line => line.StartsWith("agency:", StringComparison.Ordinal)))));

        await platform.UpAsync();
        using var again = platform.Client("drain");
        using var found = await again.GetAsync(answer.Headers.Location);
        Assert.Equal((await answer.JsonAsync()).ToString(), (await found.JsonAsync()).ToString());
        await platform.HasItsEffectOnceAsync();
    }

    private async Task<HttpResponseMessage> PostAsync(string user)
    {
        using var client = platform.Client("drain");
        return await client.SendJsonAsync(HttpMethod.Post, "/users", user);
    }

    private async Task<bool> RefusesAsync()
    {
        using var client = new HttpClient { BaseAddress = platform.Address };
        try
        {
            using var answer = await client.GetAsync("/health/live");
            return false;
        }
        catch (HttpRequestException)
        {
            return true;
        }
    }
}

/// <summary>A test of Ctrl-C, skipped where it cannot be: a shell starts what it puts in the background with SIGINT ignored, which children inherit.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class InterruptFactAttribute : FactAttribute
{
    private const int Interrupt = 2;

    public InterruptFactAttribute()
    {
        if (OperatingSystem.IsLinux() && File.ReadLines("/proc/self/status").FirstOrDefault(line => line.StartsWith("SigIgn:", StringComparison.Ordinal)) is { } ignored
            && (ulong.Parse(ignored.AsSpan(7).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & (1UL << (Interrupt - 1))) != 0)
            Skip = "These tests were started with SIGINT ignored, so the host cannot receive it.";
    }
}
