using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Agency.Platform;

/// <summary>One attempt to deliver an event.</summary>
/// <param name="Id">The event's id, by which a receiver knows a repetition.</param>
/// <param name="Data">The event, JSON.</param>
/// <param name="Secrets">What signs it.</param>
public sealed record WebhookMessage(string Url, Guid Id, string Type, DateTimeOffset OccurredAt, ReadOnlyMemory<byte> Data, IReadOnlyList<string> Secrets);

/// <summary>How an attempt ended: with the receiver's status, or without one and why. What a receiver says beside its status is not kept.</summary>
public sealed record WebhookResult(int? Status, string? Error)
{
    public bool Delivered => Status is >= 200 and < 300;

    /// <summary>The receiver wants no more of them.</summary>
    public bool Gone => Status == 410;
}

/// <summary>
/// Sends webhooks after the Standard Webhooks specification, to public addresses only unless configured otherwise. What a name stands for is looked
/// at when it is connected to and not before, so that a name that changes leads nowhere, and nobody learns which names our resolver knows. No redirect is followed, no proxy is asked,
/// no cookie kept, and no more of the answer read than its head.
/// </summary>
public sealed partial class WebhookSender : IDisposable
{
    /// <summary>Characters.</summary>
    public const int MaxUrl = 2000;
    private readonly WebhookOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<WebhookSender> _log;
    private readonly HttpClient _client;

    public WebhookSender(WebhookOptions options, TimeProvider clock, ILogger<WebhookSender> log)
    {
        _options = options;
        _clock = clock;
        _log = log;
        _client = new(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseProxy = false,
            UseCookies = false,
            Credentials = null,
            ConnectCallback = ConnectAsync,
            ConnectTimeout = options.Timeout,
            PooledConnectionLifetime = TimeSpan.FromMinutes(1),
            MaxResponseHeadersLength = 16,
            MaxResponseDrainSize = 16 * 1024,
            ResponseDrainTimeout = TimeSpan.FromSeconds(1),
            // Our trace is nobody else's.
            ActivityHeadersPropagator = null,
        })
        {
            // Each attempt has its own.
            Timeout = System.Threading.Timeout.InfiniteTimeSpan,
        };
        _client.DefaultRequestHeaders.UserAgent.Add(new("Agency-Webhooks", "1.0"));
    }

    /// <summary>Whether a webhook may go there, as far as the URL itself tells.</summary>
    /// <returns>Null when it may; else why not, as a sentence.</returns>
    public string? Refusal(string url)
    {
        if (url.Length > MaxUrl || !Uri.TryCreate(url, UriKind.Absolute, out var target) || target.HostNameType is UriHostNameType.Unknown or UriHostNameType.Basic)
            return $"Must be an absolute URL of at most {MaxUrl} characters.";
        if (target.Scheme != Uri.UriSchemeHttps && !(_options.AllowPrivateTargets && target.Scheme == Uri.UriSchemeHttp))
            return "Must begin with https://.";
        if (target.UserInfo.Length > 0 || target.Fragment.Length > 0)
            return "Must have neither a user nor a fragment.";
        return _options.AllowPrivateTargets || !IsPrivate(target.IdnHost.TrimEnd('.')) ? null : "Must be at a public address.";
    }

    /// <summary>By itself: an address that is not public, or a name that stands for this machine by RFC 6761.</summary>
    private static bool IsPrivate(string host) => IPAddress.TryParse(host, out var address)
        ? !PublicAddress.Is(address)
        : host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || host.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase);

    /// <summary>Makes one attempt. A failure is a result, not an exception, whosever it is.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="cancel"/> was; whether it has arrived is not known.</exception>
    public async Task<WebhookResult> SendAsync(WebhookMessage message, CancellationToken cancel)
    {
        using var attempt = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        attempt.CancelAfter(_options.Timeout);
        try
        {
            using var request = Sign(message, _clock.GetUtcNow());
            using var response = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, attempt.Token);
            var status = (int)response.StatusCode;
            return new(status, status is >= 200 and < 300 ? null : $"It answered {status}.");
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return new(null, $"It did not answer within {_options.Timeout.TotalSeconds} s.");
        }
        catch (Exception failure) when (failure is HttpRequestException or IOException or FormatException)
        {
            // The kind and not the message, which tells of what we have reached.
            return new(null, failure.InnerException is NoPublicAddressException ? "It has no public address."
                : failure is HttpRequestException { HttpRequestError: not HttpRequestError.Unknown } http ? $"{http.HttpRequestError}."
                : $"{failure.GetType().Name}.");
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            // Ours, and it would be the same after each lease. The cause is for the log only.
            LogUnsent(failure, message.Id);
            return new(null, $"It could not be sent: {failure.GetType().Name}.");
        }
    }

    public void Dispose() => _client.Dispose();

    [LoggerMessage(Level = LogLevel.Error, Message = "Event {Event} could not be sent to a webhook.")]
    private partial void LogUnsent(Exception failure, Guid @event);

    private static HttpRequestMessage Sign(WebhookMessage message, DateTimeOffset now)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>(message.Data.Length + 200);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("type", message.Type);
            json.WriteString("timestamp", message.OccurredAt.UtcDateTime);
            json.WritePropertyName("data");
            json.WriteRawValue(message.Data.Span);
            json.WriteEndObject();
        }

        var id = message.Id.ToString();
        var request = new HttpRequestMessage(HttpMethod.Post, message.Url) { Content = new ReadOnlyMemoryContent(buffer.WrittenMemory) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        request.Headers.Add("webhook-id", id);
        request.Headers.Add("webhook-timestamp", WebhookSignature.Timestamp(now));
        request.Headers.Add("webhook-signature", new WebhookSignature(message.Secrets).Sign(id, now, buffer.WrittenSpan));
        return request;
    }

    /// <exception cref="NoPublicAddressException">Nobody knows the name, or not everybody can reach it: the same answer for both.</exception>
    private async Task<IPAddress[]> ResolveAsync(string host, CancellationToken cancel)
    {
        try
        {
            // An address stands for itself; the resolver would take exception to some.
            var addresses = IPAddress.TryParse(host, out var address) ? [address] : await Dns.GetHostAddressesAsync(host, cancel);
            // All of them: a name with a private address among public ones is no honest receiver's.
            return _options.AllowPrivateTargets || addresses.All(PublicAddress.Is) ? addresses : throw new NoPublicAddressException();
        }
        catch (SocketException)
        {
            throw new NoPublicAddressException();
        }
    }

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var addresses = await ResolveAsync(context.DnsEndPoint.Host, cancel);
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(addresses, context.DnsEndPoint.Port, cancel);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}

/// <summary>No connection was made, because the receiver's name is unknown or its address not a public one.</summary>
public sealed class NoPublicAddressException() : Exception("The receiver has no public address.");
