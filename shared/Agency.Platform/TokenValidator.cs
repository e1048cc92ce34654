using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Platform;

/// <summary>
/// Validates bearer tokens: signature, issuer, audience and lifetime. A signature costs more than a query, so a token that has been
/// found good is remembered, by its hash, until it expires or the issuer's keys change, in a bounded table.
/// </summary>
public sealed partial class TokenValidator
{
    private const int Remembered = 10_000;
    private static readonly TimeSpan Skew = TimeSpan.FromSeconds(30);
    private static readonly JsonWebTokenHandler Handler = new() { MapInboundClaims = false };
    private readonly ConcurrentDictionary<Hash, Good> _good = new();
    private readonly AuthOptions _options;
    private readonly KeySet? _local;
    private readonly OidcKeys? _oidc;
    private readonly TimeProvider _clock;
    private readonly ILogger<TokenValidator> _log;
    private readonly TokenValidationParameters _parameters;

    /// <param name="local">The issuer while <see cref="AuthOptions.Issuer"/> is not set; else null.</param>
    /// <param name="oidc">The keys of <see cref="AuthOptions.Issuer"/>, when it is set.</param>
    public TokenValidator(AuthOptions options, LocalIssuer? local, OidcKeys? oidc, TimeProvider clock, ILogger<TokenValidator> log)
    {
        if (local is null == oidc is null)
            throw new ArgumentException("Tokens come from the local issuer or from one other.", nameof(local));
        _options = options;
        _local = local is null ? null : new([local.Key]);
        _oidc = oidc;
        _clock = clock;
        _log = log;
        _parameters = new()
        {
            ValidIssuer = local is null ? options.Issuer : LocalIssuer.Name,
            ValidateAudience = options.Audiences.Count > 0,
            ValidAudiences = options.Audiences,
            ValidAlgorithms = [SecurityAlgorithms.RsaSha256, SecurityAlgorithms.EcdsaSha256],
            RequireSignedTokens = true,
            RequireExpirationTime = true,
            ClockSkew = Skew,
            LifetimeValidator = (from, to, _, _) => to is { } end && !IsOver(end) && (from is null || !IsYetToCome(from.Value)),
        };
    }

    private DateTime Now => _clock.GetUtcNow().UtcDateTime;

    /// <param name="token">What the Authorization header has after <c>Bearer</c>.</param>
    /// <param name="cancel">Ends the waiting for the issuer's keys.</param>
    /// <returns>Null when it is not a good token.</returns>
    /// <exception cref="ProblemException">503: whether it is cannot be told now, as the issuer's keys could not be fetched.</exception>
    public async ValueTask<Identity?> ValidateAsync(string token, CancellationToken cancel)
    {
        var hash = Hash.Of(token);
        if (_good.TryGetValue(hash, out var known))
        {
            if (!IsOver(known.ValidTo) && ReferenceEquals(known.Keys, await CurrentKeysAsync(cancel)))
                return known.Identity;
            _good.TryRemove(hash, out _);
        }

        if (Read(token) is not { } jwt)
            return Refuse("it is not a JSON Web Token");
        // What can never become good must not make us ask the issuer for keys.
        if (!_parameters.ValidAlgorithms.Contains(jwt.Alg) || jwt.TryGetHeaderValue<object>("crit", out _))
            return Refuse("it is not signed with RS256 or ES256, or in a way that is not known here");
        if (jwt.Issuer != _parameters.ValidIssuer || IsOver(jwt.ValidTo))
            return Refuse("it is another issuer's, or has expired");
        var keys = await CurrentKeysAsync(cancel);
        var signers = keys.For(jwt);
        if (signers.Length == 0 && _oidc is not null)
        {
            keys = await _oidc.BeyondAsync(keys, cancel);
            signers = keys.For(jwt);
        }

        if (signers.Length == 0)
            return Refuse("it names a signing key that is not known");
        var parameters = _parameters.Clone();
        parameters.IssuerSigningKeys = signers;
        var result = await Handler.ValidateTokenAsync(jwt, parameters);
        if (!result.IsValid)
            return Refuse(result.Exception.GetType().Name);
        if (Identify(jwt) is not { } identity)
            return Refuse("it was asked for by somebody else (azp), or names no organisation or no subject");
        // Full means that thousands of tokens are in use; forgetting all costs each one more check.
        if (_good.Count >= Remembered)
            _good.Clear();
        _good[hash] = new(identity, jwt.ValidTo, keys);
        return identity;
    }

    private ValueTask<KeySet> CurrentKeysAsync(CancellationToken cancel) => _local is null ? _oidc!.CurrentAsync(cancel) : new(_local);

    // The skew is taken from our own time: a token may name the last moment that there is.
    private bool IsOver(DateTime end) => end <= Now - Skew;

    private bool IsYetToCome(DateTime start) => start > Now + Skew;

    /// <summary>
    /// Null when it is none. What is looked at before the signature is read here once: the library parses a header or claim when it is asked
    /// for, and throws at one of another type.
    /// </summary>
    private static JsonWebToken? Read(string token)
    {
        try
        {
            var jwt = Handler.ReadJsonWebToken(token);
            _ = (jwt.Alg, jwt.Kid, jwt.Issuer, jwt.ValidTo, jwt.ValidFrom, jwt.IssuedAt);
            return jwt;
        }
        catch (Exception)
        {
            // Anybody can send anything, so whatever it throws at, the token is not good.
            return null;
        }
    }

    /// <summary>Null when the token names no organisation, no subject or another party, or has a claim that cannot be read.</summary>
    private Identity? Identify(JsonWebToken jwt)
    {
        try
        {
            return _options.AuthorizedParties.Count == 0 || _options.AuthorizedParties.Contains(TokenClaims.AuthorizedParty(jwt))
                ? TokenClaims.Identify(jwt, _options)
                : null;
        }
        catch (Exception)
        {
            // Text that is no Unicode, for instance, which the issuer may have taken from its users.
            return null;
        }
    }

    private Identity? Refuse(string why)
    {
        LogRefused(why);
        return null;
    }

    // Anybody can send bad tokens, so this must not fill a log that nobody has asked to be so thorough. Never the token itself.
    [LoggerMessage(Level = LogLevel.Debug, Message = "A token was refused: {Why}.")]
    private partial void LogRefused(string why);

    private sealed record Good(Identity Identity, DateTime ValidTo, KeySet Keys);

    /// <summary>SHA-256 of a token: of one size however long the token, and no use to who reads the memory.</summary>
    private readonly record struct Hash(UInt128 High, UInt128 Low)
    {
        public static Hash Of(string token)
        {
            var buffer = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(token.Length));
            Span<UInt128> hash = stackalloc UInt128[2];
            SHA256.HashData(buffer.AsSpan(0, Encoding.UTF8.GetBytes(token, buffer)), MemoryMarshal.AsBytes(hash));
            ArrayPool<byte>.Shared.Return(buffer);
            return new(hash[0], hash[1]);
        }
    }
}
