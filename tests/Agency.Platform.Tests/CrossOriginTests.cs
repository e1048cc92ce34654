using System.Net;
using Agency.PlatformFunctions;
using Agency.Testing;

namespace Agency.Platform.Tests;

public sealed class CrossOriginTests
{
    [Theory]
    [InlineData("https://app.example.com", true)]
    [InlineData("https://evil.example.com", false)]
    public async Task Only_a_configured_origin_may_call(string origin, bool allowed)
    {
        await using var host = await TestHost.StartAsync(
            [typeof(ListDeadLetters).Assembly], settings: ("Cors:Origins", "https://app.example.com http://localhost:3000"));
        using var client = host.Client(null);
        var preflight = new HttpRequestMessage(HttpMethod.Options, "/dead-letters");
        preflight.Headers.Add("Origin", origin);
        preflight.Headers.Add("Access-Control-Request-Method", "GET");
        preflight.Headers.Add("Access-Control-Request-Headers", "authorization");
        Assert.Equal(allowed, (await client.SendAsync(preflight)).Headers.Contains("Access-Control-Allow-Origin"));

        // An error must be readable by the page too.
        var call = new HttpRequestMessage(HttpMethod.Get, "/dead-letters");
        call.Headers.Add("Origin", origin);
        var answer = await client.SendAsync(call);
        Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        Assert.Equal(allowed, answer.Headers.Contains("Access-Control-Allow-Origin"));
    }

    [Fact]
    public async Task No_origin_may_call_unless_configured()
    {
        await using var host = await TestHost.StartAsync([typeof(ListDeadLetters).Assembly]);
        using var client = host.Client(null);
        var preflight = new HttpRequestMessage(HttpMethod.Options, "/dead-letters");
        preflight.Headers.Add("Origin", "https://app.example.com");
        preflight.Headers.Add("Access-Control-Request-Method", "GET");
        var answer = await client.SendAsync(preflight);
        Assert.False(answer.Headers.Contains("Access-Control-Allow-Origin"));
        Assert.Equal(HttpStatusCode.MethodNotAllowed, answer.StatusCode);
    }

    [Theory]
    [InlineData("*")]
    [InlineData("app.example.com")]
    [InlineData("https://app.example.com/path")]
    public async Task What_is_no_origin_is_refused_at_start(string origin) => Assert.Contains(
        "Cors:Origins",
        (await Assert.ThrowsAsync<InvalidOperationException>(() => TestHost.StartAsync([typeof(ListDeadLetters).Assembly], settings: ("Cors:Origins", origin)))).Message,
        StringComparison.Ordinal);
}
