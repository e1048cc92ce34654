using System.Globalization;
using System.Text.Json.Nodes;

namespace Agency.Conformance.Tests;

/// <summary>What <c>/openapi.json</c> says, in the shape that the suite generates from.</summary>
internal sealed class ApiDocument(JsonObject root)
{
    private static readonly string[] Verbs = ["get", "post", "put", "patch", "delete"];

    public JsonObject Root => root;

    public IReadOnlyList<Operation> Operations { get; } =
    [
        .. from path in (JsonObject)root["paths"]!
           from verb in (JsonObject)path.Value!
           where Verbs.Contains(verb.Key)
           select new Operation(root, path.Key, verb.Key, (JsonObject)verb.Value!),
    ];

    /// <summary>Follows a <c>$ref</c>; what is none is its own answer.</summary>
    public static JsonObject Resolve(JsonObject root, JsonNode node)
    {
        for (var at = (JsonObject)node; ;)
        {
            if ((string?)at["$ref"] is not { } reference)
                return at;
            JsonNode? target = root;
            foreach (var part in reference.TrimStart('#').Split('/', StringSplitOptions.RemoveEmptyEntries))
                target = target?[part.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal)];
            at = (JsonObject?)target ?? throw new InvalidOperationException($"{reference} leads nowhere.");
        }
    }
}

/// <summary>A parameter of a path or query.</summary>
/// <param name="Example">A value of a route that needs one of several parameters and gets this one.</param>
internal sealed record Parameter(string Name, bool IsRequired, JsonObject Schema, string? Example);

/// <summary>One method of one path.</summary>
internal sealed class Operation
{
    private readonly JsonObject _root;
    private readonly JsonObject _says;

    public Operation(JsonObject root, string template, string verb, JsonObject says)
    {
        _root = root;
        _says = says;
        Template = template;
        Method = new(verb.ToUpperInvariant());
        Query = ParametersIn("query");
        Path = ParametersIn("path");
        Statuses = [.. ((JsonObject)says["responses"]!).Where(r => r.Key != "default").Select(r => int.Parse(r.Key, CultureInfo.InvariantCulture))];
        var media = says["requestBody"]?["content"]?["application/json"];
        if (media is null)
            return;
        var schema = ApiDocument.Resolve(root, media["schema"]!);
        MaxItems = schema["oneOf"] is JsonArray { Count: 2 } either && (string?)either[1]!["type"] == "array" ? (int)either[1]!["maxItems"]! : 0;
        Body = MaxItems > 0 ? ApiDocument.Resolve(root, schema["oneOf"]![0]!) : schema;
        Example = media["example"];
    }

    public string Template { get; }

    public HttpMethod Method { get; }

    public string Name => $"{Method} {Template}";

    public string Id => (string)_says["operationId"]!;

    /// <summary>Null when anybody may call.</summary>
    public string? Scope => (string?)_says["security"]?.AsArray().FirstOrDefault()?["bearer"]?[0];

    public IReadOnlyList<Parameter> Query { get; }

    public IReadOnlyList<Parameter> Path { get; }

    /// <summary>The schema of the body, or of one item where an array of them may be sent too.</summary>
    public JsonObject? Body { get; }

    public int MaxItems { get; }

    public JsonNode? Example { get; }

    public bool IsBodyRequired => (bool?)_says["requestBody"]?["required"] == true;

    public int MaxBytes => (int)_says["requestBody"]!["x-max-bytes"]!;

    /// <summary>Every status that is described, but for the default.</summary>
    public IReadOnlyList<int> Statuses { get; }

    public int[] Successes => [.. Statuses.Where(s => s is >= 200 and < 300)];

    /// <summary>Its success names the path of what it made or began.</summary>
    public bool HasLocation => Successes.Any(s => Response(s)["headers"]?["Location"] is not null);

    /// <summary>It answers 207 and says for each item what is wrong with it, where others answer 400.</summary>
    public bool IsPartial => Statuses.Contains(207);

    public bool NeedsIfMatch => HeaderParameters.Contains("If-Match");

    public bool TakesIdempotencyKey => HeaderParameters.Contains("Idempotency-Key");

    public bool TakesIfNoneMatch => HeaderParameters.Contains("If-None-Match");

    /// <summary>What the names of the signature's headers begin with; null when a request is not signed.</summary>
    public string? SignedAs => HeaderParameters.FirstOrDefault(h => h.EndsWith("-signature", StringComparison.Ordinal))?[..^"-signature".Length];

    private IEnumerable<string> HeaderParameters => All.Where(p => (string)p["in"]! == "header").Select(p => (string)p["name"]!);

    private IEnumerable<JsonObject> All => (_says["parameters"] as JsonArray ?? []).Select(p => ApiDocument.Resolve(_root, p!));

    /// <summary>What the document says of an answer; its default for a status that it does not name.</summary>
    public JsonObject Response(int status) =>
        ApiDocument.Resolve(_root, _says["responses"]![status.ToString(CultureInfo.InvariantCulture)] ?? _says["responses"]!["default"]!);

    /// <summary>Whether a path is one of the template.</summary>
    public bool Fits(string path)
    {
        var (parts, segments) = (path.Split('/'), Template.Split('/'));
        return parts.Length == segments.Length && segments.Zip(parts).All(pair => pair.First.StartsWith('{') || pair.First == pair.Second);
    }

    public override string ToString() => Name;

    private Parameter[] ParametersIn(string place) =>
        [.. All.Where(p => (string)p["in"]! == place).Select(p => new Parameter((string)p["name"]!, (bool?)p["required"] == true, ApiDocument.Resolve(_root, p["schema"]!), (string?)p["example"]))];
}
