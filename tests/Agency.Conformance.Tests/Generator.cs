using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Agency.Conformance.Tests;

/// <summary>Values at random, the same for the same numbers: those that fit a schema, and those that have broken other software.</summary>
internal sealed class Generator(JsonObject root, Random random)
{
    private const int Deepest = 4;
    private static readonly string[] Numbers = ["0", "-1", "1.5", "1e400", "-0", "9223372036854775807", "9223372036854775808", "2147483648", "1e-400", "0.1e1", "123456789012345678901234567890"];
    private static readonly string[] Words = ["", " ", "0", "null", "true", "a", "A\u0000b", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "GB", "a@b.cd", Guid.Empty.ToString()];

    /// <summary>A value of the schema: of any length, number, word and set of fields that it allows.</summary>
    public JsonNode? Valid(JsonNode schemaNode, int depth = 0)
    {
        var schema = ApiDocument.Resolve(root, schemaNode);
        if ((schema["anyOf"] ?? schema["oneOf"]) is JsonArray any)
            return Valid(Pick([.. any])!, depth);
        if (schema["enum"] is JsonArray words)
            return Pick([.. words])?.DeepClone();
        if (schema["examples"] is JsonArray examples && Chance(50))
            return Pick([.. examples])!.DeepClone();
        return (JsonSchema.Types(schema) is { Length: > 0 } types ? Pick(types) : null) switch
        {
            "object" => ValidObject(schema, depth),
            "array" => new JsonArray([.. Enumerable.Range(0, Between((int?)schema["minItems"] ?? 0, (int?)schema["maxItems"] ?? int.MaxValue, depth < Deepest ? 4 : 0)).Select(_ => Valid(schema["items"] ?? new JsonObject(), depth + 1))]),
            "integer" => JsonValue.Create(Whole(schema)),
            "number" => Chance(50) ? JsonValue.Create(Whole(schema)) : JsonValue.Create(Fraction(schema)),
            "boolean" => Chance(50),
            "string" => ValidText(schema),
            "null" => null,
            _ => Value(depth),
        };
    }

    /// <summary>Any JSON, nice or nasty.</summary>
    public JsonNode? Value(int depth = 0) => random.Next(9) switch
    {
        0 => null,
        1 => Chance(50),
        2 => JsonNode.Parse(Number()),
        3 => new JsonArray(Text(), random.Next()),
        4 => depth < Deepest ? new JsonObject { [Text()] = Value(depth + 1) } : [],
        5 => Deep(random.Next(1, 70)),
        6 => new string('x', random.Next(1, 400)),
        _ => Text(),
    };

    /// <summary>A number as it may stand in JSON.</summary>
    public string Number() => Pick(Numbers);

    public string Text() => random.Next(4) switch
    {
        0 => Pick(Nasty.Injections).Text,
        1 => Pick(Nasty.Characters).Text,
        2 => string.Concat(Enumerable.Range(0, random.Next(1, 30)).Select(_ => Rune.TryCreate(random.Next(0x11000), out var rune) ? rune.ToString() : "x")),
        _ => Pick(Words),
    };

    public string Printable() => string.Concat(Enumerable.Range(0, random.Next(1, 40)).Select(_ => (char)random.Next(0x20, 0x7f))).Trim() is { Length: > 0 } text ? text : "x";

    public string Uuid()
    {
        var bytes = new byte[16];
        random.NextBytes(bytes);
        return new Guid(bytes).ToString();
    }

    public bool Chance(int percent) => random.Next(100) < percent;

    public T Pick<T>(IReadOnlyList<T> from) => from[random.Next(from.Count)];

    private static JsonArray Deep(int depth) => depth == 0 ? [] : new JsonArray(Deep(depth - 1));

    private JsonObject ValidObject(JsonObject schema, int depth)
    {
        var required = JsonSchema.Required(schema);
        var fields = new JsonObject();
        foreach (var (name, property) in schema["properties"] as JsonObject ?? [])
            if (required.Contains(name) || Chance(50))
                fields[name] = Valid(property!, depth + 1);
        // A map, or an object of which nothing is said.
        if (schema["properties"] is null && depth < Deepest)
            for (var n = random.Next(4); n > 0; n--)
                fields[Name()] = schema["additionalProperties"] is JsonObject value ? Valid(value, depth + 1) : Value(depth + 1);
        return fields;
    }

    private string Name() => Chance(70) ? Pick(["plan", "seats", "$path", "$utm_campaign", "a b", "orderId", "productId", "quantity", "unitPrice", "currency"]) : Text();

    private string ValidText(JsonObject schema)
    {
        if ((string?)schema["pattern"] is { } pattern)
        {
            var fit = JsonSchema.Words.Where(word => Regex.IsMatch(word, pattern)).ToList();
            return fit.Count > 0 ? Pick(fit) : "no text is known for the pattern";
        }

        switch ((string?)schema["format"])
        {
            case "uuid":
                return Uuid();
            case "date-time":
                return Time().ToString(Chance(50) ? "yyyy-MM-ddTHH:mm:ss.fffZ" : "yyyy-MM-ddTHH:mm:ss+02:00", CultureInfo.InvariantCulture);
            case "date":
                return Time().ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
            case "email":
                return $"{World.Marker}.{random.Next()}@{Pick(["example.com", "xn--bcher-kva.example", "a.b.c.example.org"])}";
            case "uri":
                return $"{Settings.Nowhere}/{World.Marker}/{random.Next()}";
        }

        var length = Between((int?)schema["minLength"] ?? 0, (int?)schema["maxLength"] ?? int.MaxValue, 40);
        var text = new StringBuilder();
        while (text.Length < length)
            text.Append(Chance(90) ? Pick(["a", "Z", "0", " ", "-", ".", "_", "'", "\u00e9", "\u5b57", "\u0416", "page-view", "order-line", World.Marker]) : Text());
        // Not between the halves of a character.
        var end = Math.Min(length, text.Length);
        return text.ToString(0, end > 0 && char.IsHighSurrogate(text[end - 1]) ? end - 1 : end);
    }

    /// <summary>Mostly of these years, now and then of the first or the last.</summary>
    private DateTime Time() => Chance(90) ? new DateTime(2015, 1, 1, 0, 0, 0, DateTimeKind.Utc).AddSeconds(random.NextInt64(20L * 365 * 86_400)) : Chance(50) ? DateTime.MinValue.AddDays(1) : DateTime.MaxValue.AddDays(-1);

    private long Whole(JsonObject schema)
    {
        var low = (decimal?)schema["minimum"] ?? int.MinValue;
        var high = (decimal?)schema["maximum"] ?? int.MaxValue;
        return (long)(random.Next(4) switch { 0 => low, 1 => high, 2 => Math.Clamp(random.Next(20), low, high), _ => low + Math.Floor((high - low) * (decimal)random.NextDouble()) });
    }

    private decimal Fraction(JsonObject schema)
    {
        var low = (decimal?)schema["minimum"] ?? -1_000_000;
        var high = (decimal?)schema["maximum"] ?? 1_000_000;
        return low + ((high - low) * (decimal)random.NextDouble());
    }

    /// <summary>A length that is allowed: mostly a usual one, now and then the shortest or the longest.</summary>
    private int Between(int least, int most, int usual) => random.Next(10) switch
    {
        0 => least,
        1 when most <= 1000 && usual > 0 => most,
        _ => Math.Min(most, least + random.Next(usual + 1)),
    };
}
