using System.Text;
using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>Turns each event of any domain into a delivery for each webhook of its organisation that wants it.</summary>
public sealed class QueueWebhookDeliveries(Inbox inbox)
{
    [Function(nameof(QueueWebhookDeliveries))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", DomainTopics.Every, ConsumerGroup = nameof(QueueWebhookDeliveries), IsBatched = true)] KafkaRecord[] records,
        CancellationToken cancel) => inbox.HandleOnceAsync(records, nameof(QueueWebhookDeliveries), (work, events) => QueueAsync(work, events, cancel), cancel);

    private static async Task QueueAsync(UnitOfWork work, IReadOnlyList<CloudEvent> events, CancellationToken cancel)
    {
        var webhooks = await work.QueryAsync(
            $"select id, event_types from platform.webhooks where enabled",
            row => (Id: row.GetGuid(0), Patterns: row.GetFieldValue<string[]>(1)),
            cancel);
        var wanted = events
            .SelectMany(e => webhooks.Where(w => w.Patterns.Any(p => EventPattern.Matches(p, e.Type))), (e, w) => (Webhook: w.Id, Event: e))
            .ToList();
        if (wanted.Count == 0)
            return;
        // A webhook that is deleted at this moment is waited for and then not found, rather than referred to; and what has been redacted
        // since the event was read is not copied.
        await work.ExecuteAsync(
            $"""
            insert into platform.webhook_deliveries (webhook_id, event_id, type, occurred_at, data)
            select wanted.webhook_id, wanted.event_id, wanted.type, wanted.occurred_at, coalesce(logged.data, wanted.data::json)
            from unnest(
                {wanted.ConvertAll(w => w.Webhook).ToArray()}, {wanted.ConvertAll(w => w.Event.Id).ToArray()},
                {wanted.ConvertAll(w => w.Event.Type).ToArray()}, {wanted.ConvertAll(w => w.Event.Time.UtcDateTime).ToArray()},
                {wanted.ConvertAll(w => Encoding.UTF8.GetString(w.Event.Data.Span)).ToArray()})
                with ordinality as wanted (webhook_id, event_id, type, occurred_at, data, place)
            left join (
                select event_id, data from platform.events where event_id = any({wanted.ConvertAll(w => w.Event.Id).ToArray()}) order by event_id for share
            ) as logged using (event_id)
            join (select id from platform.webhooks for key share) as w on w.id = wanted.webhook_id
            order by wanted.place
            on conflict do nothing
            """,
            cancel);
    }
}
