using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json.Nodes;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Npgsql;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Agency.Conformance.Tests;

/// <summary>A request, ready to be sent.</summary>
internal sealed record Sent(HttpMethod Method, string Path)
{
    /// <summary>Bytes of a body that are printed.</summary>
    public const int MostPrinted = 4000;

    /// <summary>The Authorization header; null for none.</summary>
    public string? Authorization { get; init; }

    public byte[]? Body { get; init; }

    public string? MediaType { get; init; }

    /// <summary>Without a Content-Length.</summary>
    public bool IsChunked { get; init; }

    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>As a command line that does the same.</summary>
    public override string ToString()
    {
        var text = new StringBuilder($"curl -i -X {Method} '$URL{Path.Replace("'", "'\\''", StringComparison.Ordinal)}'");
        foreach (var (name, value) in Headers)
            text.Append(CultureInfo.InvariantCulture, $" -H '{name}: {value}'");
        if (Authorization is not null)
            text.Append(CultureInfo.InvariantCulture, $" -H 'Authorization: {(Authorization.Length > 60 ? Authorization[..12] + "..." : Authorization)}'");
        if (Body is null)
            return text.ToString();
        text.Append(CultureInfo.InvariantCulture, $" -H 'Content-Type: {MediaType}'");
        return Body.Length > MostPrinted
            ? text.Append(CultureInfo.InvariantCulture, $" --data-binary <{Body.Length} bytes that begin with {Encoding.UTF8.GetString(Body, 0, 60)}>").ToString()
            : $"printf '%b' '{Escaped(Body)}' | {text.Append(" --data-binary @-")}";
    }

    private static string Escaped(byte[] body) =>
        string.Concat(body.Select(b => b is >= 0x20 and < 0x7f and not (byte)'\'' and not (byte)'\\' and not (byte)'%' ? $"{(char)b}" : $"\\x{b:x2}"));
}

/// <summary>What came back.</summary>
internal sealed record Received(int Status, IReadOnlyDictionary<string, string> Headers, string? MediaType, byte[] Body)
{
    public string Text => Encoding.UTF8.GetString(Body);

    public JsonNode? Json => Body.Length == 0 ? null : JsonNode.Parse(Body);

    public string? Header(string name) => Headers.GetValueOrDefault(name);
}

/// <summary>Every function app in this process, its document, and things to ask about: one organisation that has some, another that has none.</summary>
/// <param name="sink">What is told here is shown whatever the outcome of the tests.</param>
public sealed class World(IMessageSink sink) : IAsyncLifetime
{
    internal const string Home = "acme";

    /// <summary>Stands in every text that the suite makes up, and so in all that the home organisation has; nobody else may see it.</summary>
    internal const string Marker = "zqhome";

    private const string Other = "rival";

    // What changes by itself: positions of readers.
    private static readonly string[] Ephemeral = ["platform.log_head", "platform.inbox", "embedded.consumer_offsets"];

    // How a delivery fares goes on by itself; that it has ended does not.
    private static readonly Dictionary<string, string> Lasting = new()
    {
        ["platform.webhook_deliveries"] = "to_jsonb(t) - '{attempts,tries,next_attempt_at,lease_until,last_attempt_at,last_status,last_error}'::text[]",
    };

    private readonly ConcurrentDictionary<string, Task<string>> _things = new();
    private readonly Dictionary<string, string> _madeBy = [];
    private readonly SemaphoreSlim _searching = new(1, 1);
    private HttpClient _client = null!;
    private NpgsqlDataSource _admin = null!;

    public static IReadOnlyList<Assembly> Apps { get; } =
    [
        .. typeof(World).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(list => list.Key == "FunctionApps").Value!
            .Split(';').Select(Assembly.Load),
    ];

    internal TestHost Host { get; private set; } = null!;

    internal ApiDocument Document { get; private set; } = null!;

    internal JsonSchema Schema { get; private set; } = null!;

    internal Isolation Isolation { get; private set; } = null!;

    /// <summary>Every scope that a route asks for.</summary>
    internal string Scopes => string.Join(' ', Document.Operations.Select(o => o.Scope).Where(s => s is not null).Distinct());

