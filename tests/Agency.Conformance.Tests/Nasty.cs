using System.Text;
using System.Text.Json;

namespace Agency.Conformance.Tests;

/// <summary>Texts that have broken other software.</summary>
internal static class Nasty
{
    /// <summary>Attempts to have data run as something else. Each must be refused or kept as it is.</summary>
    public static IReadOnlyList<(string Name, string Text)> Injections { get; } =
    [
        ("SQL end of string", "'; drop table users.users; --"),
        ("SQL always true", "' or '1'='1"),
        ("SQL union", "1 union select null, version(), null--"),
        ("SQL sleep", "'||pg_sleep(15)||'"),
        ("SQL dollar quote", "$$; delete from platform.events; $$"),
        ("script", "<script>alert(1)</script>"),
        ("script in an attribute", "\" onmouseover=\"alert(1)"),
        ("template", "{{constructor.constructor('return process')()}}${7*7}"),
        ("path", "../../../../etc/passwd"),
        ("shell", "`id`; $(id) | id"),
        ("format", "%s%n%x{0}{1}"),
        ("like pattern", "%_%\\"),
        ("log line", "a\\nINFO forged"),
        ("search operators", "a & b | !c <-> (d:*"),
        ("json in text", "{\"$ne\":null}"),
    ];

    /// <summary>Texts of every kind of character that may be stored. Each must be refused or kept as it is.</summary>
    public static IReadOnlyList<(string Name, string Text)> Characters { get; } =
    [
        ("right to left", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"),
        ("right-to-left override", "abc\u202edef"),
        ("four bytes", "\U0001F600\U0001F468\u200d\U0001F469\u200d\U0001F467"),
        ("combining", "e\u0301a\u0308" + new string('\u0301', 20)),
        ("composed", "\u00e9\u00e4\uac00"),
        ("zero width", "a\u200b\u200d\ufeffb"),
        ("noncharacter", "a\ufffe\uffffb"),
        ("Turkish", "\u0130I\u0131i\u00df"),
        ("plane 16", char.ConvertFromUtf32(0x10FFFF)),
    ];

    /// <summary>JSON string literals that no field takes.</summary>
    public static IReadOnlyList<(string Name, string Literal)> Refused { get; } =
    [
        ("high surrogate alone", "\"a\\ud800\""),
        ("low surrogate alone", "\"\\udc00a\""),
        ("surrogates the wrong way round", "\"\\udc00\\ud800\""),
        ("NUL", "\"a\\u0000b\""),
        ("100,000 characters", $"\"{new string('x', 100_000)}\""),
    ];

    /// <summary>Bodies of JSON that some readers take and others do not.</summary>
    public static IReadOnlyList<(string Name, byte[] Body)> Json { get; } =
    [
        .. Refused.SelectMany(text => new (string, string)[] { (text.Name, $"{{\"a\":{text.Literal}}}"), ($"{text.Name} as a name", $"{{{text.Literal}:1}}") })
            .Append(("texts of all kinds", $"{{\"a\":{JsonSerializer.Serialize(Injections.Concat(Characters).Select(text => text.Text))}}}"))
            .Append(("deep arrays", $"{{\"a\":{new string('[', 63)}{new string(']', 63)}}}"))
            .Append(("deep objects", string.Concat(Enumerable.Repeat("{\"a\":", 63)) + "{}" + new string('}', 63)))
            .Append(("deeper arrays", $"{{\"a\":{new string('[', 64)}{new string(']', 64)}}}"))
            .Append(("a field twice", "{\"a\":1,\"a\":2}")).Append(("no field", "{}")).Append(("null", "null")).Append(("huge exponent", "{\"a\":1e400}"))
            .Append(("many digits", $"{{\"a\":{new string('9', 1000)}}}")).Append(("NUL raw", "{\"a\":\"a\0b\"}"))
            .Select(text => (text.Item1, Encoding.UTF8.GetBytes(text.Item2))),
        ("a surrogate in UTF-8", [.. "{\"a\":\""u8, 0xed, 0xa0, 0x80, .. "\"}"u8]),
    ];

    /// <summary>Bodies that are not JSON.</summary>
    public static IReadOnlyList<(string Name, byte[] Body)> NotJson { get; } =
    [
        .. new (string, string)[]
        {
            ("open object", "{"), ("open array", "["), ("open string", "{\"a\":\"b"), ("no value", "{\"a\":}"), ("no comma", "{\"a\":1 \"b\":2}"),
            ("comma at the end", "{\"a\":1,}"), ("two values", "{} {}"), ("text after", "{}x"), ("single quotes", "{'a':1}"), ("comment", "/* a */ {}"),
            ("bare word", "hello"), ("NaN", "{\"a\":NaN}"), ("leading zero", "{\"a\":01}"), ("hex", "{\"a\":0x1}"), ("plus", "{\"a\":+1}"),
            ("bad escape", "{\"a\":\"\\x\"}"), ("half an escape", "{\"a\":\"\\u12\"}"), ("raw newline in a string", "{\"a\":\"\n\"}"), ("XML", "<a/>"),
            ("blank", "  \n "), ("raw NUL", "\0"), ("deep arrays", new string('[', 1000) + new string(']', 1000)),
            ("deep objects", string.Concat(Enumerable.Repeat("{\"a\":", 1000)) + "1" + new string('}', 1000)),
        }.Select(text => (text.Item1, Encoding.UTF8.GetBytes(text.Item2))),
        ("bytes that are not UTF-8", [(byte)'{', (byte)'"', 0xff, 0xfe, (byte)'"', (byte)':', (byte)'1', (byte)'}']),
        ("overlong UTF-8", [(byte)'{', (byte)'"', 0xc0, 0xaf, (byte)'"', (byte)':', (byte)'1', (byte)'}']),
        ("a surrogate in UTF-8", [(byte)'{', (byte)'"', 0xed, 0xa0, 0x80, (byte)'"', (byte)':', (byte)'1', (byte)'}']),
        ("UTF-16", Encoding.Unicode.GetBytes("{\"a\":1}")),
        ("byte order mark alone", [0xef, 0xbb, 0xbf]),
    ];
}
