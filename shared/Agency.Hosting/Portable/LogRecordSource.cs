using Agency.Platform;
using Agency.Worker;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Hosting;

/// <summary>Feeds the portable worker's record functions from the event log's port.</summary>
internal sealed class LogRecordSource(IEventLog log) : IRecordSource
{
    public Task RunAsync(RecordSubscription subscription, CancellationToken stopping) => log.SubscribeAsync(
        new LogSubscription(subscription.Topic, subscription.ConsumerGroup, subscription.IsBatched, subscription.Deliver), stopping);
}

public static partial class AgencyHosting
{
    static partial void AddPortable(IServiceCollection services) => services.AddSingleton<IRecordSource, LogRecordSource>();
}
