using System.Globalization;
using System.Net.Mail;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Agency.Conformance.Tests;

/// <summary>As much of JSON Schema as the document uses: what is wrong with a value, and values that fit and that do not.</summary>
internal sealed class JsonSchema(JsonObject root)
{
    /// <summary>One of them fits every pattern that the document has.</summary>
    internal static readonly string[] Words = ["GB", "EUR", "abc", "a-b", "agency", "agency.users", "users:read", "1", "12", "2026-01-02"];
    private int _count;

    /// <summary>The first thing that is wrong, or null.</summary>
    public string? Wrong(JsonNode schemaNode, JsonNode? value, string at = "$")
    {
        var schema = ApiDocument.Resolve(root, schemaNode);
        if (schema["anyOf"] is JsonArray any)
            return any.Any(s => Wrong(s!, value, at) is null) ? null : $"{at} fits none of the alternatives.";
        if (schema["oneOf"] is JsonArray one)
            return one.Count(s => Wrong(s!, value, at) is null) == 1 ? null : $"{at} does not fit exactly one of the alternatives.";
        var types = Types(schema);
        if (types.Length > 0 && !types.Contains(TypeOf(value)) && !(TypeOf(value) == "integer" && types.Contains("number")))
            return $"{at} is {TypeOf(value)}, not {string.Join(" or ", types)}.";
        if (schema["enum"] is JsonArray words && !words.Any(w => JsonNode.DeepEquals(w, value)))
            return $"{at} is {value}, which is not one of {words.ToJsonString()}.";
        return value switch
        {
            JsonObject fields => WrongField(schema, fields, at),
            JsonArray items when schema["items"] is { } item => items.Select((v, i) => Wrong(item, v, $"{at}[{i}]")).FirstOrDefault(w => w is not null),
            JsonValue text when TypeOf(text) == "string" => WrongText(schema, (string)text!) is { } wrong ? $"{at} {wrong}" : null,
            _ => null,
        };
    }

    /// <summary>A value that fits, no two of which are alike where that matters.</summary>
    /// <param name="optional">With the optional fields too, but for those that name other things.</param>
    public JsonNode? Valid(JsonNode schemaNode, bool optional = false)
    {
        var schema = ApiDocument.Resolve(root, schemaNode);
        if ((schema["anyOf"] ?? schema["oneOf"]) is JsonArray any)
            return Valid(any.First(s => !Types(ApiDocument.Resolve(root, s!)).SequenceEqual(["null"]))!, optional);
        if (schema["examples"] is JsonArray examples)
            return examples[0]!.DeepClone();
        if (schema["enum"] is JsonArray words)
            return words.First(w => w is not null)!.DeepClone();
        return Types(schema).FirstOrDefault(t => t != "null") switch
        {
            "object" => new JsonObject(((schema["properties"] as JsonObject) ?? [])
                .Where(p => Required(schema).Contains(p.Key) || (optional && (string?)ApiDocument.Resolve(root, p.Value!)["format"] != "uuid"))
                .Select(p => KeyValuePair.Create(p.Key, Valid(p.Value!, optional)))),
            "array" => new JsonArray([.. Enumerable.Range(0, (int?)schema["minItems"] ?? (optional ? 1 : 0)).Select(_ => Valid(schema["items"] ?? new JsonObject(), optional))]),
            "integer" or "number" => JsonValue.Create((decimal?)schema["minimum"] ?? 1m),
            "boolean" => JsonValue.Create(true),
            "string" => JsonValue.Create(ValidText(schema)),
            _ => JsonValue.Create("anything"),
        };
    }

    /// <summary>Values that do not fit, each with a word that says why.</summary>
    public IEnumerable<(string Why, JsonNode? Value)> Invalid(JsonNode schemaNode)
    {
        var schema = ApiDocument.Resolve(root, schemaNode);
        var types = Types(schema);
        if ((schema["anyOf"] ?? schema["oneOf"]) is JsonArray any)
        {
            types = [.. any.SelectMany(s => Types(ApiDocument.Resolve(root, s!)))];
            schema = ApiDocument.Resolve(root, any[0]!);
        }

        if (types.Length == 0)
            yield break;
        (string, JsonNode?)[] kinds = [("string", "text"), ("integer", 12), ("boolean", true), ("array", new JsonArray()), ("object", new JsonObject()), ("null", null)];
        foreach (var (kind, value) in kinds)
            if (!types.Contains(kind) && !(kind == "integer" && types.Contains("number")))
                yield return (kind, value);
        if (types.Contains("integer"))
        {
            yield return ("fraction", 1.5);
            yield return ("number as text", "12");
            yield return ("out of range", JsonNode.Parse("99999999999999999999"));
            yield return ("huge exponent", JsonNode.Parse("1e400"));
        }

        if (types.Contains("integer") || types.Contains("number"))
        {
            if ((decimal?)schema["minimum"] is { } low)
                yield return ("below the minimum", low - 1);
            if ((decimal?)schema["maximum"] is { } high)
                yield return ("above the maximum", high + 1);
        }

        if (types.Contains("string"))
        {
            foreach (var text in InvalidTexts(schema))
                yield return text;
        }

        if (types.Contains("array") && schema["items"] is { } items)
        {
            foreach (var (why, value) in Invalid(items).Take(3))
                yield return ($"item {why}", new JsonArray(value?.DeepClone()));
            if ((int?)schema["maxItems"] is { } most)
                yield return ("too many items", new JsonArray([.. Enumerable.Range(0, most + 1).Select(_ => Valid(items))]));
        }
    }

