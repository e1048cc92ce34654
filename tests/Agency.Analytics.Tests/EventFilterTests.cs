using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Agency.Platform;
using Agency.Testing;

namespace Agency.Analytics.Tests;

/// <summary>What a filter lets through on PostgreSQL, against what it should in memory.</summary>
public sealed class EventFilterTests : IAsyncLifetime
{
    private static readonly DateTime Start = new(2024, 3, 1, 0, 0, 0, DateTimeKind.Utc);
    private static readonly string[] Names = ["country", "$device", "quantity", "flag", "a.b", "odd \"name'", "@event", "not", "größe"];
    private static readonly string[] Texts = ["GB", "gb", "DE", "É", "é", "Ää", "10", "true", "", "it's", "%", "_", "\\", "😀", "\uffee", "z"];
    private static readonly string[] Numbers = ["0", "-0", "10", "10.0", "1e1", "-3", "2.5", "2.50", "12345678901234567890.125", "1E-3", "0.001"];

    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await AnalyticsHost.StartAsync(consuming: false);

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task Lets_through_what_it_says()
    {
        (string Filter, string Expected)[] cases =
        [
            ("country = 'GB'", "1 2"),
            ("COUNTRY = 'GB'", ""),
            ("country='GB'and quantity>5", "2"),
            ("country = 'GB' or country = 'DE' and quantity = 1", "1 2 3"),
            ("(country = 'GB' or country = 'DE') and quantity = 1", "1 3"),
            ("not country = 'GB' and quantity = 1", "3"),
            ("NOT (country = 'GB' AND quantity = 1)", "2 3 4 5 6"),
            ("not not country = 'GB'", "1 2"),
            ("country != 'GB'", "3"),
            ("not country != 'GB'", "1 2 4 5 6"),
            ("country exists", "1 2 3 5"),
            ("country missing", "4 6"),
            ("country = 5", "5"),
            ("country < 'GB'", "3"),
            ("country >= 'DE' and country <= 'GB'", "1 2 3"),
            ("country contains 'b'", "1 2"),
            ("country contains ''", "1 2 3"),
            ("country in ('FR', 5, 'DE')", "3 5"),
            ("quantity = 1.0", "1 3"),
            ("quantity = 10e-1", "1 3"),
            ("quantity > 9.99", "2"),
            ("quantity >= 1 and quantity <= 10", "1 2 3"),
            ("quantity = '1'", "4"),
            ("quantity != 1", "2"),
            ("quantity < 1e400", "1 2 3"),
            ("vip = true", "1"),
            ("vip != true", "2"),
            ("vip in (true, false, 'x')", "1 2 3"),
            ("\"of \"\"two\"\" words\" = 'it''s'", "6"),
            ("a.b = 1", "6"),
            ("a exists", "5"),
            ("@event = 'sign-up'", "4 5 6"),
            ("\"@event\" = 'sign-up'", "1"),
            ("@user missing", "5"),
            ("@user contains 'U1' or @anonymous = 'a5'", "1 5"),
            ("@user = 1", ""),
            ("@event exists and @anonymous exists", "5"),
        ];
        await _host.Database.AddRawAsync(
        [
            Event(1, "order", """{"country":"GB","quantity":1,"vip":true,"@event":"sign-up"}""", "u1"),
            Event(2, "order", """{"country":"GB","quantity":10,"vip":false}""", "u2"),
            Event(3, "order", """{"country":"DE","quantity":1.00,"vip":"x"}""", "u3"),
            Event(4, "sign-up", """{"quantity":"1"}""", "u4"),
            Event(5, "sign-up", """{"country":5,"quantity":[1],"a":{"b":1}}""", null, "a5"),
            Event(6, "sign-up", """{"country":null,"of \"two\" words":"it's","a.b":1}""", "u6"),
            Event(7, "order", """{"country":"GB","quantity":1}""", "u1") with { Organisation = "beta" },
        ]);
        using var client = _host.Client();
        foreach (var (filter, expected) in cases)
            Assert.Equal((filter, expected), (filter, string.Join(' ', await FoundAsync(client, filter))));
    }

