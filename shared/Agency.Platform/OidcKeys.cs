using System.Collections.Frozen;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Protocols;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Platform;

/// <summary>The keys that an issuer signs with, by their <c>kid</c>: RSA of 2048 bits or more, and P-256.</summary>
internal sealed class KeySet
{
    private readonly FrozenDictionary<string, SecurityKey[]> _byId;
    private readonly SecurityKey[] _only;
    private readonly string _fingerprint;

    public KeySet(IEnumerable<SecurityKey> keys)
    {
        var usable = keys.Where(key => key is RsaSecurityKey { KeySize: >= 2048 } or ECDsaSecurityKey { KeySize: 256 }).ToList();
        _byId = usable.Where(key => key.KeyId is not null).GroupBy(key => key.KeyId, StringComparer.Ordinal).ToFrozenDictionary(g => g.Key, g => g.ToArray(), StringComparer.Ordinal);
        _only = usable.Count == 1 ? [.. usable] : [];
        _fingerprint = string.Join(' ', usable.Select(key => $"{key.KeyId}={Convert.ToHexString(key.ComputeJwkThumbprint())}").Order(StringComparer.Ordinal));
        Count = usable.Count;
    }

    public int Count { get; }

    /// <summary>Those that may have signed a token. One that names no key is taken for the only key's; of several it must name one (OpenID Connect Core, 10.1).</summary>
    public SecurityKey[] For(JsonWebToken token) => string.IsNullOrEmpty(token.Kid) ? _only : _byId.GetValueOrDefault(token.Kid, []);

    public bool HasSameKeysAs(KeySet other) => _fingerprint == other._fingerprint;
}

/// <summary>
/// Keeps the keys of the OpenID Connect issuer at hand. They are asked for again in the background when half of
/// <see cref="AuthOptions.KeyLifetime"/> has gone by, and before the next answer when all of it has; and when a token names a key that is
/// not known, at most once in <see cref="AuthOptions.KeyRefreshCooldown"/>. Whoever needs them at the same time waits for the same fetch, for at
/// most <see cref="AuthOptions.FetchTimeout"/>. While the issuer cannot be reached the known keys stay good for <see cref="AuthOptions.KeyGrace"/>,
/// and once one has waited in vain, nobody else does: it is asked in the background.
/// </summary>
/// <remarks>
/// The documents are read by Microsoft's retriever, but not kept by its ConfigurationManager (8.16): while that has nothing yet, all who wait
/// for it fetch one after the other (ten callers of an issuer that fails after 300 ms waited up to 3.8 s), it refreshes by itself no
/// oftener than each 5 minutes, and it does not tell why a refresh failed.
/// </remarks>
public sealed partial class OidcKeys : IDisposable
{
    private static readonly TimeSpan FirstRetry = TimeSpan.FromSeconds(1);

    private readonly AuthOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger<OidcKeys> _log;
    private readonly DocumentRetriever _documents = new();
    private readonly Lock _gate = new();
    private volatile State _state = new(new([]), DateTimeOffset.MinValue);
    private Task? _running;
    private DateTimeOffset _nextForUnknown = DateTimeOffset.MinValue;
    private DateTimeOffset _nextAfterFailure = DateTimeOffset.MinValue;
    private DateTimeOffset _failedAt = DateTimeOffset.MinValue;
    private int _failures;

    public OidcKeys(AuthOptions options, TimeProvider clock, ILogger<OidcKeys> log)
    {
        _options = options;
        _clock = clock;
        _log = log;
    }

    /// <summary>The keys that are good now.</summary>
    /// <param name="cancel">Ends the waiting of this caller, not the fetch.</param>
    /// <exception cref="ProblemException">503: there are none, as the issuer cannot be reached.</exception>
    internal ValueTask<KeySet> CurrentAsync(CancellationToken cancel)
    {
        var state = _state;
        var now = _clock.GetUtcNow();
        var age = now - state.At;
        if (age < _options.KeyLifetime / 2)
            return ValueTask.FromResult(state.Keys);
        var refresh = RefreshAsync(state, forUnknown: false);
        return age < _options.KeyLifetime || (age < _options.KeyGrace && HasFailedSince(now - _options.KeyLifetime))
            ? ValueTask.FromResult(state.Keys)
            : AfterAsync(refresh, cancel);
    }

    /// <summary>The keys after an attempt to find one that was not among them.</summary>
    /// <exception cref="ProblemException">503: as of <see cref="CurrentAsync"/>.</exception>
    internal ValueTask<KeySet> BeyondAsync(KeySet known, CancellationToken cancel)
    {
        var state = _state;
        return ReferenceEquals(state.Keys, known) ? AfterAsync(RefreshAsync(state, forUnknown: true), cancel) : ValueTask.FromResult(state.Keys);
    }

