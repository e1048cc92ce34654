using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>Adds what was tracked to the rollups, a batch of records at a time.</summary>
public sealed class RollUpEvents(UnitOfWork work, Inbox inbox)
{
    [Function(nameof(RollUpEvents))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", AnalyticsTopic.Name, ConsumerGroup = nameof(RollUpEvents), IsBatched = true)] KafkaRecord[] records,
        CancellationToken cancel) => inbox.HandleOnceAsync(
            records,
            nameof(RollUpEvents),
            async events =>
            {
                var rollup = new Rollup();
                foreach (var record in events)
                    if (record.Is<EventTrackedEvent>(out var tracked))
                        foreach (var e in tracked.Events)
                            rollup.Add(e);
                await work.AddAsync(rollup, cancel);
            },
            cancel);
}