    [Fact]
    public async Task Random_filters_let_through_what_they_should()
    {
        var random = new Random(1);
        var events = Enumerable.Range(0, 250).Select(i => Event(
            i, Texts[random.Next(1, 4)], RandomProperties(random).ToJsonString(), random.Next(3) > 0 ? Texts[random.Next(5)] : null, random.Next(3) > 0 ? Texts[random.Next(8)] : null)).ToList();
        await _host.Database.AddRawAsync(events);
        using var client = _host.Client();
        var some = 0;
        for (var n = 0; n < 600; n++)
        {
            var (filter, fits) = RandomFilter(random, random.Next(4));
            var expected = events.Where(fits).Select(e => (string)e.Properties!["n"]!).Order(StringComparer.Ordinal).ToList();
            var found = await FoundAsync(client, filter);
            Assert.True(expected.SequenceEqual(found), $"{filter}\n  expected {string.Join(' ', expected)}\n  found    {string.Join(' ', found)}");
            some += expected.Count is > 0 and < 250 ? 1 : 0;
        }

        Assert.InRange(some, 300, 600);
    }

    /// <summary>The numbers of the events that it lets through.</summary>
    private static async Task<List<string>> FoundAsync(HttpClient client, string filter)
    {
        var answer = await client.AskAsync($"/analytics/events?breakdown=n&limit=1000&filter={Uri.EscapeDataString(filter)}");
        return [.. answer.GetProperty("top").EnumerateArray().Select(t => t.GetProperty("value").GetString()!).Order(StringComparer.Ordinal)];
    }

    private static RawEvent Event(int n, string name, string properties, string? user, string? anonymous = null)
    {
        var json = JsonNode.Parse(properties)!.AsObject();
        json["n"] = n.ToString(CultureInfo.InvariantCulture);
        return new(name, Start.AddMinutes(n), user, anonymous, json);
    }

    private static JsonObject RandomProperties(Random random)
    {
        var json = new JsonObject();
        foreach (var name in Names)
            switch (random.Next(9))
            {
                case 0: break;
                case 1: json[name] = null; break;
                case 2: json[name] = random.Next(2) == 0; break;
                case 3: json[name] = new JsonArray(1, "GB"); break;
                case 4: json[name] = new JsonObject { ["b"] = 10 }; break;
                case 5 or 6: json[name] = JsonNode.Parse(Numbers[random.Next(Numbers.Length)]); break;
                default: json[name] = Texts[random.Next(Texts.Length)]; break;
            }

        return json;
    }

    /// <summary>A filter, and what it means.</summary>
    private static (string Text, Func<RawEvent, bool> Fits) RandomFilter(Random random, int depth)
    {
        if (depth > 0)
        {
            var (left, a) = RandomFilter(random, depth - 1);
            var (right, b) = RandomFilter(random, random.Next(depth));
            return random.Next(4) switch
            {
                0 => ($"not ({left})", e => !a(e)),
                1 => ($"({left}) AND ({right})", e => a(e) && b(e)),
                _ => ($"({left})or({right})", e => a(e) || b(e)),
            };
        }

        var (property, value) = RandomProperty(random);
        switch (random.Next(8))
        {
            case 0:
                return ($"{property} exists", e => value(e) is not null);
            case 1:
                return ($"{property} missing", e => value(e) is null);
            case 2:
                var part = Texts[random.Next(Texts.Length)];
                return ($"{property} contains {Quoted(part)}", e => value(e) is string text && text.ToLowerInvariant().Contains(part.ToLowerInvariant(), StringComparison.Ordinal));
            case 3:
                var several = Enumerable.Range(0, random.Next(1, 5)).Select(_ => RandomLiteral(random)).ToList();
                return ($"{property} in ({string.Join(", ", several.Select(l => l.Text))})", e => several.Exists(l => Compare(value(e), l.Value) == 0));
            default:
                var (literal, other) = RandomLiteral(random);
                var symbols = other is bool ? ["=", "!="] : new[] { "=", "!=", "<", "<=", ">", ">=" };
                var symbol = symbols[random.Next(symbols.Length)];
                return ($"{property}{(random.Next(2) == 0 ? " " : "")}{symbol} {literal}", e => Compare(value(e), other) is { } c
                    && symbol switch { "=" => c == 0, "!=" => c != 0, "<" => c < 0, "<=" => c <= 0, ">" => c > 0, _ => c >= 0 });
        }
    }

