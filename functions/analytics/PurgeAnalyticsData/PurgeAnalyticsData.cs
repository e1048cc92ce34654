using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="UserId">All that this user did, under whatever id.</param>
/// <param name="AnonymousId">The same for an anonymous id; when it was identified, for that user.</param>
/// <param name="Event">Only events of this name.</param>
/// <param name="From">Only from this moment on.</param>
/// <param name="To">Only before this moment.</param>
public sealed record PurgeAnalyticsDataCommand(string? UserId, string? AnonymousId, string? Event, DateTimeOffset? From, DateTimeOffset? To);

/// <summary>
/// DELETE /analytics/data: removes events for good, by person, name and time, at least one of them. 202 with the place of the report; what
/// was tracked until then is removed, and nothing of it is left in any answer or table. Of a person, ids in other users' events go too.
/// </summary>
public sealed class PurgeAnalyticsData(UnitOfWork work, ISagaEngine sagas, AnalyticsPurge saga)
{
    [Function(nameof(PurgeAnalyticsData)), RequireScope("analytics:write")]
    [Operation(Query = typeof(PurgeAnalyticsDataCommand), QueryExample = "event=page-view", Answer = typeof(PurgeDto), Status = 202, IsUnconditional = true)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "delete", Route = "analytics/data")] HttpRequest http, CancellationToken cancel)
    {
        var query = QueryParameters.Of(http);
        var command = new PurgeAnalyticsDataCommand(Id(query, "userId"), Id(query, "anonymousId"), Id(query, "event"), query.Time("from"), query.Time("to"));
        if (command is { UserId: null, AnonymousId: null, Event: null, From: null, To: null })
            throw QueryParameters.Wrong("$", "Say what is to go: userId or anonymousId, event, from, to.");
        if (command is { UserId: not null, AnonymousId: not null })
            throw QueryParameters.Wrong("anonymousId", "A purge is about one person: give userId or anonymousId.");
        if (command.From >= command.To)
            throw QueryParameters.Wrong("to", "Must be after from; it is the first moment that stays.");
        return await work.RunAsync(http, () => BeginAsync(command, cancel), cancel);
    }

    private async Task<Answer> BeginAsync(PurgeAnalyticsDataCommand command, CancellationToken cancel)
    {
        var id = Guid.CreateVersion7();
        // Who the person is stays as it is until all is gone.
        await Identities.LockAsync(work, cancel);
        var visitors = (command.UserId ?? command.AnonymousId) is not { } person ? null
            : await Identities.NumbersAsync(work, Visitor.Of(person, anonymous: command.UserId is null), cancel);
        await work.ExecuteAsync(
            $"""
            insert into analytics.purges (id, visitors, of_person, event, from_time, to_time)
            values ({id}, {visitors}, {visitors is not null}, {command.Event}, {command.From?.UtcDateTime}, {command.To?.UtcDateTime})
            """,
            cancel);
        await sagas.StartAsync(saga.Definition, id.ToString(), new(id), cancel);
        return Answer.Accepted($"/analytics/purges/{id}", (await PurgeDto.FindAsync(work, id, cancel))!, AnalyticsJson.Default.PurgeDto);
    }

    private static string? Id(QueryParameters query, string name) => query.Text(name) is not { } text ? null
        : EventReader.IsText(text) ? text
        : throw QueryParameters.Wrong(name, "Must not be blank and must not hold control characters.");
}