    public async Task InitializeAsync()
    {
        // Cases ask more different questions at once than an organisation would.
        Host = await TestHost.StartAsync(
            Apps, configure: builder => builder.Services.Replace(ServiceDescriptor.Singleton(BroadcastOptions.Default with { MaxQuestions = 1024 })), settings: Settings.ForTests);
        _client = NewClient(Host.Address);
        _admin = NpgsqlDataSource.Create(Host.Database.Settings.Admin);
        using var answer = await _client.GetAsync("/openapi.json");
        Document = new((JsonObject)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!);
        Schema = new(Document.Root);
        Isolation = await Isolation.BeginAsync(this);
    }

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _admin.DisposeAsync();
        await Host.DisposeAsync();
    }

    internal void Say(string message) => sink.OnMessage(new DiagnosticMessage(message));

    internal string Bearer(string? scopes = null, string organisation = Home, string subject = "tester") =>
        "Bearer " + Tokens.GetOrAdd((scopes ?? Scopes, organisation, subject), key => Host.Token(key.Item1, key.Item2, key.Item3));

    internal string Stranger => Bearer(organisation: Other);

    private ConcurrentDictionary<(string, string, string), string> Tokens { get; } = new();

    internal static HttpClient NewClient(Uri address) => new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        RequestHeaderEncodingSelector = (_, _) => Encoding.UTF8,
    })
    {
        BaseAddress = address,
        // Longer is a hang.
        Timeout = TimeSpan.FromSeconds(10),
    };

    internal Task<Received> SendAsync(Sent sent) => SendAsync(_client, sent);

    internal static async Task<Received> SendAsync(HttpClient client, Sent sent)
    {
        using var request = new HttpRequestMessage(sent.Method, sent.Path);
        if (sent.Authorization is not null)
            request.Headers.TryAddWithoutValidation("Authorization", sent.Authorization);
        if (sent.Body is not null)
        {
            request.Content = new ByteArrayContent(sent.Body);
            if (sent.MediaType is not null)
                request.Content.Headers.TryAddWithoutValidation("Content-Type", sent.MediaType);
            if (sent.IsChunked)
                request.Headers.TransferEncodingChunked = true;
        }

        foreach (var (name, value) in sent.Headers)
            request.Headers.TryAddWithoutValidation(name, value);
        // The time-out of the client is for the headers only; the body gets as long.
        using var patience = new CancellationTokenSource(client.Timeout);
        using var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token);
        var headers = answer.Headers.Concat(answer.Content.Headers).ToDictionary(h => h.Key, h => string.Join(", ", h.Value), StringComparer.OrdinalIgnoreCase);
        var media = answer.Content.Headers.ContentType?.MediaType;
        var body = media == "text/event-stream" ? await FirstEventAsync(answer.Content, patience.Token) : await answer.Content.ReadAsByteArrayAsync(patience.Token);
        return new((int)answer.StatusCode, headers, media, body);
    }

    /// <summary>Such a stream does not end by itself, so it is read up to its first event.</summary>
    private static async Task<byte[]> FirstEventAsync(HttpContent content, CancellationToken cancel)
    {
        using var reader = new StreamReader(await content.ReadAsStreamAsync(cancel));
        var text = new StringBuilder();
        var isEvent = false;
        while (await reader.ReadLineAsync(cancel) is { } line && (line.Length > 0 || !isEvent))
        {
            isEvent |= line.StartsWith("data:", StringComparison.Ordinal);
            text.Append(line).Append('\n');
        }

        return Encoding.UTF8.GetBytes(text.ToString());
    }

    /// <summary>A request that should succeed: on a thing that is there, with a body that fits and the entity tag where one is needed.</summary>
    /// <param name="operation">What to ask.</param>
    /// <param name="fresh">On a thing that no other request uses.</param>
    /// <param name="optional">With the body's optional fields.</param>
    internal async Task<Sent> ValidAsync(Operation operation, bool fresh = false, bool optional = false)
    {
        var path = await ThingAsync(operation.Template, fresh);
        var query = string.Join('&', operation.Query.Where(q => q.IsRequired || q.Example is not null).Select(q => $"{q.Name}={Uri.EscapeDataString(q.Example ?? (string)Schema.Valid(q.Schema)!)}"));
        var body = operation.Body is null ? null : ValidBody(operation, optional);
        return new(operation.Method, path + (query.Length > 0 ? "?" + query : ""))
        {
            Authorization = operation.Scope is null ? null : Bearer(),
            Body = body is null ? null : Json(body),
            MediaType = body is null ? null : "application/json",
            Headers = operation.NeedsIfMatch ? [("If-Match", await TagAsync(operation.Template, path) ?? "*")] : [],
        };
    }

    /// <summary>The request with its signature, where the route asks for one and it has none.</summary>
    internal static Sent Sign(Operation operation, Sent sent, string? id = null)
    {
        if (operation.SignedAs is not { } prefix)
            return sent;
        id ??= Guid.NewGuid().ToString();
        var now = DateTimeOffset.UtcNow;
        return sent with
        {
            Headers =
            [
                .. sent.Headers, ($"{prefix}-id", id), ($"{prefix}-timestamp", WebhookSignature.Timestamp(now)),
                ($"{prefix}-signature", new WebhookSignature(Settings.WebhookSecret).Sign(id, now, sent.Body)),
            ],
        };
    }

    /// <summary>The document's example where it gives one, each time with other words where it says <c>example-1</c>; else what the schema tells.</summary>
    internal JsonNode ValidBody(Operation operation, bool optional = false) => Example(operation, $"{Guid.NewGuid():N}") ?? Schema.Valid(operation.Body!, optional)!;

    /// <summary>The document's example, if it has one, with <paramref name="word"/> where it says <c>example-1</c>.</summary>
    internal static JsonNode? Example(Operation operation, string word) => operation.Example is not { } example ? null
        : JsonNode.Parse(example.ToJsonString().Replace("https://hooks.example.com", Settings.Nowhere, StringComparison.Ordinal).Replace("example-1", $"{Marker}-{word}", StringComparison.Ordinal));

    internal static byte[] Json(JsonNode? body) => Encoding.UTF8.GetBytes(body?.ToJsonString() ?? "null");

    /// <summary>A path of this template at which something is.</summary>
    /// <exception cref="InvalidOperationException">Nothing can be had there; the message says what the suite needs.</exception>
    internal Task<string> ThingAsync(string template, bool fresh = false) =>
        !template.Contains('{', StringComparison.Ordinal) ? Task.FromResult(template)
        : fresh ? MakeAsync(template)
        : _things.GetOrAdd(template, MakeAsync);

    /// <summary>A path of this template with ids that nothing has.</summary>
    internal static string Unknown(Operation operation, Random? random = null) => operation.Path.Aggregate(operation.Template, (path, parameter) =>
        path.Replace($"{{{parameter.Name}}}", UnknownId(parameter, random), StringComparison.Ordinal));

    internal static string UnknownId(Parameter parameter, Random? random = null)
    {
        var bytes = new byte[16];
        (random ?? Random.Shared).NextBytes(bytes);
        return (string?)parameter.Schema["format"] == "uuid" ? new Guid(bytes).ToString()
            : JsonSchema.Types(parameter.Schema).Contains("integer") ? ((1L << 40) + BitConverter.ToUInt32(bytes)).ToString(CultureInfo.InvariantCulture)
            : $"none-{Convert.ToHexStringLower(bytes)}";
    }

    /// <summary>
    /// The tables' contents, as a number for each. Two that are alike mean that nothing was changed in between; it waits until what is
    /// under way in the background has ended.
    /// </summary>
    /// <exception cref="TimeoutException">The background does not come to rest; the message says what is left.</exception>
    internal async Task<IReadOnlyDictionary<string, long>> FingerprintAsync()
    {
        var clock = Stopwatch.StartNew();
        var before = await TakeAsync();
        while (true)
        {
            await Task.Delay(30);
            var after = await TakeAsync();
            var busy = await QueryAsync(Busy);
            if (busy.Count == 0 && before.All(t => after[t.Key] == t.Value))
                return after;
            if (clock.Elapsed > TimeSpan.FromSeconds(60))
                throw new TimeoutException($"The background work does not come to rest: {string.Join("; ", busy)}.");
            before = after;
        }
    }

    /// <summary>How many commands of this operation the audit trail knows.</summary>
    internal async Task<int> CommandsAsync(Operation operation) => (await QueryAsync($"select id::text from platform.audit where action = '{operation.Id}'")).Count;

    /// <summary>What the background has left once it rests, or cannot leave behind.</summary>
    internal async Task<List<string>> LeftAsync()
    {
        var clock = Stopwatch.StartNew();
        List<string> busy;
        while ((busy = [.. await QueryAsync(Busy), .. await QueryAsync(Untried)]).Count > 0 && clock.Elapsed < TimeSpan.FromMinutes(2))
            await Task.Delay(100);
        return [.. busy, .. await StuckAsync()];
    }

    /// <summary>What the background could not do: whatever was accepted must also be worked off.</summary>
    private Task<List<string>> StuckAsync() => QueryAsync($"""
        select format('%s cannot handle %s %s: %s', group_name, type, subject, error) from platform.parked where group_name <> '{Arrangements.NoConsumer}'
        union all
        select format('saga %s %s is %s at step %s after %s attempts: %s', name, id, status, step, attempt, error)
        from embedded.sagas where status in ('running', 'compensating') and error is not null
        union all
        select format('delivery %s to %s is tried for ever: %s', d.id, w.url, d.data)
        from platform.webhook_deliveries d join platform.webhooks w on w.id = d.webhook_id
        where d.attempts > 0 and d.status = 'pending' and d.last_error is null and d.lease_until < now()
        """);

    // Written but not in its place in the log; in its place but not read; a saga's step that is due.
    private const string Busy = """
        select format('%s events have no position', count(*)) from platform.events where position is null having count(*) > 0
        union all
        select format('%s is at %s of %s in %s', read.group_name, read.position, written.last, written.topic)
        from (select topic, max(position) as last from platform.events group by topic) as written
        join embedded.consumer_offsets read on read.topic = written.topic and read.position < written.last
        union all
        select format('saga %s %s is due', name, id) from embedded.sagas where due_at <= now() or lease_until is not null
        """;

    private const string Untried = """
        select format('delivery %s has not been tried', d.id) from platform.webhook_deliveries d join platform.webhooks w on w.id = d.webhook_id
        where w.enabled and d.status = 'pending' and d.attempts = 0
        """;

    private async Task<Dictionary<string, long>> TakeAsync()
    {
        _tables ??= await QueryAsync("""
            select format('%I.%I', relnamespace::regnamespace, relname) from pg_class
            where relkind in ('r', 'p') and not relispartition and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) order by 1
            """);
        var sql = string.Join(" union all ", _tables.Except(Ephemeral).Select(t =>
            $"select '{t}', coalesce(sum(hashtextextended(({Lasting.GetValueOrDefault(t, "t")})::text, 0)), 0)::numeric % 9007199254740881 + count(*) from {t} t"));
        await using var command = _admin.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var found = new Dictionary<string, long>();
        while (await reader.ReadAsync())
            found[reader.GetString(0)] = (long)reader.GetDecimal(1);
        return found;
    }

    private List<string>? _tables;

    private async Task<List<string>> QueryAsync(string sql)
    {
        await using var command = _admin.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var found = new List<string>();
        while (await reader.ReadAsync())
            found.Add(reader.GetString(0));
        return found;
    }

    /// <summary>Fills a template's parameters from left to right, each with a thing made or found in the collection before it.</summary>
    private async Task<string> MakeAsync(string template)
    {
        var at = "";
        var pattern = "";
        foreach (var segment in template.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            at = segment.StartsWith('{') ? $"{at}/{await MakeOneAsync(pattern, at, segment)}" : $"{at}/{segment}";
            pattern = $"{pattern}/{segment}";
        }

        return at;
    }

    /// <summary>The entity tag that a thing has now; null when it cannot be read.</summary>
    private async Task<string?> TagAsync(string template, string path) => Document.Operations.Any(o => o.Method == HttpMethod.Get && o.Template == template)
        ? (await SendAsync(new(HttpMethod.Get, path) { Authorization = Bearer() })).Header("ETag")
        : null;

    /// <summary>The id of something in a collection: arranged, made by its POST, found in its list, or made by whatever answers with its path.</summary>
    private async Task<string> MakeOneAsync(string pattern, string path, string parameter)
    {
        var id = Arrangements.Known.TryGetValue(pattern, out var arrange) ? await arrange(this, path)
            : await PostAsync(pattern, path) ?? await FirstAsync(pattern, path) ?? await ByLocationAsync($"{pattern}/{parameter}");
        return id ?? throw new InvalidOperationException(
            $"Nothing is known at {path}/{parameter}, so what is promised of its routes cannot be tried: no POST makes one there, no GET lists one, and no "
            + $"answer's documented Location leads there. Add to {nameof(Arrangements)}.{nameof(Arrangements.Known)} how one comes about.");
    }

    /// <summary>Begins the type of the problem that there are as many as an organisation may have.</summary>
    internal const string TooMany = "urn:agency:problem:too-many-";

    /// <summary>Deletes what the collection lists, but for what the cases share.</summary>
    internal async Task MakeRoomAsync(Operation post)
    {
        // One that is being made may be what there is no room for.
        var kept = _things.Values.Where(t => t.IsCompletedSuccessfully).Select(t => t.Result).ToList();
        var answer = await SendAsync(new(HttpMethod.Get, post.Template) { Authorization = Bearer() });
        var list = answer.MediaType == "application/json" && answer.Json is JsonArray items ? items : [];
        foreach (var path in list.Select(item => $"{post.Template}/{item!["id"]}").Where(path => !kept.Any(k => k.StartsWith(path, StringComparison.Ordinal))))
            await SendAsync(new(HttpMethod.Delete, path) { Authorization = Bearer(), Headers = [("If-Match", "*")] });
    }

    /// <summary>Null when there is no such POST, or it conflicts with what is there.</summary>
    private async Task<string?> PostAsync(string pattern, string path)
    {
        if (Document.Operations.FirstOrDefault(o => o.Method == HttpMethod.Post && o.Template == pattern) is not { } post)
            return null;
        var answer = await OneMoreAsync();
        if (answer.Text.Contains(TooMany, StringComparison.Ordinal))
        {
            await MakeRoomAsync(post);
            answer = await OneMoreAsync();
        }

        Task<Received> OneMoreAsync() => SendAsync(new(HttpMethod.Post, path)
        {
            Authorization = Bearer(),
            Body = post.Body is null ? null : Json(ValidBody(post)),
            MediaType = "application/json",
        });

        return answer.Status switch
        {
            409 => null,
            200 or 201 or 202 => answer.Header("Location") is { } location ? location.Split('/')[^1] : answer.Json?["id"]?.ToString(),
            >= 500 => throw new HttpRequestException($"POST {path} fails: {answer.Status} {answer.Text}"),
            _ => throw new InvalidOperationException(
                $"POST {path} does not make one: {answer.Status} {answer.Text}. If its schema cannot say what it takes, its operation needs an Example."),
        };
    }

    private async Task<string?> FirstAsync(string pattern, string path) => Document.Operations.Any(o => o.Method == HttpMethod.Get && o.Template == pattern)
        && (await SendAsync(new(HttpMethod.Get, path) { Authorization = Bearer() })).Json is JsonArray { Count: > 0 } list
            ? list[0]?["id"]?.ToString()
            : null;

    /// <summary>From any operation that answers with the place of what it began, once it is known which one leads here.</summary>
    private async Task<string?> ByLocationAsync(string template)
    {
        await _searching.WaitAsync();
        try
        {
            foreach (var operation in Document.Operations.Where(o => o.Path.Count == 0 && o.HasLocation && _madeBy.GetValueOrDefault(o.Id, template) == template))
            {
                if ((await SendAsync(await ValidAsync(operation))).Header("Location") is not { } location)
                    continue;
                var leadsTo = Document.Operations.FirstOrDefault(o => o.Path.Count == 1 && o.Fits(location))?.Template ?? location;
                _madeBy[operation.Id] = leadsTo;
                if (leadsTo == template)
                    return location.Split('/')[^1];
            }

            return null;
        }
        finally
        {
            _searching.Release();
        }
    }
}

/// <summary>One world for all tests, one after the other: each looks at what the database holds.</summary>
[CollectionDefinition(Name)]
public sealed class InOneWorld : ICollectionFixture<World>
{
    public const string Name = "world";
}
