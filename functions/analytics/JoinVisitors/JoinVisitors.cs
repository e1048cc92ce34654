using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>Brings what a visitor did before he was identified into the history of whom he is known to be.</summary>
public sealed class JoinVisitors(UnitOfWork work, Inbox inbox)
{
    [Function(nameof(JoinVisitors))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", AnalyticsTopic.Name, ConsumerGroup = nameof(JoinVisitors))] KafkaRecord record,
        CancellationToken cancel) => inbox.HandleOnceAsync(
            record,
            nameof(JoinVisitors),
            async e =>
            {
                if (!e.Is<VisitorsJoinedEvent>(out var joined))
                    return;
                await RollupTables.LockAsync(work, cancel);
                await Identities.JoinAsync(work, joined.Visitor, cancel);
            },
            cancel);
}
