using System.Text.Json.Serialization;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform.Tests;

public sealed record CounterBumped(string Counter) : IDomainEvent<CounterBumped>
{
    public const string Topic = "test.counters";

    public static EventType<CounterBumped> EventType { get; } = new("test.counter-bumped.v1", Topic, CountersJson.Default.CounterBumped);
}

[JsonSerializable(typeof(CounterBumped))]
internal sealed partial class CountersJson : JsonSerializerContext;

/// <summary>Writes each event it handles into test.effects, and fails for what test.faults names.</summary>
public sealed class NoteEffect(Inbox inbox, UnitOfWork work)
{
    [Function(nameof(NoteEffect))]
    public Task Run([KafkaTrigger("%KafkaBrokers%", CounterBumped.Topic, ConsumerGroup = nameof(NoteEffect))] KafkaRecord record, CancellationToken cancel) =>
        inbox.HandleOnceAsync(record, nameof(NoteEffect), e => Counters.NoteAsync(work, nameof(NoteEffect), [e], cancel), cancel);
}

/// <summary>The same, many at a time.</summary>
public sealed class NoteEffects(Inbox inbox)
{
    [Function(nameof(NoteEffects))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", CounterBumped.Topic, ConsumerGroup = nameof(NoteEffects), IsBatched = true)] KafkaRecord[] records,
        CancellationToken cancel) =>
        inbox.HandleOnceAsync(records, nameof(NoteEffects), (work, events) => Counters.NoteAsync(work, nameof(NoteEffects), events, cancel), cancel);
}

internal static class Counters
{
    public static Task<TestHost> StartAsync(TestDatabase? database = null) => TestHost.StartAsync(
        [typeof(Counters).Assembly, typeof(ListDeadLetters).Assembly, typeof(RedriveDeadLetter).Assembly, typeof(DiscardDeadLetter).Assembly],
        database,
        builder => builder.Services.AddSingleton(new InboxOptions(3, TimeSpan.FromMilliseconds(20), TimeSpan.FromMilliseconds(50))));

    /// <summary>Changes the aggregate and records it, as a command does.</summary>
    public static async Task<long> BumpAsync(IServiceProvider services, string counter, string tenant = "acme", Func<Task>? beforeCommit = null)
    {
        await using var scope = services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become(tenant, "test");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        return await work.TransactAsync(
            async () =>
            {
                var version = await work.QueryFirstAsync(
                    $"""
                    insert into test.counters (tenant_id, id, version) values ({tenant}, {counter}, 1)
                    on conflict (tenant_id, id) do update set version = counters.version + 1
                    returning version
                    """,
                    row => row.GetInt64(0),
                    CancellationToken.None);
                work.Append(new CounterBumped(counter), counter, version);
                if (beforeCommit is not null)
                    await beforeCommit();
                return version;
            },
            CancellationToken.None);
    }

    public static async Task NoteAsync(UnitOfWork work, string consumer, IReadOnlyList<CloudEvent> events, CancellationToken cancel)
    {
        foreach (var e in events)
        {
            Assert.True(e.Is<CounterBumped>(out var bumped));
            Assert.Equal(e.Subject, bumped.Counter);
            await work.ExecuteAsync($"insert into test.effects (consumer, subject, version) values ({consumer}, {e.Subject}, {e.Version})", cancel);
            if (await work.QueryFirstAsync(
                $"select true from test.faults where subject = {e.Subject} and version = {e.Version}", row => row.GetBoolean(0), cancel))
                throw new InvalidOperationException($"{e.Subject} {e.Version} is poisoned.");
        }
    }

    /// <summary>What a consumer has done, as <c>subject:version</c> in order.</summary>
    public static Task<List<string>> EffectsAsync(TestDatabase database, string consumer) =>
        database.QueryAsync<string>($"select subject || ':' || version from test.effects where consumer = '{consumer}' order by seq");

    public static Task<List<string>> EventuallyAsync(TestDatabase database, string consumer, int count) =>
        HttpTesting.EventuallyAsync(() => EffectsAsync(database, consumer), effects => effects.Count >= count);
}
