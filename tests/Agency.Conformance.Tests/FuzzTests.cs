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
    private const int MostFailures = 20;

    [Fact]
    public async Task No_request_makes_a_route_fail_or_hang()
    {
        var time = Environment.GetEnvironmentVariable("AGENCY_FUZZ") is { Length: > 0 } text ? TimeSpan.Parse(text, CultureInfo.InvariantCulture) : (TimeSpan?)null;
        var seed = int.TryParse(Environment.GetEnvironmentVariable("AGENCY_FUZZ_SEED"), CultureInfo.InvariantCulture, out var given) ? given
            : time is null ? 1 : Random.Shared.Next();
        world.Say($"Fuzzing from seed {seed}{(time is null ? "" : $" for {time}")}.");
        var clock = Stopwatch.StartNew();
        var failures = new List<string>();
        var statuses = new SortedDictionary<int, int>();
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(async () =>
        {
            var things = new Dictionary<string, string>();
            foreach (var template in world.Document.Operations.Select(o => o.Template).Distinct())
                things[template] = await world.ThingAsync(template, fresh: true);
            // Every caller has numbers and things of its own. So what one does comes from the seed alone, but for what all share: the
            // organisation, and the ids that the server gives.
            for (var number = caller; (time is null ? number < ShortRun : clock.Elapsed < time) && failures.Count < MostFailures; number += Callers)
            {
                var fuzz = new Fuzz(world, new Random(unchecked((seed * 7919) + number)), $"{seed}-{number}");
                var (operation, sent, isGarbled) = fuzz.Next(things);
                if (number % Lifetime == 0)
                    await RenewAsync(things, operation.Template);
                var (status, wrong) = await TryAsync(operation, sent, isGarbled);
                lock (failures)
                {
                    statuses[status] = statuses.GetValueOrDefault(status) + 1;
                    if (wrong is not null)
                        failures.Add($"seed {seed}, request {number}, {operation.Name}: {wrong}\n    {sent}{Kept(sent, $"{seed}-{number}")}");
                }
            }
        })));
        world.Say($"Fuzzed with {statuses.Values.Sum()} requests in {clock.Elapsed.TotalSeconds:0} s: {string.Join(", ", statuses.Select(s => $"{s.Value} x {s.Key}"))}.");
        Assert.True(failures.Count == 0, $"{failures.Count} requests failed:\n{string.Join('\n', failures)}");
        // What was accepted must have been worked off.
        Assert.Empty(await world.LeftAsync());
    }

    private async Task<(int Status, string? Wrong)> TryAsync(Operation operation, Sent sent, bool isGarbled)
    {
        try
        {
            var answer = await world.SendAsync(sent);
            // A path that is no path of the template any more reaches another route or none.
            var isUnrouted = isGarbled && answer.Status is 404 or 405 && answer.Header("RateLimit") is null;
            return (answer.Status, Promises.Broken(world, operation, answer, isUnrouted) is { } broken ? $"{broken}: {answer.Status} {answer.Text}" : null);
        }
        catch (TaskCanceledException)
        {
            return (0, "no answer within 10 s");
        }
        catch (HttpRequestException broken)
        {
            return (0, broken.Message);
        }
    }

    /// <summary>What a request has deleted or ended is made anew, so that the next ones find something.</summary>
    private async Task RenewAsync(Dictionary<string, string> things, string template)
    {
        try
        {
            things[template] = await world.ThingAsync(template, fresh: true);
        }
        catch (Exception passing) when (passing is InvalidOperationException or TimeoutException or NpgsqlException)
        {
            // What it belongs to was deleted meanwhile, or the background is behind; whether it catches up is seen at the end.
        }
    }

    /// <summary>A body that is too long to print, as a file.</summary>
    private static string Kept(Sent sent, string name)
    {
        if (sent.Body is not { Length: > Sent.MostPrinted })
            return "";
        var file = Path.Combine(Path.GetTempPath(), $"agency-fuzz-{name}.body");
        File.WriteAllBytes(file, sent.Body);
        return $"\n    The body is in {file}.";
    }
}

/// <summary>One request at random.</summary>
/// <param name="world">Whose routes there are.</param>
/// <param name="random">Where all that is not the server's comes from.</param>
/// <param name="word">What makes the texts of this request differ from those of others.</param>
internal sealed class Fuzz(World world, Random random, string word)
{
    private readonly Generator _any = new(world.Document.Root, random);

