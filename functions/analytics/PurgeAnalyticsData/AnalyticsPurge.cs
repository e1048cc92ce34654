using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics;

/// <summary>What is to go stands in the purge's row, so that it goes with it.</summary>
public sealed record AnalyticsPurgeInput(Guid Purge);

[JsonSerializable(typeof(AnalyticsPurgeInput))]
internal sealed partial class AnalyticsPurgeJson : JsonSerializerContext;

/// <summary>Removes the events piece by piece, each in a transaction of its own; a process that dies leaves the pieces that are done.</summary>
public sealed class AnalyticsPurge : ISaga
{
    SagaDefinition ISaga.Definition => Definition;

    public SagaDefinition<AnalyticsPurgeInput> Definition { get; } = Saga.Define("analytics-purge", AnalyticsPurgeJson.Default.AnalyticsPurgeInput)
        // Nothing can be taken back, and what was promised must come: so it is tried for months.
        .Step("delete-events", retry: new RetryPolicy(10_000, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10)), timeout: TimeSpan.FromHours(12))
        .Step("close-purge", retry: new RetryPolicy(10_000, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10)));
}

[Activity("delete-events")]
public sealed class DeleteEvents(IServiceScopeFactory scopes, Caller caller) : IActivity
{
    public async Task RunAsync(ActivityContext context, CancellationToken cancel)
    {
        var id = context.Input(AnalyticsPurgeJson.Default.AnalyticsPurgeInput).Purge;
        // Beside the saga's own transaction, which is open until the step is done.
        var criteria = await scopes.RunAsync(caller, work => PurgeCriteria.FindAsync(work, id, cancel)) ?? throw new PermanentFailureException("The purge is gone.");
        await EventPurge.RunAsync(
            scopes, caller, criteria, (work, removed) => work.ExecuteAsync($"update analytics.purges set events = events + {removed} where id = {id}", cancel), cancel);
    }
}

/// <summary>Forgets whom it was about, and tells that it is done.</summary>
[Activity("close-purge")]
public sealed class ClosePurge(UnitOfWork work) : IActivity
{
    public async Task RunAsync(ActivityContext context, CancellationToken cancel)
    {
        var id = context.Input(AnalyticsPurgeJson.Default.AnalyticsPurgeInput).Purge;
        await Identities.LockAsync(work, cancel);
        var criteria = await PurgeCriteria.FindAsync(work, id, cancel) ?? throw new PermanentFailureException("The purge is gone.");
        var late = criteria.Visitors is null ? 0 : await EventPurge.EndAsync(work, criteria, cancel);
        await work.ExecuteAsync($"update analytics.purges set visitors = null, events = events + {late}, finished_at = now() where id = {id}", cancel);
        var report = (await PurgeDto.FindAsync(work, id, cancel))!;
        work.Append(new DataPurgedEvent(id, report.Events, report.OfPerson, report.Event, report.From, report.To), id, 1);
    }
}
