using System.Net;
using Agency.Platform;
using Agency.Testing;

namespace Agency.Users.Tests;

public sealed class ReadCacheTests(UsersHost users) : IClassFixture<UsersHost>, IDisposable
{
    private const string Topic = "agency.users";
    private readonly ReadCache _cache = new(ReadCacheOptions.Default);

    public void Dispose() => _cache.Dispose();

    [Fact]
    public async Task An_answer_is_loaded_once_for_each_organisation()
    {
        Assert.Equal("acme 1", await ReadAsync("acme", () => "acme 1"));
        Assert.Equal("acme 1", await ReadAsync("acme", () => "acme 2"));
        Assert.Equal("rival 1", await ReadAsync("rival", () => "rival 1"));
        _cache.Evict("rival", Topic, "x");
        Assert.Equal("acme 1", await ReadAsync("acme", () => "acme 3"));
        Assert.Equal("rival 2", await ReadAsync("rival", () => "rival 2"));
    }

    [Fact]
    public async Task Who_asks_at_once_shares_one_load()
    {
        var loads = 0;
        var gate = new TaskCompletionSource();
        var asking = Enumerable.Range(0, 20).Select(_ => ReadAsync("acme", async () =>
        {
            Interlocked.Increment(ref loads);
            await gate.Task;
            return Ok("1");
        })).ToList();
        gate.SetResult();
        Assert.All(await Task.WhenAll(asking), text => Assert.Equal("1", text));
        Assert.Equal(1, loads);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_load_that_began_before_an_eviction_is_neither_kept_nor_shared(bool clear)
    {
        var gate = new TaskCompletionSource();
        var old = ReadAsync("acme", async () =>
        {
            await gate.Task;
            return Ok("old");
        });
        if (clear)
            _cache.Clear();
        else
            _cache.Committed([new(Guid.NewGuid(), "acme", Topic, "changed", "x", 2, default)]);
        // Asked after the change, while the old load still runs.
        var fresh = new TaskCompletionSource();
        var asked = ReadAsync("acme", async () =>
        {
            await fresh.Task;
            return Ok("new");
        });
        gate.SetResult();
        Assert.Equal("old", await old);
        fresh.SetResult();
        Assert.Equal("new", await asked);
        Assert.Equal("new", await ReadAsync("acme", () => "never loaded"));
    }

    [Fact]
    public async Task An_old_load_that_ends_last_does_not_replace_a_newer_answer()
    {
        var gate = new TaskCompletionSource();
        var old = ReadAsync("acme", async () =>
        {
            await gate.Task;
            return Ok("old");
        });
        _cache.Evict("acme", Topic, "x");
        Assert.Equal("new", await ReadAsync("acme", () => "new"));
        gate.SetResult();
        await old;
        Assert.Equal("new", await ReadAsync("acme", () => "never loaded"));
    }

    [Fact]
    public async Task Failures_and_answers_other_than_200_are_not_kept()
    {
        await Assert.ThrowsAsync<TimeoutException>(() => ReadAsync("acme", () => Task.FromException<Answer>(new TimeoutException())));
        await ReadAsync("acme", () => Task.FromResult(Problem.NotFound("user").ToAnswer()));
        Assert.Equal("1", await ReadAsync("acme", () => "1"));
    }

    [Fact]
    public async Task Who_stops_waiting_does_not_stop_the_load_for_others()
    {
        var gate = new TaskCompletionSource();
        using var gone = new CancellationTokenSource();
        var caller = new Caller();
        caller.Become("acme", "test");
        var first = _cache.GetAsync(
            caller, Topic, "x",
            async () =>
            {
                await gate.Task;
                return Ok("1");
            },
            gone.Token);
        var second = ReadAsync("acme", () => "never loaded");
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        gate.SetResult();
        Assert.Equal("1", await second);
    }

    [Fact]
    public async Task It_is_bounded_by_its_bytes()
    {
        using var small = new ReadCache(new(20_000, TimeSpan.FromMinutes(1)));
        var caller = new Caller();
        caller.Become("acme", "test");
        var loads = 0;
        for (var round = 0; round < 2; round++)
            for (var i = 0; i < 100; i++)
                await small.GetAsync(caller, Topic, $"x{i}", () => Task.FromResult(Ok(new string((char)(97 + (loads++ % 26)), 1000))), default);
        // At most 13 of these fit, so nearly everything is loaded again.
        Assert.InRange(loads, 180, 200);
    }

    [Fact]
    public async Task Who_writes_reads_what_was_written()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "V1");
        using var stop = new CancellationTokenSource();
        // Others read all the time, so that loads are under way whenever the user changes.
        var readers = Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
                await client.GetJsonAsync($"/users/{id}");
        })).ToList();
        for (var version = 2; version <= 60; version++)
        {
            Assert.Equal(HttpStatusCode.OK, (await client.PutAsync(id, $"\"{version - 1}\"", $$"""{"email":"a@example.com","name":"V{{version}}"}""")).StatusCode);
            Assert.Equal($"V{version}", (await client.GetJsonAsync($"/users/{id}")).GetProperty("name").GetString());
        }

        await stop.CancelAsync();
        await Task.WhenAll(readers);
    }

    [Fact]
    public async Task A_read_is_answered_from_the_cache_with_its_entity_tag()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        // The tail of the log takes it out once more when it comes to the creation.
        await HttpTesting.EventuallyAsync(
            async () =>
            {
                await users.Host.Database.RunAsync($"update users.users set name = 'A' where id = '{id}'");
                await client.GetJsonAsync($"/users/{id}");
                // No event tells of this.
                await users.Host.Database.RunAsync($"update users.users set name = 'B' where id = '{id}'");
                return (await client.GetJsonAsync($"/users/{id}")).GetProperty("name").GetString();
            },
            name => name == "A");
        var request = new HttpRequestMessage(HttpMethod.Get, $"/users/{id}");
        request.Headers.TryAddWithoutValidation("If-None-Match", "\"1\"");
        Assert.Equal(HttpStatusCode.NotModified, (await client.SendAsync(request)).StatusCode);
    }

    [Fact]
    public async Task What_another_process_changes_is_seen_in_a_moment()
    {
        await using var other = await TestHost.StartAsync([typeof(UpdateUser).Assembly, typeof(GetUser).Assembly, typeof(DeleteUser).Assembly], users.Host.Database);
        var organisation = users.NewOrganisationName();
        using var here = users.Host.Client(organisation: organisation);
        using var there = other.Client(organisation: organisation);
        var id = await here.CreatedAsync("a@example.com", "V1");
        for (var version = 2; version <= 6; version++)
        {
            await here.GetJsonAsync($"/users/{id}");
            Assert.Equal(HttpStatusCode.OK, (await there.PutAsync(id, "*", $$"""{"email":"a@example.com","name":"V{{version}}"}""")).StatusCode);
            await HttpTesting.EventuallyAsync(
                async () => (await here.GetJsonAsync($"/users/{id}")).GetProperty("name").GetString(), name => name == $"V{version}");
        }

        await there.DeleteAsync(id, "*");
        await HttpTesting.EventuallyAsync(
            async () => (await here.GetAsync(new Uri($"/users/{id}", UriKind.Relative))).StatusCode, status => status == HttpStatusCode.NotFound);
    }

    private static Answer Ok(string text) => Answer.Ok<IReadOnlyList<FoundUserDto>>([new(Guid.Empty, text, "", null, 0)], ReadModelsJson.Default.IReadOnlyListFoundUserDto);

    private Task<string> ReadAsync(string tenant, Func<string> load) => ReadAsync(tenant, () => Task.FromResult(Ok(load())));

    /// <returns>The text that <see cref="Ok"/> was given; empty for another answer.</returns>
    private async Task<string> ReadAsync(string tenant, Func<Task<Answer>> load)
    {
        var caller = new Caller();
        caller.Become(tenant, "test");
        var answer = await _cache.GetAsync(caller, Topic, "x", load, default);
        var http = new Microsoft.AspNetCore.Http.DefaultHttpContext();
        using var body = new MemoryStream();
        http.Response.Body = body;
        await answer.ExecuteAsync(http);
        var json = System.Text.Json.JsonDocument.Parse(body.ToArray()).RootElement;
        return json.ValueKind == System.Text.Json.JsonValueKind.Array ? json[0].GetProperty("name").GetString()! : "";
    }
}
