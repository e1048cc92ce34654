using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>Adds what was tracked to the rollups, a batch of records at a time, and brings the histories of persons together.</summary>
public sealed class RollUpEvents(Inbox inbox)
{
    [Function(nameof(RollUpEvents))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", AnalyticsTopic.Name, ConsumerGroup = nameof(RollUpEvents), IsBatched = true)] KafkaRecord[] records,
        CancellationToken cancel) => inbox.HandleOnceAsync(
            records,
            nameof(RollUpEvents),
            async (work, events) =>
            {
                await RollupTables.LockAsync(work, cancel);
                var rollup = new Rollup();
                foreach (var (e, visitor) in await PendingEvents.TakeAsync(work, Tracked(events), cancel))
                    rollup.Add(e, visitor);
                await new RollupTables(work).AddAsync(rollup, cancel);
                await Identities.JoinAsync(work, [.. events.Select(Joined).OfType<long>()], cancel);
            },
            cancel);

    private static Dictionary<Guid, IReadOnlyList<TrackedEvent>> Tracked(IReadOnlyList<CloudEvent> events) => events
        .Where(e => e.Type == EventTrackedEvent.EventType.Name)
        .ToDictionary(e => Guid.Parse(e.Subject), e => EventReader.ReadTracked(e.Data));

    private static long? Joined(CloudEvent e) => e.Is<VisitorsJoinedEvent>(out var joined) ? joined.Visitor : null;
}
