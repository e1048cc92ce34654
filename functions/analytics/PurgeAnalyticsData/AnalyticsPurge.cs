using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics;

/// <summary>What is to go stands in the purge's row, so that it goes with it.</summary>
public sealed record AnalyticsPurgeInput(Guid Purge);

[JsonSerializable(typeof(AnalyticsPurgeInput))]
internal sealed partial class AnalyticsPurgeJson : JsonSerializerContext;

/// <summary>Removes the events a day at a time, each day in a transaction of its own; a process that dies leaves the days that are done.</summary>
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
        // All of a person is gone, so nothing is left that his ids could join.
        await work.ExecuteAsync(
            $"""
            delete from analytics.identities i using analytics.purges p
            where p.id = {id} and p.event is null and p.from_time is null and p.to_time is null
              and (i.visitor = any(p.visitors) or i.same_as = any(p.visitors))
            """,
            cancel);
        await work.ExecuteAsync($"update analytics.purges set visitors = null, finished_at = now() where id = {id}", cancel);
        var report = (await PurgeDto.FindAsync(work, id, cancel))!;
        work.Append(new DataPurgedEvent(id, report.Events, report.OfPerson, report.Event, report.From, report.To), id, 1);
    }
}
