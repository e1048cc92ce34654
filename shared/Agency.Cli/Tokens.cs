using System.Reflection;
using Agency.Platform;

namespace Agency.Cli;

/// <summary>Tokens of the home's own issuer.</summary>
internal static class Tokens
{
    /// <param name="scopes">What it allows; null for every scope that a function of this build asks for.</param>
    public static string Issue(Workspace workspace, string organisation, string subject, IReadOnlyList<string>? scopes, TimeSpan lifetime)
    {
        Directory.CreateDirectory(workspace.Home);
        return LocalIssuer.Open(workspace.Home).Issue(organisation, subject, scopes ?? EveryScope(), lifetime);
    }

    private static string[] EveryScope() =>
    [
        .. BuiltApps.All
            .SelectMany(app => app.GetExportedTypes())
            .SelectMany(type => type.GetMethods())
            .Select(method => method.GetCustomAttribute<RequireScopeAttribute>()?.Scope)
            .OfType<string>()
            .Distinct()
            .Order(StringComparer.Ordinal),
    ];
}
