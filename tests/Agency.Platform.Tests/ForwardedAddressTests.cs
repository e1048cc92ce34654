using System.Net;
using Agency.PlatformFunctions;
using Agency.Testing;

namespace Agency.Platform.Tests;

public sealed class ForwardedAddressTests
{
    [Theory]
    // Nobody's word counts unless the setting says so.
    [InlineData(null, "203.0.113.7", "127.0.0.1")]
    [InlineData("10.0.0.0/8", "203.0.113.7", "127.0.0.1")]
    [InlineData("127.0.0.1", "203.0.113.7", "203.0.113.7")]
    [InlineData("127.0.0.0/8 ::1", "203.0.113.7:4711", "203.0.113.7")]
    [InlineData("127.0.0.1", "2001:db8::7", "2001:db8::7")]
    [InlineData("127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7")]
    [InlineData("127.0.0.1", "fe80::1%3", "fe80::1")]
    [InlineData("127.0.0.1", "::ffff:203.0.113.7", "203.0.113.7")]
    // What a client claims itself stands on the left of what proxies have added, and is not believed.
    [InlineData("127.0.0.1 10.0.0.0/8", "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7")]
    [InlineData("127.0.0.1", "203.0.113.7, 10.1.2.3", "10.1.2.3")]
    [InlineData("127.0.0.1", "unknown", "127.0.0.1")]
    [InlineData("127.0.0.1", "", "127.0.0.1")]
    public async Task The_audit_trail_has_the_address_that_a_known_proxy_forwards(string? known, string forwarded, string kept)
    {
        await using var host = await TestHost.StartAsync(
            [typeof(CreateApiKey).Assembly, typeof(ListAudit).Assembly], settings: known is null ? [] : [("ForwardedHeaders:KnownNetworks", known)]);
        using var client = host.Client("apikeys:write audit:read platform:read");
        var made = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"ci","scopes":["platform:read"]}""", ("X-Forwarded-For", forwarded));
        Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        var trail = await (await client.GetAsync(new Uri("/audit", UriKind.Relative))).JsonAsync();
        Assert.Equal(kept, Assert.Single(trail.EnumerateArray()).GetProperty("remoteAddress").GetString());
    }

    [Theory]
    [InlineData("proxy.example.com")]
    [InlineData("10.0.0.0/33")]
    [InlineData("127.0.0.1,10.0.0.1")]
    public async Task What_is_no_network_is_refused_at_start(string known) => Assert.Contains(
        "ForwardedHeaders:KnownNetworks",
        (await Assert.ThrowsAsync<InvalidOperationException>(() => TestHost.StartAsync([typeof(ListAudit).Assembly], settings: ("ForwardedHeaders:KnownNetworks", known)))).Message,
        StringComparison.Ordinal);
}
