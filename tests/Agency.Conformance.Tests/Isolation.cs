using System.Globalization;
using System.Text.RegularExpressions;

namespace Agency.Conformance.Tests;

/// <summary>
/// Lists and reports name no id that could be another organisation's. So each is asked by an organisation that has nothing, first while
/// nobody has anything, then when another has something of everything: the answers must be the same.
/// </summary>
internal sealed partial class Isolation(World world)
{
    private readonly string _yesterday = Day(-1);
    private readonly string _dayAfterTomorrow = Day(2);
    private readonly Dictionary<string, string> _empty = [];
    private Task? _seeding;

    /// <summary>Asks what there is to ask. The database must be as it was made.</summary>
    public static async Task<Isolation> BeginAsync(World world)
    {
        var isolation = new Isolation(world);
        foreach (var operation in world.Document.Operations.Where(Concerns))
            isolation._empty[operation.Id] = Told(await world.SendAsync(isolation.Question(operation, world.Stranger)));
        return isolation;
    }

    public static bool Concerns(Operation operation) => operation.Method == HttpMethod.Get && operation.Scope is not null && operation.Path.Count == 0;

    /// <summary>The same question whoever asks and whenever, and one to which the home organisation's things are an answer.</summary>
    public Sent Question(Operation operation, string authorization)
    {
        var query = operation.Query.Select(p => (p.Name, Value: p.Name switch
        {
            "from" => _yesterday,
            "to" => _dayAfterTomorrow,
            _ when p.Example is not null => p.Example,
            _ when !p.IsRequired => null,
            _ => (string?)p.Schema["examples"]?[0] ?? (JsonSchema.Types(p.Schema) is ["string"] && p.Schema["enum"] is null ? World.Marker : world.Schema.Valid(p.Schema)!.ToString()),
        }));
        var text = string.Join('&', query.Where(q => q.Value is not null).Select(q => $"{q.Name}={Uri.EscapeDataString(q.Value!)}"));
        return new(operation.Method, operation.Template + (text.Length > 0 ? "?" + text : "")) { Authorization = authorization };
    }

    /// <summary>What is wrong with the answer to who has nothing, or null.</summary>
    public async Task<string?> WrongAsync(Operation operation, Received answer)
    {
        var own = await world.SendAsync(Question(operation, world.Bearer()));
        // What is told of the moment may be over.
        if (Told(own) == _empty[operation.Id] && own.MediaType != "text/event-stream")
            return $"it answers everybody alike, so that a leak could not be seen: add something that it shows to {nameof(Arrangements)}.{nameof(Arrangements.Seeds)}";
        return Told(answer) == _empty[operation.Id] ? null : $"it shows another organisation's: {answer.Text}\n    and not, as when there was nothing: {_empty[operation.Id]}";
    }

    /// <summary>Gives the home organisation something of everything.</summary>
    public Task SeedAsync() => _seeding ??= MakeAsync();

    private async Task MakeAsync()
    {
        foreach (var template in world.Document.Operations.Select(o => o.Template).Distinct())
            await world.ThingAsync(template);
        // One of these things may be a purge of others.
        await world.FingerprintAsync();
        foreach (var operation in world.Document.Operations.Where(o => o.Method == HttpMethod.Post && o.Scope is not null && o.Path.Count == 0))
            await SendAsync(await world.ValidAsync(operation, optional: true));
        foreach (var (method, path, body) in Arrangements.Seeds)
            await SendAsync(new(method, path) { Authorization = world.Bearer(), Body = World.Json(body), MediaType = "application/json", Headers = [("If-Match", "*")] });
        await world.FingerprintAsync();
    }

    private async Task SendAsync(Sent sent)
    {
        // There may be as many as there can be.
        if (await world.SendAsync(sent) is { Status: not (200 or 201 or 202 or 204 or 409) } refused)
            throw new InvalidOperationException($"{sent} is refused: {refused.Status} {refused.Text}");
    }

    /// <summary>An answer but for the moment it was given at.</summary>
    private static string Told(Received answer) => $"{answer.Status} {answer.Header("Link")} {Time().Replace(answer.Text, "then")}";

    private static string Day(int ahead) => DateTime.UtcNow.AddDays(ahead).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")]
    private static partial Regex Time();
}