    private static (string Text, Func<RawEvent, object?> Value) RandomProperty(Random random)
    {
        switch (random.Next(12))
        {
            case 0:
                return ("@event", e => e.Name);
            case 1:
                return ("@user", e => e.User);
            case 2:
                return ("@anonymous", e => e.Anonymous);
        }

        var name = Names[random.Next(Names.Length)];
        var plain = name is not ("@event" or "not") && name.All(c => char.IsLetter(c) || c is '.' or '$') && random.Next(3) > 0;
        return (plain ? name : "\"" + name.Replace("\"", "\"\"", StringComparison.Ordinal) + "\"", e => e.Properties![name] switch
        {
            // Not a JsonNode, which all of these could be turned into.
            null => (object?)null,
            JsonValue v when v.GetValueKind() == System.Text.Json.JsonValueKind.String => (string)v!,
            JsonValue v when v.GetValueKind() == System.Text.Json.JsonValueKind.Number => decimal.Parse(v.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture),
            JsonValue v => (bool)v,
            // An object or array is there, and like nothing.
            var other => other,
        });
    }

    private static (string Text, object Value) RandomLiteral(Random random)
    {
        if (random.Next(6) == 0)
            return random.Next(2) == 0 ? ("true", true) : ("false", false);
        if (random.Next(2) == 0)
            return Numbers[random.Next(Numbers.Length)] is var number ? (number, decimal.Parse(number, NumberStyles.Float, CultureInfo.InvariantCulture)) : default;
        return Texts[random.Next(Texts.Length)] is var text ? (Quoted(text), text) : default;
    }

    /// <summary>Null for values of different types.</summary>
    private static int? Compare(object? a, object b) => (a, b) switch
    {
        (string x, string y) => Encoding.UTF8.GetBytes(x).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(y)),
        (decimal x, decimal y) => x.CompareTo(y),
        (bool x, bool y) => x.CompareTo(y),
        _ => null,
    };

    private static string Quoted(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";
}

/// <summary>What is no filter.</summary>
public sealed class EventFilterErrorTests
{
    [Theory]
    [InlineData("", 1, "a property")]
    [InlineData("  ", 3, "a property")]
    [InlineData("country", 8, "one of =")]
    [InlineData("country = ", 11, "a 'text'")]
    [InlineData("country = GB", 11, "a 'text'")]
    [InlineData("country == 'GB'", 10, "a 'text'")]
    [InlineData("country = 'GB", 11, "' to end")]
    [InlineData("\"country = 1", 1, "\" to end")]
    [InlineData("country = 'GB' quantity = 1", 16, "and, or")]
    [InlineData("country = 'GB' and", 19, "a property")]
    [InlineData("(country = 'GB'", 16, ")")]
    [InlineData("country = 'GB')", 15, "the end")]
    [InlineData("quantity > true", 12, "a 'text' or a number")]
    [InlineData("quantity contains 1", 19, "a 'text'")]
    [InlineData("quantity = 007", 12, "a number")]
    [InlineData("quantity = 1e401", 12, "a number")]
    [InlineData("quantity = 1e99999999999", 12, "a number")]
    [InlineData("quantity = --1", 12, "a number")]
    [InlineData("quantity = 1 2", 14, "the end")]
    [InlineData("quantity in 1", 13, "(")]
    [InlineData("quantity in ()", 14, "a number")]
    [InlineData("quantity in (1", 15, ")")]
    [InlineData("@name = 'x'", 1, "@event")]
    [InlineData("country = null", 11, "true or false")]
    [InlineData("not", 4, "a property")]
    [InlineData("a = 1; drop table analytics.events", 6, "the end")]
    public void Tells_where_it_is_wrong(string filter, int at, string expected)
    {
        var message = Refused(filter);
        Assert.StartsWith($"At character {at}: ", message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Has_bounds()
    {
        EventFilter.Parse(new string('(', 20) + "a = 1" + new string(')', 20));
        Assert.Contains("20 parentheses", Refused(new string('(', 21) + "a = 1" + new string(')', 21)), StringComparison.Ordinal);
        Assert.Contains("20 parentheses", Refused(string.Concat(Enumerable.Repeat("not ", 400)) + "a = 1"), StringComparison.Ordinal);
        EventFilter.Parse(string.Join(" or ", Enumerable.Repeat("a = 1", 50)));
        Assert.Contains("50 comparisons", Refused(string.Join(" or ", Enumerable.Repeat("a = 1", 51))), StringComparison.Ordinal);
        EventFilter.Parse($"a in ({string.Join(',', Enumerable.Repeat("1", 50))})");
        Assert.Contains("50 comparisons", Refused($"a in ({string.Join(',', Enumerable.Repeat("1", 51))})"), StringComparison.Ordinal);
    }

    private static string Refused(string filter)
    {
        var problem = Assert.Throws<ProblemException>(() => EventFilter.Parse(filter)).Problem;
        Assert.Equal(400, problem.Status);
        return problem.Errors!["filter"].Single();
    }
}