    public void Dispose() => _documents.Dispose();

    private async ValueTask<KeySet> AfterAsync(Task refresh, CancellationToken cancel)
    {
        await refresh.WaitAsync(cancel);
        var state = _state;
        var now = _clock.GetUtcNow();
        if (now - state.At < Max(_options.KeyGrace, _options.KeyLifetime))
            return state.Keys;
        // Not a word against the token: a client that was told 401 would throw it away.
        var problem = Problem.Of(503, "issuer-unavailable", "Tokens cannot be checked now", "The issuer's keys could not be fetched. Try again in a moment.");
        throw new ProblemException(problem with { RetryAfter = SecondsToNextAttempt(now) });
    }

    private bool HasFailedSince(DateTimeOffset time)
    {
        lock (_gate)
            return _failures > 0 && _failedAt > time;
    }

    private int SecondsToNextAttempt(DateTimeOffset now)
    {
        lock (_gate)
            return Math.Max(1, (int)Math.Ceiling((_nextAfterFailure - now).TotalSeconds));
    }

    private Task RefreshAsync(State seen, bool forUnknown)
    {
        lock (_gate)
        {
            if (_running is not null)
                return _running;
            var now = _clock.GetUtcNow();
            if (!ReferenceEquals(_state, seen) || now < _nextAfterFailure || (forUnknown && now < _nextForUnknown))
                return Task.CompletedTask;
            if (forUnknown)
                _nextForUnknown = now + _options.KeyRefreshCooldown;
            return _running = Task.Run(FetchAsync);
        }
    }

    private async Task FetchAsync()
    {
        KeySet? keys = null;
        var why = "";
        try
        {
            using var timeout = new CancellationTokenSource(_options.FetchTimeout);
            keys = await ReadAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            why = $"it did not answer within {_options.FetchTimeout.TotalSeconds} s";
        }
        catch (Exception failure)
        {
            // Whatever the issuer sends or fails to send, the known keys stay and the next fetch gets its chance.
            why = failure.Message;
        }

        lock (_gate)
        {
            var now = _clock.GetUtcNow();
            _running = null;
            if (keys is not null)
            {
                _failures = 0;
                // The same keys stay the same object: what has been judged by them need not be judged again.
                _state = new(keys.HasSameKeysAs(_state.Keys) ? _state.Keys : keys, now);
                return;
            }

            var wait = FirstRetry * Math.Pow(2, Math.Min(_failures++, 16));
            _failedAt = now;
            _nextAfterFailure = now + (wait < _options.KeyRefreshCooldown ? wait : _options.KeyRefreshCooldown);
        }

        LogNotFetched(_options.Issuer, why, _state.Keys.Count);
    }

    private async Task<KeySet> ReadAsync(CancellationToken cancel)
    {
        var found = await OpenIdConnectConfigurationRetriever.GetAsync(_options.Issuer!.TrimEnd('/') + "/.well-known/openid-configuration", _documents, cancel);
        // OpenID Connect Discovery, 4.3: else one issuer could hand out the keys of another.
        if (found.Issuer != _options.Issuer)
            throw new InvalidOperationException($"it says that it is '{found.Issuer}'; Auth:Issuer must be exactly that");
        var keys = new KeySet(found.SigningKeys);
        return keys.Count > 0 ? keys : throw new InvalidOperationException("it names no RSA or P-256 key to sign with");
    }

    private static TimeSpan Max(TimeSpan one, TimeSpan other) => one > other ? one : other;

    [LoggerMessage(Level = LogLevel.Warning, Message = "The signing keys of {Issuer} could not be fetched: {Why}. The {Known} known keys stay in use; tokens that name another are refused.")]
    private partial void LogNotFetched(string? issuer, string why, int known);

    private sealed record State(KeySet Keys, DateTimeOffset At);

    /// <summary>Reads over https, or over http on this machine; at most 1 MB, so that a broken issuer cannot fill the memory.</summary>
    private sealed class DocumentRetriever : IDocumentRetriever, IDisposable
    {
        private readonly HttpClient _http = new(new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromMinutes(5) })
        {
            Timeout = Timeout.InfiniteTimeSpan,
            MaxResponseContentBufferSize = 1024 * 1024,
        };

        public async Task<string> GetDocumentAsync(string address, CancellationToken cancel)
        {
            var uri = new Uri(address);
            if (uri.Scheme != Uri.UriSchemeHttps && !uri.IsLoopback)
                throw new InvalidOperationException($"{address} is not an https address");
            return await _http.GetStringAsync(uri, cancel);
        }

        public void Dispose() => _http.Dispose();
    }
}
