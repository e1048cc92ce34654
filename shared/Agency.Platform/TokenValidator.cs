using System.Collections.Concurrent;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Platform;

/// <summary>Who a token stands for.</summary>
public sealed record Identity(string Tenant, string Subject, IReadOnlySet<string> Scopes);

/// <summary>
/// Validates bearer tokens: signature, issuer, audience and lifetime. A signature costs more than a query, so a token that has been
/// found good is remembered, until it expires, in a bounded table.
/// </summary>
public sealed class TokenValidator(LocalIssuer issuer, TimeProvider clock)
{
    private const int Remembered = 10_000;
    private static readonly JsonWebTokenHandler Handler = new() { MapInboundClaims = false };
    private readonly ConcurrentDictionary<string, (Identity Identity, DateTime ValidTo)> _good = new();
    private readonly TokenValidationParameters _parameters = new()
    {
        ValidIssuer = LocalIssuer.Name,
        ValidAudience = LocalIssuer.Audience,
        IssuerSigningKey = issuer.Key,
        ValidAlgorithms = [SecurityAlgorithms.EcdsaSha256, SecurityAlgorithms.RsaSha256],
        RequireSignedTokens = true,
        RequireExpirationTime = true,
        ClockSkew = TimeSpan.FromSeconds(30),
        LifetimeValidator = (from, to, _, p) => to is { } end && end + p.ClockSkew > clock.GetUtcNow().UtcDateTime
            && (from is null || from - p.ClockSkew <= clock.GetUtcNow().UtcDateTime),
    };

    /// <param name="authorization">The Authorization header.</param>
    /// <returns>Null when there is no token, or not a good one.</returns>
    public async ValueTask<Identity?> ValidateAsync(string authorization)
    {
        if (!authorization.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) || authorization.Length > 16_384)
            return null;
        var token = authorization[7..].Trim();
        if (_good.TryGetValue(token, out var known))
        {
            if (known.ValidTo + _parameters.ClockSkew > clock.GetUtcNow().UtcDateTime)
                return known.Identity;
            _good.TryRemove(token, out _);
        }

        var result = await Handler.ValidateTokenAsync(token, _parameters);
        if (!result.IsValid || result.SecurityToken is not JsonWebToken jwt
            || !jwt.TryGetPayloadValue<string>("org_id", out var tenant) || string.IsNullOrWhiteSpace(tenant) || string.IsNullOrEmpty(jwt.Subject))
            return null;
        var scopes = jwt.TryGetPayloadValue<string>("scope", out var scope) ? scope : "";
        var identity = new Identity(tenant, jwt.Subject, scopes.Split(' ', StringSplitOptions.RemoveEmptyEntries).ToHashSet(StringComparer.Ordinal));
        // Full means that thousands of tokens are in use; forgetting all costs each one more check.
        if (_good.Count >= Remembered)
            _good.Clear();
        _good[token] = (identity, jwt.ValidTo);
        return identity;
    }
}
