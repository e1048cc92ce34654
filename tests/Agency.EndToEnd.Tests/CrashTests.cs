using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text.Json;
using Agency.Testing;

namespace Agency.EndToEnd.Tests;

/// <summary>The host is killed at each named point, and at random, while many clients write.</summary>
public sealed class CrashTests(Platform platform) : IClassFixture<Platform>, IAsyncLifetime
{
    private const int Each = 8;

    public async Task InitializeAsync()
    {
        await platform.StayUpAsync();
        await Gate.InstallAsync(platform);
    }

    public Task DisposeAsync() => Task.CompletedTask;

    [Fact]
    public async Task Killed_before_the_commit_nothing_is_there_and_a_retry_does_it()
    {
        var writes = Writes("before commit");
        await KillInFlightAsync(writes);
        Assert.Equal(0, await platform.ScalarAsync<long>("select count(*) from users.users where name like 'before commit%'"));
        Assert.Equal(0, await platform.ScalarAsync<long>("select count(*) from analytics.events where message_id like 'before commit%'"));
        await platform.UpAsync();
        foreach (var answer in await SendAsync(writes))
            using (answer)
                AssertDone(answer, await answer.JsonAsync(), isReplay: false);
        await platform.HasItsEffectOnceAsync();
    }

    [Fact]
    public async Task Killed_after_the_commit_before_the_answer_a_retry_changes_nothing()
    {
        var writes = Writes("at commit");
        await KillInFlightAsync(writes);
        const string Written = """
            select count(*) || ' users ' || (select count(*) from analytics.events where message_id like 'at commit%') || ' events ' || (select count(*) from platform.events)
            from users.users where name like 'at commit%'
            """;
        var committed = await platform.ScalarAsync<string>(Written);
        Assert.StartsWith($"{Each} users {2 * Each} events", committed, StringComparison.Ordinal);
        await platform.UpAsync();
        foreach (var answer in await SendAsync(writes))
            using (answer)
                AssertDone(answer, await answer.JsonAsync(), isReplay: true);
        Assert.Equal(committed, await platform.ScalarAsync<string>(Written));
        await platform.HasItsEffectOnceAsync();
    }

    [Fact]
    public async Task Killed_before_the_effect_every_event_is_delivered_after_the_restart()
    {
        await DeliverIntoAsync("platform.inbox");
        Assert.Equal(0, await platform.ScalarAsync<long>($"select count(*) from {HadUnread}"));
        await platform.UpAsync();
        await platform.HasItsEffectOnceAsync();
    }

    [Fact]
    public async Task Killed_after_the_effect_before_the_offset_events_come_again_and_have_one_effect()
    {
        await DeliverIntoAsync("embedded.consumer_offsets");
        // Had by every group, and yet they will be delivered again.
        Assert.Equal(
            Platform.ConsumerGroups.Count,
            await platform.ScalarAsync<long>($"select count(distinct g.group_name) from {HadUnread}"));
        await platform.UpAsync();
        await platform.HasItsEffectOnceAsync();
    }

    [Fact]
    public async Task Killed_at_random_under_many_writers_the_host_keeps_every_acknowledged_write_and_each_has_its_effect_once()
    {
        using var stop = new CancellationTokenSource();
        using var writers = new Writers(platform, "writers");
        var running = writers.RunAsync(stop.Token);
        for (var round = 0; round < 5; round++)
        {
            // Counted in writes, so that a slow machine has as much in flight as a fast one.
            await writers.WriteAsync(Random.Shared.Next(20, 300), running);
            await Task.Delay(Random.Shared.Next(50));
            await platform.CrashAndUpAsync();
        }

        await writers.WriteAsync(50, running);
        await stop.CancelAsync();
        await running;

        var versions = (await platform.LinesAsync("select id || ' ' || version from users.users where tenant_id = 'writers'"))
            .ToDictionary(line => Guid.Parse(line[..36]), line => long.Parse(line[37..], CultureInfo.InvariantCulture));
        Assert.Equal(writers.Users.Count, versions.Count);
        Assert.All(writers.Users, user => Assert.True(versions[user.Key] >= user.Value, $"{user.Key} is not at version {user.Value}."));
        // Two writers were never told that the same version was theirs.
        Assert.Equal(writers.Shared.Count, writers.Shared.Distinct().Count());
        Assert.Equal(
            writers.Messages.Order(StringComparer.Ordinal),
            (await platform.LinesAsync("select message_id from analytics.events where tenant_id = 'writers'")).Order(StringComparer.Ordinal));
        await platform.HasItsEffectOnceAsync();
    }