    /// <summary>The types that it allows; none when it allows any.</summary>
    public static string[] Types(JsonObject schema) => schema["type"] switch
    {
        JsonArray several => [.. several.Select(t => (string)t!)],
        JsonValue one => [(string)one!],
        _ => [],
    };

    public static string[] Required(JsonObject schema) => [.. (schema["required"] as JsonArray ?? []).Select(r => (string)r!)];

    private string? WrongField(JsonObject schema, JsonObject fields, string at)
    {
        if (Required(schema).FirstOrDefault(r => !fields.ContainsKey(r)) is { } missing)
            return $"{at} has no {missing}.";
        foreach (var (name, value) in fields)
        {
            if (schema["properties"]?[name] is { } property)
            {
                if (Wrong(property, value, $"{at}.{name}") is { } wrong)
                    return wrong;
            }
            else if (schema["additionalProperties"] is JsonObject others)
            {
                if (Wrong(others, value, $"{at}.{name}") is { } wrong)
                    return wrong;
            }
            else if (schema["properties"] is not null)
            {
                return $"{at} has {name}, which is not described.";
            }
        }

        return null;
    }

    private static string? WrongText(JsonObject schema, string text) => (string?)schema["format"] switch
    {
        "uuid" when !Guid.TryParseExact(text, "D", out _) => "is no UUID.",
        "date-time" when !DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, out _) => "is no time.",
        "email" when !MailAddress.TryCreate(text, out _) => "is no email address.",
        "uri" when !Uri.TryCreate(text, UriKind.Absolute, out _) => "is no URI.",
        _ when text.Length > ((int?)schema["maxLength"] ?? int.MaxValue) => "is too long.",
        _ when text.Length < ((int?)schema["minLength"] ?? 0) => "is too short.",
        _ when (string?)schema["pattern"] is { } pattern && !Regex.IsMatch(text, pattern) => "does not match the pattern.",
        _ => null,
    };

    private string ValidText(JsonObject schema)
    {
        var n = Interlocked.Increment(ref _count);
        if ((string?)schema["pattern"] is { } pattern)
            return Words.FirstOrDefault(w => Regex.IsMatch(w, pattern))
                ?? throw new InvalidOperationException($"No text is known for the pattern {pattern}; give the operation an Example.");
        return (string?)schema["format"] switch
        {
            "uuid" => Guid.NewGuid().ToString(),
            "date-time" => "2026-01-02T03:00:00Z",
            "date" => "2026-01-02",
            "email" => $"{World.Marker}-{n}-{Guid.NewGuid():N}@example.com",
            "uri" => $"{Settings.Nowhere}/{World.Marker}/{n}",
            _ => new string(Fit($"{World.Marker}-{n}", schema)),
        };
    }

    private static char[] Fit(string text, JsonObject schema) =>
        [.. text.PadRight((int?)schema["minLength"] ?? 0, 'x').Take((int?)schema["maxLength"] ?? int.MaxValue)];

    private static IEnumerable<(string, JsonNode?)> InvalidTexts(JsonObject schema)
    {
        switch ((string?)schema["format"])
        {
            case "uuid":
                yield return ("not a UUID", "not-a-uuid");
                yield return ("braced UUID", $"{{{Guid.NewGuid()}}}");
                break;
            case "date-time":
                yield return ("not a time", "yesterday");
                yield return ("impossible time", "2026-02-30T00:00:00Z");
                break;
            case "email":
                yield return ("not an address", "nobody");
                yield return ("two addresses", "a@example.com,b@example.com");
                break;
            case "uri":
                yield return ("not a URI", "not a uri");
                yield return ("script URI", "javascript:alert(1)");
                break;
        }

        if (schema["enum"] is not null)
            yield return ("not one of the words", "no-such-word");
        if (schema["pattern"] is not null)
            yield return ("does not match", "!!!");
        if ((int?)schema["maxLength"] is { } most)
            yield return ("too long", new string('x', most + 1));
        if ((int?)schema["minLength"] is > 0)
            yield return ("empty", "");
    }

    private static string TypeOf(JsonNode? value) => value?.GetValueKind() switch
    {
        null or JsonValueKind.Null => "null",
        JsonValueKind.Object => "object",
        JsonValueKind.Array => "array",
        JsonValueKind.String => "string",
        JsonValueKind.True or JsonValueKind.False => "boolean",
        _ => value.ToJsonString().AsSpan().ContainsAny(".eE") ? "number" : "integer",
    };
}
