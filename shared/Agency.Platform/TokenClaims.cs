using System.Text.Json;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Platform;

/// <summary>Who a credential stands for.</summary>
/// <param name="Tenant">The organisation.</param>
/// <param name="Subject">The user, or <c>api-key:</c> and the key's id.</param>
public sealed record Identity(string Tenant, string Subject, IReadOnlySet<string> Scopes);

/// <summary>Reads from a validated token who it stands for.</summary>
internal static class TokenClaims
{
    /// <summary>Null when the token names no organisation or no subject.</summary>
    public static Identity? Identify(JsonWebToken token, AuthOptions options)
    {
        using var payload = JsonDocument.Parse(Base64UrlEncoder.DecodeBytes(token.EncodedPayload));
        var claims = payload.RootElement;
        var tenant = options.OrganisationClaims.Select(name => Text(claims, name)).FirstOrDefault(text => text is not null);
        if (tenant is null || Text(claims, options.SubjectClaim) is not { } subject)
            return null;
        var scopes = options.ScopeClaims.SelectMany(name => Words(claims, name)).Concat(FeaturePermissions(claims)).ToHashSet(StringComparer.Ordinal);
        foreach (var role in options.RoleClaims.SelectMany(name => Words(claims, name)))
            if (options.Roles.TryGetValue(role, out var granted))
                scopes.UnionWith(granted);
        return new(tenant, subject, scopes);
    }

    /// <summary>The one who asked for the token.</summary>
    public static string? AuthorizedParty(JsonWebToken token) => token.TryGetPayloadValue<string>("azp", out var party) ? party : null;

    private static string? Text(JsonElement claims, string name) =>
        Find(claims, name) is { ValueKind: JsonValueKind.String } value && value.GetString() is { } text && !string.IsNullOrWhiteSpace(text) ? text : null;

    private static IEnumerable<string> Words(JsonElement claims, string name)
    {
        var texts = Find(claims, name) switch
        {
            { ValueKind: JsonValueKind.String } text => text.GetString()!.Split(' ', StringSplitOptions.RemoveEmptyEntries),
            { ValueKind: JsonValueKind.Array } list => list.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.String).Select(item => item.GetString()!),
            _ => [],
        };
        return texts.Select(text => text.StartsWith("org:", StringComparison.Ordinal) ? text[4..] : text);
    }

    /// <summary>A name is looked for as it is first, as some issuers' claims are named by URLs, which have dots too.</summary>
    private static JsonElement? Find(JsonElement claims, string name)
    {
        if (claims.ValueKind != JsonValueKind.Object)
            return null;
        if (claims.TryGetProperty(name, out var value))
            return value;
        var dot = name.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 && claims.TryGetProperty(name[..dot], out var inner) ? Find(inner, name[(dot + 1)..]) : null;
    }

    /// <summary>
    /// The permissions of a Clerk token of version 2: <c>fea</c> lists features, those of the organisation marked with an o; for each of them
    /// <c>o.fpm</c> has a number whose bit n, from the lowest, says whether the feature has the n-th permission of <c>o.per</c>.
    /// </summary>
    private static IEnumerable<string> FeaturePermissions(JsonElement claims)
    {
        if (Text(claims, "fea") is not { } features || Text(claims, "o.per") is not { } names || Text(claims, "o.fpm") is not { } numbers)
            yield break;
        var permissions = names.Split(',', StringSplitOptions.TrimEntries);
        var ofOrganisation = features.Split(',', StringSplitOptions.TrimEntries).Select(feature => feature.Split(':', 2))
            .Where(feature => feature.Length == 2 && feature[0].Contains('o', StringComparison.Ordinal)).Select(feature => feature[1]);
        foreach (var (feature, number) in ofOrganisation.Zip(numbers.Split(',')))
            for (var n = 0; n < permissions.Length && n < 63; n++)
                if (long.TryParse(number, out var bits) && (bits >> n & 1) == 1)
                    yield return $"{feature}:{permissions[n]}";
    }
}
