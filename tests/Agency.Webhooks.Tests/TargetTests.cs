using System.Net;
using System.Net.Sockets;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Agency.Webhooks.Tests;

public sealed class TargetTests
{
    private static readonly WebhookOptions Options = WebhookOptions.Default with { Timeout = TimeSpan.FromSeconds(3) };

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("0.1.2.3")]
    [InlineData("10.0.0.1")]
    [InlineData("10.255.255.255")]
    [InlineData("100.64.0.1")]
    [InlineData("100.100.100.200")]
    [InlineData("100.127.255.255")]
    [InlineData("127.0.0.1")]
    [InlineData("127.255.255.254")]
    [InlineData("168.63.129.16")]
    [InlineData("169.254.0.1")]
    [InlineData("169.254.169.254")]
    [InlineData("172.16.0.1")]
    [InlineData("172.31.255.255")]
    [InlineData("192.0.0.192")]
    [InlineData("192.0.2.1")]
    [InlineData("192.88.99.1")]
    [InlineData("192.168.0.1")]
    [InlineData("198.18.0.1")]
    [InlineData("198.51.100.1")]
    [InlineData("203.0.113.1")]
    [InlineData("224.0.0.1")]
    [InlineData("239.255.255.255")]
    [InlineData("240.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("::")]
    [InlineData("::1")]
    [InlineData("::127.0.0.1")]
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("::ffff:10.0.0.1")]
    [InlineData("::ffff:169.254.169.254")]
    [InlineData("::ffff:0:127.0.0.1")]
    [InlineData("64:ff9b::127.0.0.1")]
    [InlineData("64:ff9b::a9fe:a9fe")]
    [InlineData("64:ff9b:1::10.0.0.1")]
    [InlineData("100::1")]
    [InlineData("2001::1")]
    [InlineData("2001:0:4136:e378:8000:63bf:3fff:fdd2")]
    [InlineData("2001:db8::1")]
    [InlineData("2002:7f00:1::")]
    [InlineData("2002:0a00:0001::1")]
    [InlineData("2002:a9fe:a9fe::1")]
    [InlineData("2606:4700::5efe:10.0.0.1")]
    [InlineData("2606:4700::200:5efe:10.0.0.1")]
    [InlineData("3fff::1")]
    [InlineData("5f00::1")]
    [InlineData("fc00::1")]
    [InlineData("fd00:ec2::254")]
    [InlineData("fe80::1")]
    [InlineData("fe80::1%1")]
    [InlineData("fec0::1")]
    [InlineData("ff02::1")]
    public void An_address_of_a_special_range_is_not_public(string address) => Assert.False(PublicAddress.Is(IPAddress.Parse(address)));

    [Theory]
    [InlineData("1.1.1.1")]
    [InlineData("9.255.255.255")]
    [InlineData("11.0.0.0")]
    [InlineData("100.63.255.255")]
    [InlineData("100.128.0.0")]
    [InlineData("128.0.0.1")]
    [InlineData("169.253.255.255")]
    [InlineData("172.15.255.255")]
    [InlineData("172.32.0.0")]
    [InlineData("192.0.1.1")]
    [InlineData("192.167.255.255")]
    [InlineData("198.17.255.255")]
    [InlineData("198.20.0.0")]
    [InlineData("223.255.255.255")]
    [InlineData("::ffff:1.1.1.1")]
    [InlineData("64:ff9b::1.1.1.1")]
    [InlineData("2002:0101:0101::1")]
    [InlineData("2606:4700:4700::1111")]
    [InlineData("2a00:1450:4001::1")]
    public void Any_other_address_is_public(string address) => Assert.True(PublicAddress.Is(IPAddress.Parse(address)));

    public static TheoryData<string> PrivateHosts =>
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0",
        "127.0.0.1.", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.169.254", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021",
    ];

    [Theory]
    [MemberData(nameof(PrivateHosts))]
    public async Task A_private_host_in_any_spelling_is_refused_when_it_is_given_or_is_not_connected_to(string host)
    {
        using var sender = Sender(Options);
        // A spelling that is no host at all is refused too.
        if (sender.Refusal($"https://{host}:9/hook") is null)
            Assert.Equal(new(null, "It has no public address."), await sender.SendAsync(To($"https://{host}:9/hook"), CancellationToken.None));
    }

    [Fact]
    public async Task Nobody_learns_whether_a_name_is_unknown_or_stands_for_a_private_address()
    {
        // A resolver may be slow to say that it knows nothing.
        using var sender = Sender(Options with { Timeout = TimeSpan.FromSeconds(60) });
        // The machine's own name is one that the resolver knows, as it knows those of a cluster's services.
        foreach (var url in new[] { "https://no-such-name.invalid/", $"https://{Dns.GetHostName()}/" })
        {
            Assert.Null(sender.Refusal(url));
            Assert.Equal(new(null, "It has no public address."), await sender.SendAsync(To(url), CancellationToken.None));
        }
    }

    [Theory]
    [InlineData("localhost")]
    [InlineData("127.0.0.1")]
    [InlineData("2130706433")]
    [InlineData("0x7f.1")]
    [InlineData("0177.0.0.1")]
    [InlineData("0")]
    [InlineData("[::]")]
    [InlineData("[::ffff:127.0.0.1]")]
    [InlineData("LOCALHOST.")]
    [InlineData("a.localhost")]
    [InlineData("127.0.0.1.")]
    public void A_private_host_is_refused_when_it_is_given(string host)
    {
        using var sender = Sender(Options);
        Assert.Equal("Must be at a public address.", sender.Refusal($"https://{host}:8443/hook"));
    }

    [Theory]
    [InlineData("localhost")]
    [InlineData("127.0.0.1")]
    [InlineData("[::ffff:127.0.0.1]")]
    public async Task A_private_address_is_not_connected_to_even_when_it_was_let_pass_before(string host)
    {
        await using var receiver = await Receiver.StartAsync();
        using var careful = Sender(Options);
        using var careless = Sender(Options with { AllowPrivateTargets = true });
        var message = To($"http://{host}:{receiver.Port}/");
        Assert.Equal(new(null, "It has no public address."), await careful.SendAsync(message, CancellationToken.None));
        Assert.Empty(receiver.All);
        Assert.True((await careless.SendAsync(message, CancellationToken.None)).Delivered);
        Assert.Single(receiver.All);
    }

    [Theory]
    [InlineData("http://example.com/hook")]
    [InlineData("ftp://example.com/hook")]
    [InlineData("file:///etc/passwd")]
    [InlineData("gopher://example.com/")]
    [InlineData("https://user:password@example.com/hook")]
    [InlineData("https://example.com/hook#part")]
    [InlineData("/hook")]
    [InlineData("https://")]
    [InlineData("https:example.com")]
    [InlineData("")]
    public void Only_a_plain_https_url_is_taken(string url)
    {
        using var sender = Sender(Options);
        Assert.NotNull(sender.Refusal(url));
    }

    [Fact]
    public async Task A_receiver_that_hangs_fails_by_time()
    {
        await using var receiver = await Receiver.StartAsync();
        receiver.Answer = http => Task.Delay(Timeout.Infinite, http.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
        using var sender = Sender(new(true, TimeSpan.FromSeconds(0.5), []));
        var message = To(receiver.Url);
        Assert.Equal(new(null, "It did not answer within 0.5 s."), await sender.SendAsync(message, CancellationToken.None));
    }

    [Fact]
    public async Task An_endless_answer_is_not_read()
    {
        // A bare socket, as a web server takes what is written to a connection that is gone, and says so later.
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var receiving = SendEndlesslyAsync();
        using var sender = Sender(Options with { AllowPrivateTargets = true });
        var message = To($"http://{listener.LocalEndpoint}/");
        Assert.Equal(new(200, null), await sender.SendAsync(message, CancellationToken.None));
        // The connection is closed, with no more sent than a little and the socket's buffers.
        Assert.InRange(await receiving.WaitAsync(TimeSpan.FromMinutes(1)), 0, 32 * 1024 * 1024);

        async Task<long> SendEndlesslyAsync()
        {
            using var socket = await listener.AcceptSocketAsync();
            var sent = 0L;
            try
            {
                await socket.ReceiveAsync(new byte[1024]);
                await socket.SendAsync("HTTP/1.1 200 OK\r\n\r\n"u8.ToArray());
                for (var junk = new byte[64 * 1024]; ;)
                    sent += await socket.SendAsync(junk);
            }
            catch (SocketException)
            {
                return sent;
            }
        }
    }

    [Fact]
    public async Task The_platform_refuses_private_targets_unless_it_is_configured_otherwise()
    {
        await using var host = await TestHost.StartAsync([typeof(CreateWebhook).Assembly, typeof(Users.CreateUser).Assembly]);
        using var client = host.Client(WebhookHost.Scopes);
        var answer = await client.SendJsonAsync(HttpMethod.Post, "/webhooks", """{"url":"https://localhost/hook","eventTypes":["agency.users.*"]}""");
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Equal("Must be at a public address.", (await answer.JsonAsync()).GetProperty("errors").GetProperty("url")[0].GetString());

        await using var open = await TestHost.StartAsync(
            [typeof(CreateWebhook).Assembly, typeof(Users.CreateUser).Assembly], settings: ("Webhooks:AllowPrivateTargets", "true"));
        using var trusted = open.Client(WebhookHost.Scopes);
        await trusted.SubscribeAsync("http://localhost/hook", "agency.users.*");
    }

    private static WebhookSender Sender(WebhookOptions options) => new(options, TimeProvider.System, NullLogger<WebhookSender>.Instance);

    private static WebhookMessage To(string url) => new(url, Guid.NewGuid(), "t", DateTimeOffset.UtcNow, "{}"u8.ToArray(), [WebhookSignature.NewSecret()]);
}