    /// <summary>The rows (g, e) of events that a group has had the effect of, and yet has not read past.</summary>
    private static string HadUnread => Platform.Unread + " join platform.inbox i on i.event_id = e.event_id and i.group_name = g.group_name where o.position is null";

    /// <summary>A user and a batch of two events, several times. The same call makes the same requests.</summary>
    private static List<(string Path, string Json, string Key)> Writes(string name) =>
    [
        .. Enumerable.Range(0, Each).SelectMany(i => new (string, string, string)[]
        {
            ("/users", $$"""{"email":"{{name.Replace(' ', '-')}}-{{i}}@crash.example","name":"{{name}} {{i}}"}""", $"{name} user {i}"),
            ("/events", $"[{Writers.OrderLine($"{name} {i} a", i)},{Writers.OrderLine($"{name} {i} b", i)}]", ""),
        }),
    ];

    /// <summary>Sends them, kills the host while all of them stand at the gate, and lets PostgreSQL do what it then does.</summary>
    private async Task KillInFlightAsync(List<(string Path, string Json, string Key)> writes)
    {
        Task<HttpResponseMessage[]> answers;
        await using (var gate = await Gate.CloseAsync(platform))
        {
            answers = SendAsync(writes);
            await gate.StandAtAsync(writes.Count);
            await platform.Host.KillAsync();
        }

        await Assert.ThrowsAnyAsync<HttpRequestException>(() => answers);
        await platform.GoneAsync();
    }

    private async Task<HttpResponseMessage[]> SendAsync(List<(string Path, string Json, string Key)> writes)
    {
        using var client = platform.Client("points");
        return await Task.WhenAll(writes.Select(w => w.Key.Length > 0
            ? client.SendJsonAsync(HttpMethod.Post, w.Path, w.Json, ("Idempotency-Key", w.Key))
            : client.SendJsonAsync(HttpMethod.Post, w.Path, w.Json)));
    }

    private static void AssertDone(HttpResponseMessage answer, JsonElement body, bool isReplay)
    {
        if (answer.RequestMessage!.RequestUri!.AbsolutePath == "/users")
            Assert.Equal((HttpStatusCode.Created, isReplay), (answer.StatusCode, answer.Headers.Contains("Idempotency-Replayed")));
        else
            Assert.Equal((HttpStatusCode.OK, isReplay ? 2 : 0), (answer.StatusCode, body.GetProperty("duplicates").GetInt32()));
    }

    /// <summary>Has many clients write, kills the host while every consumer group stands before this table, and ends what it left.</summary>
    private async Task DeliverIntoAsync(string table)
    {
        await platform.CaughtUpAsync();
        await using var gate = await Gate.CloseTableAsync(platform, table);
        // Nothing gets a position until all is written, so that each group reads all of it at once.
        await using (await Gate.CloseTableAsync(platform, "platform.log_head"))
            foreach (var answer in await SendAsync(Writes(table)))
                using (answer)
                    Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        await gate.StandAtAsync(Platform.ConsumerGroups.Count);
        await platform.Host.KillAsync();
        await platform.TerminateSessionsAsync();
        await platform.GoneAsync();
    }
}

/// <summary>Clients that write until told to stop, and try again whatever has no answer, as clients should.</summary>
internal sealed class Writers : IDisposable
{
    private const int OfEachKind = 6;
    private const int Batch = 10;
    private readonly HttpClient _client;
    private int _acknowledged;

    public Writers(Platform platform, string organisation) => _client = platform.Client(organisation);

    /// <summary>Every user that was acknowledged, and the highest version.</summary>
    public ConcurrentDictionary<Guid, long> Users { get; } = new();

    /// <summary>Every message that was acknowledged.</summary>
    public ConcurrentBag<string> Messages { get; } = [];

    /// <summary>The versions of one user whom all change, as they were acknowledged.</summary>
    public ConcurrentBag<long> Shared { get; } = [];

    public static string OrderLine(string messageId, int i) => string.Create(CultureInfo.InvariantCulture, $$$"""
        {"messageId":"{{{messageId}}}","event":"order-line","userId":"u{{{i % 7}}}","time":"2026-01-{{{1 + (i % 28):00}}}T{{{i % 24:00}}}:30:00Z",
         "properties":{"orderId":"o{{{i / 3}}}","productId":"p{{{i % 11}}}","quantity":{{{(i % 9) - 1}}},"unitPrice":{{{i % 100}}}.25,"currency":"GBP","cancelled":{{{(i % 9 == 0 ? "true" : "false")}}}}}
        """);

