using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Identity.Tests;

public sealed class ApiKeyTests : IAsyncLifetime
{
    private const string AllScopes = "apikeys:read apikeys:write platform:read platform:write";
    private readonly TestClock _clock = new();
    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await StartAsync(null);

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task A_key_is_shown_once_and_lets_a_machine_in()
    {
        using var client = _host.Client(AllScopes);
        var made = await CreateAsync(client, """{"name":" ci ","scopes":["platform:read"]}""");
        Assert.Matches("^ak_[0-9a-f]{16}_[0-9a-f]{64}$", made.Key);
        Assert.Equal(HttpStatusCode.OK, await UseAsync(made.Key));

        var listed = Assert.Single((await ListAsync(client)).EnumerateArray());
        Assert.Equal(made.Id, listed.GetProperty("id").GetString());
        Assert.Equal("ci", listed.GetProperty("name").GetString());
        Assert.Equal(made.Key[3..19], listed.GetProperty("prefix").GetString());
        Assert.Equal("tester", listed.GetProperty("createdBy").GetString());
        Assert.DoesNotContain(made.Key[20..], listed.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_is_of_its_organisation_and_its_scopes()
    {
        using var client = _host.Client(AllScopes);
        var made = await CreateAsync(client, """{"name":"ci","scopes":["apikeys:read"]}""");
        Assert.Equal(HttpStatusCode.Forbidden, await UseAsync(made.Key));
        using var machine = Bearer(made.Key);
        Assert.Equal(made.Id, Assert.Single((await ListAsync(machine)).EnumerateArray()).GetProperty("id").GetString());
        using var stranger = _host.Client(AllScopes, "globex");
        Assert.Empty((await ListAsync(stranger)).EnumerateArray());
        Assert.Equal(HttpStatusCode.NotFound, await RevokeAsync(stranger, made.Id));
        Assert.Equal(HttpStatusCode.OK, (await machine.GetAsync(new Uri("/api-keys", UriKind.Relative))).StatusCode);
    }

    [Fact]
    public async Task A_key_cannot_allow_more_than_its_maker_may()
    {
        using var client = _host.Client("apikeys:write platform:read");
        var refused = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"ci","scopes":["platform:read","platform:write"]}""");
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        Assert.Equal("urn:agency:problem:scope-not-held", (await refused.JsonAsync()).GetProperty("type").GetString());

        var key = (await CreateAsync(client, """{"name":"a","scopes":["apikeys:write"]}""")).Key;
        using var machine = Bearer(key);
        Assert.Equal(HttpStatusCode.Forbidden, (await machine.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"b","scopes":["platform:read"]}""")).StatusCode);
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from platform.api_keys"));
    }

    [Theory]
    [InlineData("""{"name":" ","scopes":[]}""", new[] { "name", "scopes" })]
    [InlineData("""{"name":"a\u0000","scopes":["platform:read","platform:read"]}""", new[] { "name", "scopes" })]
    [InlineData("""{"name":"a","scopes":[null]}""", new[] { "scopes" })]
    [InlineData("""{"name":"a","scopes":["platform:read"],"expiresAt":"2020-01-01T00:00:00Z"}""", new[] { "expiresAt" })]
    [InlineData("""{"name":"a"}""", new[] { "$" })]
    public async Task Bad_fields_are_named(string json, string[] fields)
    {
        using var client = _host.Client(AllScopes);
        var refused = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", json);
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Equal(fields, (await refused.JsonAsync()).GetProperty("errors").EnumerateObject().Select(e => e.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_key_that_is_not_exactly_the_one_made_is_refused()
    {
        using var client = _host.Client(AllScopes);
        var key = (await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""")).Key;
        var last = key[^1] == '0' ? "1" : "0";
        foreach (var wrong in new[] { key[..^1] + last, key.ToUpperInvariant(), "ak_" + key[3..].ToUpperInvariant(), key[..^1], key + "0", "ak_", key[..20], "ak_" + new string('0', 16) + key[19..], key.Replace('_', '-') })
            Assert.Equal(HttpStatusCode.Unauthorized, await UseAsync(wrong));
        Assert.Equal(HttpStatusCode.OK, await UseAsync(key));
    }

    [Fact]
    public async Task A_revoked_key_is_refused_at_once()
    {
        using var client = _host.Client(AllScopes);
        var made = await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""");
        Assert.Equal(HttpStatusCode.OK, await UseAsync(made.Key));
        Assert.Equal(HttpStatusCode.NoContent, await RevokeAsync(client, made.Id));
        Assert.Equal(HttpStatusCode.Unauthorized, await UseAsync(made.Key));
        Assert.Empty((await ListAsync(client)).EnumerateArray());
        Assert.Equal(HttpStatusCode.NotFound, await RevokeAsync(client, made.Id));
    }

    [Fact]
    public async Task Another_process_refuses_a_revoked_key_after_thirty_seconds()
    {
        await using var other = await StartAsync(_host.Database);
        using var client = _host.Client(AllScopes);
        var made = await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""");
        Assert.Equal(HttpStatusCode.OK, await UseAsync(made.Key, other));
        Assert.Equal(HttpStatusCode.NoContent, await RevokeAsync(client, made.Id));
        _clock.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal(HttpStatusCode.Unauthorized, await UseAsync(made.Key, other));
    }

    [Fact]
    public async Task A_reading_that_began_before_the_revocation_is_not_kept()
    {
        using var client = _host.Client(AllScopes);
        var made = await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""");
        var keys = _host.Services.GetRequiredService<ApiKeys>();
        // The lock holds the reading up while the key is forgotten; it then still finds the row, as one whose snapshot is older would.
        await using var source = NpgsqlDataSource.Create(_host.Database.Settings.Admin);
        await using var connection = await source.OpenConnectionAsync();
        await using (var transaction = await connection.BeginTransactionAsync())
        {
            await using var lockTable = new NpgsqlCommand("lock table platform.api_keys in access exclusive mode", connection);
            await lockTable.ExecuteNonQueryAsync();
            var reading = Task.Run(() => keys.FindAsync(made.Key, CancellationToken.None).AsTask());
            await HttpTesting.EventuallyAsync(
                () => _host.Database.ScalarAsync<bool>("select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"),
                waits => waits);
            keys.Forget(made.Key[3..19]);
            await transaction.RollbackAsync();
            await reading;
        }

        await _host.Database.RunAsync("delete from platform.api_keys");
        Assert.Equal(HttpStatusCode.Unauthorized, await UseAsync(made.Key));
    }

    [Fact]
    public async Task A_key_ends_when_it_expires()
    {
        using var client = _host.Client(AllScopes);
        var key = (await CreateAsync(client, $$"""{"name":"ci","scopes":["platform:read"],"expiresAt":"{{_clock.GetUtcNow().AddSeconds(10):O}}"}""")).Key;
        Assert.Equal(HttpStatusCode.OK, await UseAsync(key));
        _clock.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(HttpStatusCode.Unauthorized, await UseAsync(key));
    }

    [Fact]
    public async Task The_last_use_is_known_to_ten_minutes()
    {
        using var client = _host.Client(AllScopes);
        var key = (await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""")).Key;
        await UseAsync(key[..^1] + (key[^1] == '0' ? "1" : "0"));
        Assert.Equal(JsonValueKind.Null, await LastUsedAsync(client));
        await UseAsync(key);
        Assert.Equal(JsonValueKind.String, await LastUsedAsync(client));
        await _host.Database.RunAsync("update platform.api_keys set last_used_at = null");
        await UseAsync(key);
        Assert.Equal(JsonValueKind.Null, await LastUsedAsync(client));
        _clock.Advance(TimeSpan.FromMinutes(11));
        await UseAsync(key);
        Assert.Equal(JsonValueKind.String, await LastUsedAsync(client));
    }

    [Fact]
    public async Task A_key_in_use_and_a_guessed_one_are_looked_up_once()
    {
        using var client = _host.Client(AllScopes);
        var key = (await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""")).Key;
        var guessed = ApiKey.New();
        var keys = _host.Services.GetRequiredService<ApiKeys>();
        Assert.NotNull(await keys.FindAsync(key, CancellationToken.None));
        Assert.Null(await keys.FindAsync(guessed, CancellationToken.None));
        // Gone from the database behind the process's back: what it still says it says from memory.
        await _host.Database.RunAsync("alter table platform.api_keys rename to hidden");
        Assert.NotNull(await keys.FindAsync(key, CancellationToken.None));
        Assert.Null(await keys.FindAsync(guessed, CancellationToken.None));
        _clock.Advance(TimeSpan.FromSeconds(31));
        await Assert.ThrowsAsync<PostgresException>(() => keys.FindAsync(key, CancellationToken.None).AsTask());
        await Assert.ThrowsAsync<PostgresException>(() => keys.FindAsync(guessed, CancellationToken.None).AsTask());
    }

    [Fact]
    public async Task A_replay_makes_no_second_key_and_the_secret_is_stored_nowhere()
    {
        using var client = _host.Client(AllScopes);
        const string Json = """{"name":"ci","scopes":["platform:read"]}""";
        var first = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", Json, ("Idempotency-Key", "k1"));
        var again = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", Json, ("Idempotency-Key", "k1"));
        Assert.Equal((HttpStatusCode.Created, HttpStatusCode.Created), (first.StatusCode, again.StatusCode));
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
        Assert.Equal(first.Headers.Location, again.Headers.Location);
        var (made, replayed) = (await first.JsonAsync(), await again.JsonAsync());
        Assert.Equal(JsonValueKind.Null, replayed.GetProperty("key").ValueKind);
        Assert.Equal(made.GetProperty("apiKey").GetProperty("id").GetString(), replayed.GetProperty("apiKey").GetProperty("id").GetString());

        var key = made.GetProperty("key").GetString()!;
        Assert.Equal(HttpStatusCode.OK, await UseAsync(key));
        var stored = await _host.Database.QueryAsync<string>("""
            select query_to_xml(format('select * from %I.%I', schemaname, tablename), true, false, '')::text
            from pg_tables where schemaname not in ('pg_catalog', 'information_schema')
            """);
        Assert.Contains(stored, text => text.Contains(key[3..19], StringComparison.Ordinal));
        Assert.DoesNotContain(stored, text => text.Contains(key[20..], StringComparison.OrdinalIgnoreCase)
            || text.Contains(Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes(key))[..60], StringComparison.Ordinal)
            || text.Contains(Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes(key[20..]))[..60], StringComparison.Ordinal));
        var bodies = await _host.Database.QueryAsync<byte[]>("select body from platform.idempotency");
        Assert.All(bodies, body => Assert.DoesNotContain(key[20..], System.Text.Encoding.UTF8.GetString(body), StringComparison.Ordinal));
    }

    [Fact]
    public async Task Each_key_is_on_one_page()
    {
        using var client = _host.Client(AllScopes);
        for (var n = 0; n < 5; n++)
            await CreateAsync(client, $$"""{"name":"{{n}}","scopes":["platform:read"]}""");
        var names = new List<string?>();
        for (string? next = "/api-keys?limit=2"; next is not null;)
        {
            var page = await client.GetAsync(new Uri(next, UriKind.Relative));
            names.AddRange((await page.JsonAsync()).EnumerateArray().Select(key => key.GetProperty("name").GetString()));
            next = page.Headers.TryGetValues("Link", out var links) ? links.Single().Split('<', '>')[1] : null;
        }

        // By id, which is not the order of their making when two are made within a millisecond.
        Assert.Equal(["0", "1", "2", "3", "4"], names.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(null, 428)]
    [InlineData("\"2\"", 412)]
    [InlineData("\"1\"", 204)]
    [InlineData("*", 204)]
    public async Task Revoking_needs_the_entity_tag(string? ifMatch, int status)
    {
        using var client = _host.Client(AllScopes);
        var made = await CreateAsync(client, """{"name":"ci","scopes":["platform:read"]}""");
        Assert.Equal(status, (int)await RevokeAsync(client, made.Id, ifMatch));
    }

    [Fact]
    public async Task An_organisation_has_a_limited_number_of_keys_that_have_not_ended()
    {
        using var client = _host.Client(AllScopes);
        await CreateAsync(client, $$"""{"name":"short","scopes":["platform:read"],"expiresAt":"{{_clock.GetUtcNow().AddSeconds(10):O}}"}""");
        await _host.Database.RunAsync($"""
            insert into platform.api_keys (id, tenant_id, name, prefix, secret_hash, scopes, created_by)
            select gen_random_uuid(), 'acme', 'k', 'p' || n, sha256('x'), '{"{}"}', 'tester' from generate_series(2, {CreateApiKey.Most - 1}) n
            """);
        // Of several at once one is the last.
        var statuses = (await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => AskAsync()))).Select(answer => answer.StatusCode).ToList();
        Assert.Single(statuses, HttpStatusCode.Created);
        Assert.Equal(7, statuses.Count(status => status == HttpStatusCode.Conflict));
        Assert.Equal("urn:agency:problem:too-many-api-keys", (await (await AskAsync()).JsonAsync()).GetProperty("type").GetString());
        using var stranger = _host.Client(AllScopes, "globex");
        await CreateAsync(stranger, """{"name":"ci","scopes":["platform:read"]}""");
        _clock.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(HttpStatusCode.Created, (await AskAsync()).StatusCode);

        async Task<HttpResponseMessage> AskAsync() => await client.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"ci","scopes":["platform:read"]}""");
    }

    [Fact]
    public async Task A_key_that_a_key_makes_ends_no_later()
    {
        using var client = _host.Client(AllScopes);
        var end = _clock.GetUtcNow().AddHours(1);
        using var machine = Bearer((await CreateAsync(client, Key($"{end:O}"))).Key);
        var refused = await machine.SendJsonAsync(HttpMethod.Post, "/api-keys", Key($"{end.AddSeconds(1):O}"));
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Equal(["expiresAt"], (await refused.JsonAsync()).GetProperty("errors").EnumerateObject().Select(e => e.Name));
        await CreateAsync(machine, Key($"{end.AddMinutes(-1):O}"));
        var child = (await CreateAsync(machine, """{"name":"child","scopes":["apikeys:write"]}""")).Key;
        using var grandchild = Bearer(child);
        await CreateAsync(grandchild, """{"name":"grandchild","scopes":["apikeys:write"]}""");
        Assert.Equal(3, await _host.Database.ScalarAsync<long>("select count(*) from platform.api_keys where expires_at = (select max(expires_at) from platform.api_keys)"));
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from platform.api_keys where expires_at is null"));

        static string Key(string expiresAt) => $$"""{"name":"ci","scopes":["apikeys:write"],"expiresAt":"{{expiresAt}}"}""";
    }

    [Fact]
    public async Task With_a_key_all_that_were_made_with_it_are_revoked()
    {
        using var client = _host.Client(AllScopes);
        const string Json = """{"name":"ci","scopes":["apikeys:write","platform:read"]}""";
        var parent = await CreateAsync(client, Json);
        using var machine = Bearer(parent.Key);
        var child = await CreateAsync(machine, Json);
        using var made = Bearer(child.Key);
        var grandchild = await CreateAsync(made, Json);
        var other = await CreateAsync(client, Json);
        Assert.Equal(HttpStatusCode.OK, await UseAsync(grandchild.Key));
        Assert.Equal(HttpStatusCode.NoContent, await RevokeAsync(client, parent.Id));
        foreach (var key in new[] { parent.Key, child.Key, grandchild.Key })
            Assert.Equal(HttpStatusCode.Unauthorized, await UseAsync(key));
        Assert.Equal(HttpStatusCode.OK, await UseAsync(other.Key));
    }

    [Fact]
    public async Task A_key_that_is_revoked_makes_no_other_where_it_is_still_remembered()
    {
        await using var elsewhere = await StartAsync(_host.Database);
        using var client = _host.Client(AllScopes);
        var parent = await CreateAsync(client, """{"name":"ci","scopes":["apikeys:write"]}""");
        using var machine = Bearer(parent.Key, elsewhere);
        Assert.Equal(HttpStatusCode.BadRequest, (await machine.SendJsonAsync(HttpMethod.Post, "/api-keys", "{}")).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, await RevokeAsync(client, parent.Id));
        Assert.Equal(HttpStatusCode.Unauthorized, (await machine.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"b","scopes":["apikeys:write"]}""")).StatusCode);
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from platform.api_keys"));
    }

    [Fact]
    public async Task A_replay_is_answered_also_when_the_request_would_not_be_good_any_more()
    {
        using var client = _host.Client(AllScopes);
        var json = $$"""{"name":"ci","scopes":["platform:read"],"expiresAt":"{{_clock.GetUtcNow().AddSeconds(10):O}}"}""";
        Assert.Equal(HttpStatusCode.Created, (await client.SendJsonAsync(HttpMethod.Post, "/api-keys", json, ("Idempotency-Key", "k"))).StatusCode);
        _clock.Advance(TimeSpan.FromSeconds(11));
        using var demoted = _host.Client("apikeys:write");
        foreach (var caller in new[] { client, demoted })
        {
            var replay = await caller.SendJsonAsync(HttpMethod.Post, "/api-keys", json, ("Idempotency-Key", "k"));
            Assert.Equal(HttpStatusCode.Created, replay.StatusCode);
            Assert.Equal("true", replay.Headers.GetValues("Idempotency-Replayed").Single());
        }
    }

    [Theory]
    [InlineData("POST", "/api-keys", "apikeys:read")]
    [InlineData("GET", "/api-keys", "apikeys:write")]
    [InlineData("DELETE", "/api-keys/0197f1de-0000-7000-8000-000000000000", "apikeys:read")]
    public async Task Keys_are_managed_with_their_own_scopes(string method, string path, string otherScope)
    {
        using var client = _host.Client(otherScope);
        Assert.Equal(HttpStatusCode.Forbidden, (await client.SendAsync(new HttpRequestMessage(new HttpMethod(method), path))).StatusCode);
    }

    private Task<TestHost> StartAsync(TestDatabase? database) => TestHost.StartAsync(
        [typeof(CreateApiKey).Assembly, typeof(ListApiKeys).Assembly, typeof(RevokeApiKey).Assembly, typeof(ListDeadLetters).Assembly],
        database,
        builder => builder.Services.AddSingleton<TimeProvider>(_clock));

    private HttpClient Bearer(string key, TestHost? host = null)
    {
        var client = (host ?? _host).Client(null);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        return client;
    }

    private async Task<HttpStatusCode> UseAsync(string key, TestHost? host = null)
    {
        using var client = Bearer(key, host);
        return (await client.GetAsync(new Uri("/dead-letters", UriKind.Relative))).StatusCode;
    }

    private static async Task<(string Id, string Key)> CreateAsync(HttpClient client, string json)
    {
        var response = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", json);
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        var body = await response.JsonAsync();
        return (body.GetProperty("apiKey").GetProperty("id").GetString()!, body.GetProperty("key").GetString()!);
    }

    private static async Task<JsonElement> ListAsync(HttpClient client) => await (await client.GetAsync(new Uri("/api-keys", UriKind.Relative))).JsonAsync();

    private static async Task<JsonValueKind> LastUsedAsync(HttpClient client) => (await ListAsync(client))[0].GetProperty("lastUsedAt").ValueKind;

    private static async Task<HttpStatusCode> RevokeAsync(HttpClient client, string id, string? ifMatch = "*")
    {
        var request = new HttpRequestMessage(HttpMethod.Delete, $"/api-keys/{id}");
        if (ifMatch is not null)
            request.Headers.TryAddWithoutValidation("If-Match", ifMatch);
        return (await client.SendAsync(request)).StatusCode;
    }
}
