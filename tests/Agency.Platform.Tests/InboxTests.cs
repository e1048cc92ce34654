using System.Collections.Concurrent;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Platform.Tests;

/// <summary>A record that cannot be handled: retried, then dead, its subject waiting, the others flowing on.</summary>
public sealed class InboxTests : IAsyncLifetime
{
    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await Counters.StartAsync();

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Theory]
    [InlineData(nameof(NoteEffect))]
    [InlineData(nameof(NoteEffects))]
    public async Task A_poison_record_dies_within_its_attempts_while_others_flow(string consumer)
    {
        await PoisonAsync("bad", 2);
        foreach (var counter in new[] { "bad", "bad", "good", "bad", "good" })
            await Counters.BumpAsync(_host.Services, counter);

        Assert.Equal(["bad:1", "good:1", "good:2"], (await Counters.EventuallyAsync(_host.Database, consumer, 3)).Order());
        var parked = await HttpTesting.EventuallyAsync(() => ParkedAsync(consumer), p => p.Count == 2 && p[0].Contains("dead", StringComparison.Ordinal));
        Assert.Equal(["bad dead 3 InvalidOperationException: bad 2 is poisoned.", "bad waiting 0 "], parked);
    }

    [Fact]
    public async Task What_follows_a_dead_record_never_overtakes_it_and_a_redrive_brings_all_back_in_order()
    {
        await PoisonAsync("bad", 1);
        for (var i = 0; i < 4; i++)
            await Counters.BumpAsync(_host.Services, "bad");
        await HttpTesting.EventuallyAsync(() => ParkedAsync(nameof(NoteEffect)), p => p.Count == 4 && p[0].Contains("dead", StringComparison.Ordinal));
        Assert.Empty(await Counters.EffectsAsync(_host.Database, nameof(NoteEffect)));

        await _host.Database.RunAsync("delete from test.faults");
        using var client = _host.Client("platform:read platform:write");
        var dead = (await (await client.GetAsync(new Uri("/dead-letters", UriKind.Relative))).JsonAsync()).EnumerateArray()
            .Where(d => d.GetProperty("group").GetString() == nameof(NoteEffect)).ToList();
        Assert.Equal(3, Assert.Single(dead).GetProperty("attempts").GetInt32());
        var answer = await client.PostAsync(new Uri($"/dead-letters/{dead[0].GetProperty("id").GetInt64()}/redrive", UriKind.Relative), null);
        Assert.Equal(202, (int)answer.StatusCode);
        Assert.Equal(["bad:1", "bad:2", "bad:3", "bad:4"], await Counters.EventuallyAsync(_host.Database, nameof(NoteEffect), 4));
        Assert.Empty(await ParkedAsync(nameof(NoteEffect)));
    }

    [Fact]
    public async Task A_discarded_record_lets_its_followers_go()
    {
        await PoisonAsync("bad", 1);
        await Counters.BumpAsync(_host.Services, "bad");
        await Counters.BumpAsync(_host.Services, "bad");
        await HttpTesting.EventuallyAsync(() => ParkedAsync(nameof(NoteEffect)), p => p.Count == 2 && p[0].Contains("dead", StringComparison.Ordinal));
        var id = await _host.Database.ScalarAsync<long>("select id from platform.parked where state = 'dead' and group_name = 'NoteEffect'");

        using var stranger = _host.Client("platform:read platform:write", "globex");
        Assert.Equal(404, (int)(await stranger.DeleteAsync(new Uri($"/dead-letters/{id}", UriKind.Relative))).StatusCode);
        Assert.Equal(0, (await (await stranger.GetAsync(new Uri("/dead-letters", UriKind.Relative))).JsonAsync()).GetArrayLength());

        using var client = _host.Client("platform:read platform:write");
        Assert.Equal(204, (int)(await client.DeleteAsync(new Uri($"/dead-letters/{id}", UriKind.Relative))).StatusCode);
        Assert.Equal(["bad:2"], await Counters.EventuallyAsync(_host.Database, nameof(NoteEffect), 1));
    }

    [Fact]
    public async Task A_fault_that_passes_is_retried_without_help()
    {
        await PoisonAsync("bad", 1);
        await Counters.BumpAsync(_host.Services, "bad");
        await HttpTesting.EventuallyAsync(() => ParkedAsync(nameof(NoteEffect)), p => p.Count == 1);
        await _host.Database.RunAsync("delete from test.faults; update platform.parked set state = 'retrying', attempts = 1 where state = 'dead'");
        Assert.Equal(["bad:1"], await Counters.EventuallyAsync(_host.Database, nameof(NoteEffect), 1));
    }

    [Fact]
    public async Task What_has_been_redacted_since_it_was_read_is_not_parked()
    {
        await Counters.BumpAsync(_host.Services, "bad");
        await Counters.BumpAsync(_host.Services, "bad");
        var records = await _host.LogAsync();
        await _host.Database.RunAsync("""update platform.events set data = '{"counter":"redacted"}'""");
        // The first fails, the second waits behind it.
        foreach (var record in records)
        {
            await using var scope = _host.Services.CreateAsyncScope();
            await scope.ServiceProvider.GetRequiredService<Inbox>().HandleOnceAsync(record, "Slow", _ => throw new InvalidOperationException("slow"), CancellationToken.None);
        }

        Assert.Equal(
            ["""{"counter":"redacted"}""", """{"counter":"redacted"}"""],
            await _host.Database.QueryAsync<string>("select convert_from(data, 'UTF8') from platform.parked where group_name = 'Slow'"));
    }

    public static TheoryData<string> StrangeMessages => ["half \ud800 of a pair", "\0", new string('x', 1970) + string.Concat(Enumerable.Repeat("😀", 40)), new string('x', 1969) + string.Concat(Enumerable.Repeat("😀", 40))];

    [Theory]
    [MemberData(nameof(StrangeMessages))]
    public async Task A_failure_is_kept_whatever_its_message_holds(string message)
    {
        await Counters.BumpAsync(_host.Services, "bad");
        await using var scope = _host.Services.CreateAsyncScope();
        await scope.ServiceProvider.GetRequiredService<Inbox>().HandleOnceAsync(
            (await _host.LogAsync()).Single(), "Strange", _ => throw new InvalidOperationException(message), CancellationToken.None);
        var error = await _host.Database.ScalarAsync<string>("select error from platform.parked where group_name = 'Strange'");
        Assert.StartsWith("InvalidOperationException: ", error, StringComparison.Ordinal);
        Assert.InRange(error.Length, 27, 2000);
    }

    [Fact]
    public async Task An_organisation_that_is_held_up_holds_up_no_other_of_its_batch()
    {
        await Counters.BumpAsync(_host.Services, "one");
        await Counters.BumpAsync(_host.Services, "two", "globex");
        var other = new TaskCompletionSource();
        var handled = new ConcurrentQueue<string>();
        async Task HandleAsync(UnitOfWork work, IReadOnlyList<CloudEvent> events)
        {
            // Only once what the other has done is committed.
            if (events[0].Tenant == "acme")
                await other.Task.WaitAsync(TimeSpan.FromSeconds(30));
            else
                work.AfterCommit(other.SetResult);
            handled.Enqueue(events[0].Tenant);
        }

        var records = await _host.LogAsync();
        for (var delivery = 0; delivery < 2; delivery++)
            await DeliverAsync(records, HandleAsync);
        Assert.Equal(["globex", "acme"], handled);
    }

    [Fact]
    public async Task An_outage_that_hits_one_organisation_brings_the_batch_again_and_the_others_are_not_handled_twice()
    {
        await Counters.BumpAsync(_host.Services, "one");
        await Counters.BumpAsync(_host.Services, "two", "globex");
        var handled = new ConcurrentQueue<string>();
        var isAway = true;
        Task HandleAsync(UnitOfWork work, IReadOnlyList<CloudEvent> events)
        {
            handled.Enqueue(events[0].Tenant);
            return isAway && events[0].Tenant == "acme" ? throw new NpgsqlException("away", new IOException()) : Task.CompletedTask;
        }

        var records = await _host.LogAsync();
        await Assert.ThrowsAsync<NpgsqlException>(() => DeliverAsync(records, HandleAsync));
        isAway = false;
        await DeliverAsync(records, HandleAsync);
        Assert.Equal(["acme", "acme", "globex"], handled.Order());
        Assert.Empty(await ParkedAsync("Slow"));
    }

    [Fact]
    public async Task What_takes_the_database_too_long_is_parked_as_it_would_hold_up_the_group_for_ever()
    {
        await Counters.BumpAsync(_host.Services, "one");
        await DeliverAsync(await _host.LogAsync(), (_, _) => throw new NpgsqlException("Exception while reading from stream", new TimeoutException()));
        Assert.StartsWith("one retrying 1 ", Assert.Single(await ParkedAsync("Slow")), StringComparison.Ordinal);
    }

    private async Task DeliverAsync(List<KafkaRecord> records, Func<UnitOfWork, IReadOnlyList<CloudEvent>, Task> handle)
    {
        await using var scope = _host.Services.CreateAsyncScope();
        await scope.ServiceProvider.GetRequiredService<Inbox>().HandleOnceAsync(records, "Slow", handle, CancellationToken.None);
    }

    private Task PoisonAsync(string subject, int version) =>
        _host.Database.RunAsync($"insert into test.faults (tenant_id, subject, version) values ('acme', '{subject}', {version})");

    private Task<List<string>> ParkedAsync(string consumer) => _host.Database.QueryAsync<string>(
        $"select subject || ' ' || state || ' ' || attempts || ' ' || coalesce(error, '') from platform.parked where group_name = '{consumer}' order by id");
}
