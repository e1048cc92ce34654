using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Agency.Embedded;

public static class EmbeddedServices
{
    /// <summary>Every port on PostgreSQL alone.</summary>
    public static IServiceCollection AddEmbedded(this IServiceCollection services)
    {
        services.AddSingleton<LogSignal>();
        services.AddSingleton<GroupLock>();
        services.AddSingleton<IEventLog, EmbeddedEventLog>();
        services.AddSingleton<Sequencer>();
        services.AddSingleton<ICommitListener>(p => p.GetRequiredService<Sequencer>());
        services.AddHostedService(p => p.GetRequiredService<Sequencer>());
        services.AddHostedService<CacheInvalidation>();
        services.AddScoped<IGraph, EmbeddedGraph>();
        services.AddScoped<ISearch, EmbeddedSearch>();
        services.AddScoped<ISagaEngine, EmbeddedSagas>();
        services.AddSingleton<EmbeddedSagasRun>();
        services.TryAddSingleton(EmbeddedSagasOptions.Default);
        services.AddHostedService<EmbeddedSagasWorker>();
        return services;
    }
}
