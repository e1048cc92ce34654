using System.Reflection;
using Agency.Hosting;

namespace Agency.Cli;

/// <summary>The assemblies of the function apps and domains, as the build found them by enumerating <c>functions/*/*</c>.</summary>
internal static class BuiltApps
{
    /// <summary>Every function app of this build; none in the official one, where each app runs in the Functions host.</summary>
    public static IReadOnlyList<Assembly> All { get; } = Load("FunctionApps");

    /// <summary>Everything that may carry migrations.</summary>
    public static IReadOnlyList<Assembly> WithMigrations { get; } = [.. Load("Domains"), .. AgencyHosting.EnginesWithMigrations];

    private static Assembly[] Load(string key) =>
    [
        .. typeof(BuiltApps).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
            .Where(list => list.Key == key)
            .SelectMany(list => list.Value!.Split(';', StringSplitOptions.RemoveEmptyEntries))
            .Select(Assembly.Load),
    ];
}
