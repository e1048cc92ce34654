using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Agency.Platform;

namespace Agency.Testing;

/// <summary>
/// Holds a domain's events to their JSON Schemas, which are made from the records and checked in, one file for each event type. Events
/// stay in the log and other processes read them, so what has been promised must stay.
/// </summary>
public static class EventSchemas
{
    /// <summary>Set to 1 to write what is missing or has changed in a compatible way.</summary>
    public const string WriteVariable = "AGENCY_WRITE_SCHEMAS";

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, NewLine = "\n" };

    /// <summary>Compares every event of the domain with its file.</summary>
    /// <param name="domain">The assembly that holds the events.</param>
    /// <param name="folder">Where the schemas are, from the repository's root.</param>
    /// <returns>What is wrong, a sentence each; empty when all is well.</returns>
    public static IReadOnlyList<string> Check(Assembly domain, string folder) => Check(
        domain.GetTypes().Select(Event).OfType<(string Name, JsonTypeInfo Json)>().ToDictionary(e => e.Name, e => SchemaOf(e.Json)),
        Path.Combine(Root(), folder),
        Environment.GetEnvironmentVariable(WriteVariable) == "1");

    /// <param name="events">The schema of each event type as it is now.</param>
    /// <param name="folder">The files of what was promised.</param>
    /// <param name="write">Whether compatible changes are written to the files.</param>
    public static IReadOnlyList<string> Check(IReadOnlyDictionary<string, JsonNode> events, string folder, bool write)
    {
        Directory.CreateDirectory(folder);
        var wrong = new List<string>();
        foreach (var (name, schema) in events)
        {
            var file = Path.Combine(folder, name + ".json");
            var promised = File.Exists(file) ? JsonNode.Parse(File.ReadAllText(file)) : null;
            var broken = promised is null ? [] : Incompatible(promised, schema, "").ToList();
            if (broken.Count > 0)
                wrong.Add($"{name} has changed in a way that breaks who reads it: {string.Join("; ", broken)}. "
                    + "Give the changed event a new type (.v2) beside this one; or delete its file if it was never released.");
            else if (JsonNode.DeepEquals(promised, schema))
                continue;
            else if (write)
                File.WriteAllText(file, schema.ToJsonString(Indented) + "\n");
            else
                wrong.Add($"{name} differs from its schema, compatibly. Run the test once with {WriteVariable}=1 and commit {name}.json.");
        }

        wrong.AddRange(Directory.GetFiles(folder, "*.json").Select(Path.GetFileNameWithoutExtension).Except(events.Keys)
            .Select(name => $"{name} has a schema but no event any more. Bring it back, as the log still holds it; or delete the file if it was never released."));
        return wrong;
    }

    private static JsonNode SchemaOf(JsonTypeInfo json)
    {
        // As strict as what is read: a reference that is not nullable is never null on the wire.
        var options = new JsonSerializerOptions(json.Options)
        {
            RespectNullableAnnotations = true,
            RespectRequiredConstructorParameters = true,
            NumberHandling = JsonNumberHandling.Strict,
        };
        return options.GetJsonSchemaAsNode(json.Type, new() { TreatNullObliviousAsNonNullable = true });
    }

    /// <summary>How <paramref name="now"/> breaks what <paramref name="promised"/> says, a phrase for each place.</summary>
    private static IEnumerable<string> Incompatible(JsonNode promised, JsonNode now, string path)
    {
        var here = path.Length == 0 ? "the event" : path;
        if (promised is not JsonObject before || now is not JsonObject after)
        {
            if (!JsonNode.DeepEquals(promised, now))
                yield return $"{here} has another schema";
            yield break;
        }

        foreach (var keyword in (string[])["type", "format", "enum", "const", "$ref", "pattern"])
            if (!Texts(before[keyword]).SetEquals(Texts(after[keyword])))
                yield return $"{here} had {keyword} {before[keyword]?.ToJsonString() ?? "none"} and has {after[keyword]?.ToJsonString() ?? "none"}";
        foreach (var name in Names(after).Except(Names(before)))
            yield return $"{path}/{name} is required, but older events may not have it";
        foreach (var name in Names(before).Except(Names(after)))
            yield return $"{path}/{name} is not required any more, but readers count on it";
        if (before["properties"] is JsonObject properties)
        {
            foreach (var (name, property) in properties)
            {
                if (after["properties"]?[name] is not { } kept)
                    yield return $"{path}/{name} is missing (removed or renamed)";
                else
                    foreach (var inner in Incompatible(property!, kept, $"{path}/{name}"))
                        yield return inner;
            }
        }

        foreach (var keyword in (string[])["items", "additionalProperties"])
        {
            if (before[keyword] is null && after[keyword] is null)
                continue;
            foreach (var inner in Incompatible(before[keyword] ?? true, after[keyword] ?? true, $"{path}/{keyword}"))
                yield return inner;
        }
    }

    private static HashSet<string> Texts(JsonNode? node) => node switch
    {
        null => [],
        JsonArray array => [.. array.Select(item => item?.ToJsonString() ?? "null")],
        _ => [node.ToJsonString()],
    };

    private static IEnumerable<string> Names(JsonObject schema) => schema["required"] is JsonArray names ? names.Select(name => name!.GetValue<string>()) : [];

    private static (string, JsonTypeInfo)? Event(Type type)
    {
        if (!type.GetInterfaces().Any(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IDomainEvent<>)))
            return null;
        var eventType = type.GetProperty("EventType", BindingFlags.Public | BindingFlags.Static)!.GetValue(null)!;
        return (
            (string)eventType.GetType().GetProperty("Name")!.GetValue(eventType)!,
            (JsonTypeInfo)eventType.GetType().GetProperty("Json")!.GetValue(eventType)!);
    }

    private static string Root()
    {
        for (var folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
            if (File.Exists(Path.Combine(folder, "global.json")))
                return folder;
        throw new DirectoryNotFoundException("The tests run from a folder of the repository.");
    }
}
