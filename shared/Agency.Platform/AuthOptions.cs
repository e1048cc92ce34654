using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Configuration;

namespace Agency.Platform;

/// <summary>
/// Whose tokens are good, and what they allow. Without an issuer the tokens of <see cref="LocalIssuer"/> are; with one, only that one's.
/// A claim's name may be a path into an object, such as <c>o.id</c>; of several names the first that a token has counts.
/// The defaults fit the session tokens of Clerk, old (<c>org_id</c>) and new (<c>o</c>), and the access tokens of most other issuers.
/// </summary>
public sealed partial record AuthOptions
{
    /// <summary>The <c>iss</c> of good tokens, and the address under which <c>/.well-known/openid-configuration</c> is. Null: the local issuer.</summary>
    public string? Issuer { get; init; }

    /// <summary>A token must be for one of these (<c>aud</c>). Empty: not looked at.</summary>
    public IReadOnlyList<string> Audiences { get; init; } = [LocalIssuer.Audience];

    /// <summary>A token must have been asked for by one of these (<c>azp</c>), which with Clerk is the web application's origin. Empty: not looked at.</summary>
    public IReadOnlyList<string> AuthorizedParties { get; init; } = [];

    /// <summary>Tokens signed with a key that is not known make us ask the issuer for its keys at most once in this time.</summary>
    public TimeSpan KeyRefreshCooldown { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long a key is good after the issuer last named it. The tokens of a key that the issuer has withdrawn are refused after this
    /// time at the latest, while the issuer can be reached.
    /// </summary>
    public TimeSpan KeyLifetime { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>The same while the issuer cannot be reached.</summary>
    public TimeSpan KeyGrace { get; init; } = TimeSpan.FromDays(1);

    /// <summary>The longest that asking the issuer takes, and so the longest that a request waits for it.</summary>
    public TimeSpan FetchTimeout { get; init; } = TimeSpan.FromSeconds(5);

    public string SubjectClaim { get; init; } = "sub";

    public IReadOnlyList<string> OrganisationClaims { get; init; } = ["org_id", "o.id"];

    /// <summary>Claims that hold scopes, as text with spaces between or as a list. All count. A leading <c>org:</c> is dropped.</summary>
    public IReadOnlyList<string> ScopeClaims { get; init; } = ["scope", "scp", "permissions", "org_permissions"];

    /// <summary>Claims that hold roles. All count. A leading <c>org:</c> is dropped.</summary>
    public IReadOnlyList<string> RoleClaims { get; init; } = ["roles", "role", "org_role", "o.rol"];

    /// <summary>The scopes that each role stands for. A role that is not here stands for none.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Roles { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>
    /// Reads <c>Auth:Issuer</c>, <c>Auth:Audience</c>, <c>Auth:AuthorizedParties</c>, <c>Auth:KeyRefreshCooldown</c>, <c>Auth:KeyLifetime</c>,
    /// <c>Auth:KeyGrace</c>, <c>Auth:FetchTimeout</c>, <c>Auth:Claims:Subject</c>, <c>:Organisation</c>, <c>:Scope</c> and <c>:Roles</c>, and
    /// <c>Auth:Roles:{role}</c>. Lists have spaces between.
    /// </summary>
    /// <exception cref="InvalidOperationException">A setting is wrong; the message says which and what it must be.</exception>
    public static AuthOptions From(IConfiguration settings)
    {
        var auth = settings.GetSection("Auth");
        var defaults = new AuthOptions();
        var issuer = auth["Issuer"] is { Length: > 0 } text ? CheckedIssuer(text) : null;
        var options = new AuthOptions
        {
            Issuer = issuer,
            Audiences = Words(auth["Audience"]) ?? (issuer is null ? defaults.Audiences : []),
            AuthorizedParties = Words(auth["AuthorizedParties"]) ?? [],
            KeyRefreshCooldown = Time(auth, "KeyRefreshCooldown", defaults.KeyRefreshCooldown, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(5)),
            KeyLifetime = Time(auth, "KeyLifetime", defaults.KeyLifetime, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)),
            KeyGrace = Time(auth, "KeyGrace", defaults.KeyGrace, TimeSpan.FromSeconds(1), TimeSpan.FromDays(30)),
            FetchTimeout = Time(auth, "FetchTimeout", defaults.FetchTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(30)),
            SubjectClaim = auth["Claims:Subject"] is { Length: > 0 } subject ? subject : defaults.SubjectClaim,
            OrganisationClaims = Words(auth["Claims:Organisation"]) ?? defaults.OrganisationClaims,
            ScopeClaims = Words(auth["Claims:Scope"]) ?? defaults.ScopeClaims,
            RoleClaims = Words(auth["Claims:Roles"]) ?? defaults.RoleClaims,
            Roles = auth.GetSection("Roles").GetChildren().ToDictionary(role => role.Key, ScopesOf, StringComparer.OrdinalIgnoreCase),
        };
        if (issuer is not null && options.Audiences.Count == 0 && options.AuthorizedParties.Count == 0)
            throw new InvalidOperationException(
                "Auth:Issuer is set, but not for whom its tokens must be, so a token for any other of its services would do here. "
                + "Set Auth:Audience, or for tokens without an audience (Clerk's session tokens) Auth:AuthorizedParties to the origins of your web applications.");
        return options;
    }

    private static string CheckedIssuer(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var uri) && (uri.Scheme == Uri.UriSchemeHttps || (uri.Scheme == Uri.UriSchemeHttp && uri.IsLoopback))
            && uri.Query.Length == 0 && uri.Fragment.Length == 0
            ? text
            : throw new InvalidOperationException(
                $"Auth:Issuer is '{text}'. It must be the https address that the tokens name as iss, such as https://clerk.example.com (http only on this machine).");

    private static IReadOnlyList<string> ScopesOf(IConfigurationSection role) =>
        Words(role.Value) is { } scopes && scopes.All(scope => Scope().IsMatch(scope))
            ? scopes
            : throw new InvalidOperationException(
                $"Auth:Roles:{role.Key} is '{role.Value}'. It must list scopes with spaces between, such as 'users:read users:write'.");

    private static string[]? Words(string? text) => text?.Split(' ', StringSplitOptions.RemoveEmptyEntries) is { Length: > 0 } words ? words : null;

    private static TimeSpan Time(IConfigurationSection auth, string name, TimeSpan otherwise, TimeSpan low, TimeSpan high) => auth[name] is not { Length: > 0 } text ? otherwise
        : TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out var value) && value >= low && value <= high ? value
        : throw new InvalidOperationException($"Auth:{name} is '{text}'. It must be a time span from {low:c} to {high:c}, such as {otherwise:c}.");

    /// <summary>What a scope looks like.</summary>
    [GeneratedRegex("^[a-z]+(-[a-z]+)*:[a-z]+$", RegexOptions.NonBacktracking)]
    internal static partial Regex Scope();
}
