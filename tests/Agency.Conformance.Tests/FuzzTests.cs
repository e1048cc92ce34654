using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Npgsql;

namespace Agency.Conformance.Tests;

/// <summary>
/// Requests made at random from a seed, valid and nearly so, to all routes. <c>./agency test --fuzz 10m --seed N</c> sets how long and
/// from which seed; without, it is a short run of one seed.
/// </summary>
[Collection(InOneWorld.Name)]
public sealed class FuzzTests(World world)
{
    private const int ShortRun = 1500;
    private const int Callers = 4;
    private const int Lifetime = 7;

    [Fact]
    public async Task No_request_makes_a_route_fail_or_hang()
    {
        var time = Environment.GetEnvironmentVariable("AGENCY_FUZZ") is { Length: > 0 } text ? TimeSpan.Parse(text, CultureInfo.InvariantCulture) : (TimeSpan?)null;
        var seed = int.TryParse(Environment.GetEnvironmentVariable("AGENCY_FUZZ_SEED"), CultureInfo.InvariantCulture, out var given) ? given
            : time is null ? 1 : Random.Shared.Next();
        world.Say($"Fuzzing from seed {seed}{(time is null ? "" : $" for {time}")}.");
        var things = new ConcurrentDictionary<string, string>();
        foreach (var template in world.Document.Operations.Select(o => o.Template).Distinct())
            things[template] = (await world.ThingAsync(template, fresh: true)).Path;
        var clock = Stopwatch.StartNew();
        var failures = new List<string>();
        var statuses = new SortedDictionary<int, int>();
        var next = -1;
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(_ => Task.Run(async () =>
        {
            while (Interlocked.Increment(ref next) is var number && (time is null ? number < ShortRun : clock.Elapsed < time) && failures.Count < 20)
            {
                // Each request by itself comes from the seed and its number, whatever the others do.
                var fuzz = new Fuzz(world, new Random(unchecked((seed * 7919) + number)));
                var (operation, sent) = fuzz.Next(things);
                if (number % 10 > 0)
                    sent = World.Sign(operation, sent);
                string? wrong;
                var status = 0;
                try
                {
                    if (number % Lifetime == 0)
                        await RenewAsync(things, operation.Template);
                    var answer = await world.SendAsync(sent);
                    status = answer.Status;
                    wrong = answer.Status >= 500 ? $"{answer.Status} {answer.Text}" : null;
                }
                catch (TaskCanceledException)
                {
                    wrong = "no answer within 10 s";
                }
                catch (HttpRequestException broken)
                {
                    wrong = broken.Message;
                }

                lock (failures)
                {
                    statuses[status] = statuses.GetValueOrDefault(status) + 1;
                    if (wrong is not null)
                        failures.Add($"seed {seed}, request {number}, {operation.Name}: {wrong}\n    {sent}");
                }
            }
        })));
        world.Say($"Fuzzed with {statuses.Values.Sum()} requests in {clock.Elapsed.TotalSeconds:0} s: {string.Join(", ", statuses.Select(s => $"{s.Value} x {s.Key}"))}.");
        Assert.True(failures.Count == 0, $"{failures.Count} requests failed:\n{string.Join('\n', failures)}");
    }

    /// <summary>What a request has deleted or ended is made anew, so that the next ones find something.</summary>
    private async Task RenewAsync(ConcurrentDictionary<string, string> things, string template)
    {
        try
        {
            things[template] = (await world.ThingAsync(template, fresh: true)).Path;
        }
        catch (Exception passing) when (passing is InvalidOperationException or TimeoutException or NpgsqlException)
        {
            // What it belongs to was deleted meanwhile, or the background is busy with what was sent so far.
        }
    }
}

/// <summary>One request at random.</summary>
internal sealed class Fuzz(World world, Random random)
{
    private static readonly string[] Numbers = ["0", "-1", "1.5", "1e400", "-0", "9223372036854775807", "9223372036854775808", "2147483648", "1e-400", "0.1e1", "123456789012345678901234567890"];