    public (Operation Operation, Sent Sent, bool IsGarbled) Next(Dictionary<string, string> things)
    {
        var operation = _any.Pick(world.Document.Operations);
        var isGarbled = _any.Chance(10);
        var path = isGarbled ? Garbled(operation) : _any.Chance(90) ? things[operation.Template] : World.Unknown(operation, random);
        var query = operation.Query.Where(q => q.IsRequired || _any.Chance(50)).Select(q => $"{q.Name}={Uri.EscapeDataString(QueryValue(q))}").ToList();
        if (_any.Chance(5))
            query.Add($"{Uri.EscapeDataString(_any.Text())}={Uri.EscapeDataString(_any.Text())}");
        var headers = new List<(string, string)>();
        if (operation.NeedsIfMatch && _any.Chance(90))
            headers.Add(("If-Match", _any.Chance(60) ? "*" : _any.Chance(50) ? $"\"{random.Next(5)}\"" : _any.Printable()));
        if (operation.TakesIdempotencyKey && _any.Chance(40))
            headers.Add(("Idempotency-Key", _any.Chance(80) ? $"key-{random.Next(50)}" : _any.Printable()));
        if (operation.TakesIfNoneMatch && _any.Chance(20))
            headers.Add(("If-None-Match", _any.Chance(50) ? "*" : _any.Printable()));
        var sent = new Sent(operation.Method, path + (query.Count > 0 ? "?" + string.Join('&', query) : ""))
        {
            Authorization = _any.Chance(97) ? world.Bearer() : _any.Chance(50) ? world.Bearer(organisation: "fuzz") : "Bearer " + _any.Printable(),
            Headers = headers,
            Body = operation.Body is null ? null : Body(operation),
            MediaType = _any.Chance(98) ? "application/json" : _any.Printable(),
            IsChunked = _any.Chance(10),
        };
        return (operation, _any.Chance(90) ? World.Sign(operation, sent, _any.Uuid()) : sent, isGarbled);
    }

    private byte[] Body(Operation operation)
    {
        var body = operation.MaxItems > 0 && _any.Chance(50)
            ? new JsonArray([.. Enumerable.Range(0, random.Next(5)).Select(n => One(operation, n))])
            : One(operation, 0);
        for (var changes = random.Next(4); changes > 0; changes--)
            body = Mutate(body, 0);
        var text = body?.ToJsonString() ?? "null";
        if (_any.Chance(5))
            text = text.Replace("\":", $"\":{_any.Pick(Nasty.Refused).Literal},\"x\":", StringComparison.Ordinal);
        var bytes = Encoding.UTF8.GetBytes(text);
        if (_any.Chance(3))
            bytes = _any.Pick(Nasty.Json).Body;
        if (_any.Chance(5) && bytes.Length > 1)
            bytes = bytes[..random.Next(bytes.Length)];
        if (_any.Chance(5) && bytes.Length > 0)
            bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
        return bytes;
    }

    private JsonNode? One(Operation operation, int number) =>
        _any.Chance(50) && World.Example(operation, $"{word}-{number}") is { } example ? example : _any.Valid(operation.Body!);

    /// <summary>Changes one thing somewhere inside.</summary>
    private JsonNode? Mutate(JsonNode? node, int depth)
    {
        switch (node)
        {
            case JsonObject fields when depth < 5:
                if (fields.Count == 0 || _any.Chance(10))
                {
                    fields[_any.Text()] = _any.Value();
                    return fields;
                }

                var name = _any.Pick(fields.Select(f => f.Key).ToList());
                var old = fields[name];
                fields.Remove(name);
                if (!_any.Chance(15))
                    fields[name] = Mutate(old, depth + 1);
                return fields;
            case JsonArray items when depth < 5 && items.Count > 0 && _any.Chance(80):
                var at = random.Next(items.Count);
                var item = items[at];
                items.RemoveAt(at);
                if (!_any.Chance(15))
                    items.Insert(at, Mutate(item, depth + 1));
                return items;
            default:
                return _any.Value();
        }
    }

    private string QueryValue(Parameter parameter) => parameter.Name == "cursor" && _any.Chance(60) ? Convert.ToBase64String(Encoding.UTF8.GetBytes(_any.Text())).TrimEnd('=').Replace('+', '-').Replace('/', '_')
        : _any.Chance(70) ? _any.Valid(parameter.Schema)?.ToString() ?? ""
        : _any.Chance(40) ? _any.Number()
        : _any.Text();

    private string Garbled(Operation operation) => operation.Path.Aggregate(operation.Template, (path, parameter) =>
        path.Replace($"{{{parameter.Name}}}", Uri.EscapeDataString(_any.Text().Replace("\0", "", StringComparison.Ordinal) is { Length: > 0 } text and not "." and not ".." ? text : "x"), StringComparison.Ordinal));
}