    public async Task RunAsync(CancellationToken stop)
    {
        var shared = await CreateAsync("shared", null, default);
        await Task.WhenAll(Enumerable.Range(0, OfEachKind).SelectMany(w => new[] { WriteUsersAsync(w, shared, stop), WriteEventsAsync(w, stop) }));
    }

    /// <summary>Waits until so many more writes are acknowledged.</summary>
    /// <param name="running">What <see cref="RunAsync"/> returned.</param>
    public async Task WriteAsync(int more, Task running)
    {
        for (var end = Volatile.Read(ref _acknowledged) + more; Volatile.Read(ref _acknowledged) < end; await Task.Delay(5))
            if (running.IsCompleted)
                await running;
    }

    public void Dispose() => _client.Dispose();

    private async Task WriteUsersAsync(int writer, Guid shared, CancellationToken stop)
    {
        Guid? last = null;
        for (var i = 0; !stop.IsCancellationRequested; i++)
        {
            var name = $"w{writer}-{i}";
            last = await CreateAsync(name, last, default);
            await ChangeAsync(last.Value, name);
            await ChangeSharedAsync(shared, name);
        }
    }

    private async Task WriteEventsAsync(int writer, CancellationToken stop)
    {
        for (var i = 0; !stop.IsCancellationRequested; i++)
        {
            var ids = Enumerable.Range(0, Batch).Select(n => $"w{writer}-{i}-{n}").ToList();
            var body = $"[{string.Join(',', ids.Select((id, n) => OrderLine(id, (i * Batch) + n)))}]";
            using var answer = await AnswerAsync(HttpMethod.Post, "/events", body);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            ids.ForEach(Messages.Add);
        }
    }

    private async Task<Guid> CreateAsync(string name, Guid? referrer, CancellationToken cancel)
    {
        using var answer = await AnswerAsync(HttpMethod.Post, "/users", Body(name, name, referrer), ("Idempotency-Key", "create " + name));
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        var id = (await answer.JsonAsync()).GetProperty("id").GetGuid();
        Users[id] = 1;
        return id;
    }

    private async Task ChangeAsync(Guid id, string name)
    {
        using var answer = await AnswerAsync(HttpMethod.Put, $"/users/{id}", Body(name, name + " changed", null), ("If-Match", "\"1\""));
        // Nobody else changes this user: stale means that an attempt without an answer was the change.
        if (answer.StatusCode != HttpStatusCode.PreconditionFailed)
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Users[id] = 2;
    }

    private async Task ChangeSharedAsync(Guid id, string name)
    {
        using var current = await AnswerAsync(HttpMethod.Get, $"/users/{id}", null);
        using var answer = await AnswerAsync(HttpMethod.Put, $"/users/{id}", Body("shared", name, null), ("If-Match", current.Headers.ETag!.Tag));
        if (answer.StatusCode == HttpStatusCode.PreconditionFailed)
            return;
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        var version = (await answer.JsonAsync()).GetProperty("version").GetInt64();
        Shared.Add(version);
        Users.AddOrUpdate(id, version, (_, known) => Math.Max(known, version));
    }

    private static string Body(string email, string name, Guid? referrer) => referrer is null
        ? $$"""{"email":"{{email}}@crash.example","name":"{{name}}"}"""
        : $$"""{"email":"{{email}}@crash.example","name":"{{name}}","referredBy":"{{referrer}}"}""";

    private async Task<HttpResponseMessage> AnswerAsync(HttpMethod method, string path, string? json, params (string, string)[] headers)
    {
        for (var end = DateTime.UtcNow.AddSeconds(120); ; await Task.Delay(100))
        {
            try
            {
                var answer = json is null ? await _client.GetAsync(path) : await _client.SendJsonAsync(method, path, json, headers);
                // Another attempt of ours may still be at work.
                if ((int)answer.StatusCode < 500 && !(answer.StatusCode == HttpStatusCode.Conflict && answer.Headers.RetryAfter is not null))
                {
                    Interlocked.Increment(ref _acknowledged);
                    return answer;
                }

                answer.Dispose();
                Assert.True(DateTime.UtcNow < end, $"{method} {path} has no answer but {(int)answer.StatusCode}.");
            }
            catch (HttpRequestException) when (DateTime.UtcNow < end)
            {
                // The host is down; it comes back.
            }
        }
    }
}