    public (Operation Operation, Sent Sent) Next(IReadOnlyDictionary<string, string> things)
    {
        var operation = Pick(world.Document.Operations);
        var path = Chance(80) ? things[operation.Template] : Chance(50) ? world.Unknown(operation.Template) : Garbled(operation);
        var query = operation.Query.Where(q => q.IsRequired || Chance(50)).Select(q => $"{q.Name}={Uri.EscapeDataString(QueryValue(q))}").ToList();
        if (Chance(5))
            query.Add($"{Uri.EscapeDataString(Text())}={Uri.EscapeDataString(Text())}");
        var headers = new List<(string, string)>();
        if (operation.NeedsIfMatch && Chance(90))
            headers.Add(("If-Match", Chance(60) ? "*" : Chance(50) ? $"\"{random.Next(5)}\"" : Printable()));
        if (operation.TakesIdempotencyKey && Chance(40))
            headers.Add(("Idempotency-Key", Chance(80) ? $"key-{random.Next(50)}" : Printable()));
        if (operation.TakesIfNoneMatch && Chance(20))
            headers.Add(("If-None-Match", Chance(50) ? "*" : Printable()));
        return (operation, new(operation.Method, path + (query.Count > 0 ? "?" + string.Join('&', query) : ""))
        {
            Authorization = Chance(97) ? world.Bearer() : Chance(50) ? world.Stranger : "Bearer " + Printable(),
            Headers = headers,
            Body = operation.Body is null ? null : Body(operation),
            MediaType = Chance(98) ? "application/json" : Printable(),
            IsChunked = Chance(10),
        });
    }

    private byte[] Body(Operation operation)
    {
        JsonNode? body = operation.MaxItems > 0 && Chance(50)
            ? new JsonArray([.. Enumerable.Range(0, random.Next(5)).Select(_ => world.ValidBody(operation, Chance(50)))])
            : world.ValidBody(operation, Chance(50));
        for (var changes = random.Next(4); changes > 0; changes--)
            body = Mutate(body, 0);
        var text = body?.ToJsonString() ?? "null";
        if (Chance(5))
            text = text.Replace("\":", $"\":{Pick(Nasty.Refused).Literal},\"x\":", StringComparison.Ordinal);
        var bytes = Encoding.UTF8.GetBytes(text);
        if (Chance(5) && bytes.Length > 1)
            bytes = bytes[..random.Next(bytes.Length)];
        if (Chance(5) && bytes.Length > 0)
            bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
        return bytes;
    }

    /// <summary>Changes one thing somewhere inside.</summary>
    private JsonNode? Mutate(JsonNode? node, int depth)
    {
        switch (node)
        {
            case JsonObject fields when depth < 5:
                if (fields.Count == 0 || Chance(10))
                {
                    fields[Text()] = Value();
                    return fields;
                }

                var name = Pick(fields.Select(f => f.Key).ToList());
                var old = fields[name];
                fields.Remove(name);
                if (!Chance(15))
                    fields[name] = Mutate(old, depth + 1);
                return fields;
            case JsonArray items when depth < 5 && items.Count > 0 && Chance(80):
                var at = random.Next(items.Count);
                var item = items[at];
                items.RemoveAt(at);
                if (!Chance(15))
                    items.Insert(at, Mutate(item, depth + 1));
                return items;
            default:
                return Value();
        }
    }

    private JsonNode? Value() => random.Next(9) switch
    {
        0 => null,
        1 => Chance(50),
        2 => JsonNode.Parse(Pick(Numbers)),
        3 => new JsonArray(Text(), random.Next()),
        4 => new JsonObject { [Text()] = Text() },
        5 => Deep(random.Next(1, 40)),
        6 => new string('x', random.Next(1, 400)),
        _ => Text(),
    };

    private static JsonArray Deep(int depth) => depth == 0 ? [] : new JsonArray(Deep(depth - 1));

    private string Text() => random.Next(4) switch
    {
        0 => Pick(Nasty.Injections).Text,
        1 => Pick(Nasty.Characters).Text,
        2 => string.Concat(Enumerable.Range(0, random.Next(1, 30)).Select(_ => Rune.TryCreate(random.Next(0x11000), out var rune) ? rune.ToString() : "x")),
        _ => Pick(["", " ", "0", "null", "true", "a", "A\u0000b", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "GB", "a@b.cd", Guid.Empty.ToString()]),
    };

    private string QueryValue(Parameter parameter) => Chance(60) && parameter.Name != "cursor" ? world.Schema.Valid(parameter.Schema)!.ToString()
        : Chance(40) ? Pick(Numbers)
        : parameter.Name == "cursor" && Chance(60) ? Convert.ToBase64String(Encoding.UTF8.GetBytes(Text())).TrimEnd('=').Replace('+', '-').Replace('/', '_')
        : Text();

    private string Garbled(Operation operation) => operation.Path.Aggregate(operation.Template, (path, parameter) =>
        path.Replace($"{{{parameter.Name}}}", Uri.EscapeDataString(Text().Replace("\0", "", StringComparison.Ordinal) is { Length: > 0 } text and not "." and not ".." ? text : "x"), StringComparison.Ordinal));

    private string Printable() => string.Concat(Enumerable.Range(0, random.Next(1, 40)).Select(_ => (char)random.Next(0x20, 0x7f))).Trim() is { Length: > 0 } text ? text : "x";

    private bool Chance(int percent) => random.Next(100) < percent;

    private T Pick<T>(IReadOnlyList<T> from) => from[random.Next(from.Count)];
}
