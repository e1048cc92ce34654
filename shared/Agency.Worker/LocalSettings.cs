using System.Text.Json;
using Microsoft.Extensions.Configuration;

namespace Agency.Worker;

/// <summary>Reads <c>Values</c> of the nearest local.settings.json, from the app's folder upwards, as the Functions Core Tools do.</summary>
internal static class LocalSettings
{
    public static void Add(IConfigurationManager configuration, string folder)
    {
        for (var at = new DirectoryInfo(folder); at is not null; at = at.Parent)
        {
            var file = Path.Combine(at.FullName, "local.settings.json");
            if (!File.Exists(file))
                continue;
            using var json = JsonDocument.Parse(File.ReadAllText(file));
            if (json.RootElement.TryGetProperty("Values", out var values))
                configuration.Sources.Insert(0, new Microsoft.Extensions.Configuration.Memory.MemoryConfigurationSource
                {
                    // A double underscore is how a setting's name spells the colon where colons are not allowed.
                    InitialData = [.. values.EnumerateObject().Select(v =>
                        KeyValuePair.Create(v.Name.Replace("__", ":", StringComparison.Ordinal), v.Value.GetString()))],
                });
            return;
        }
    }
}
