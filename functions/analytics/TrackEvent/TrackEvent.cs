using System.Collections.Concurrent;
using System.ComponentModel.DataAnnotations;
using System.Text;
using System.Text.Json.Nodes;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Npgsql;

namespace Agency.Analytics;

/// <summary>An event as a client sends it.</summary>
/// <param name="MessageId">The client's own id of the event; the same again is not counted twice.</param>
/// <param name="Event">What it is called, such as <c>order-line</c>.</param>
/// <param name="UserId">The user's id in the organisation's own system.</param>
/// <param name="AnonymousId">A device or basket whose user is not known.</param>
/// <param name="Time">When it happened; now unless given.</param>
public sealed record EventBody(
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string MessageId, [StringLength(EventReader.MaxText, MinimumLength = 1)] string Event,
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string? UserId = null, [StringLength(EventReader.MaxText, MinimumLength = 1)] string? AnonymousId = null,
    DateTimeOffset? Time = null, JsonObject? Properties = null);

/// <summary>The items of one request, in the order they came.</summary>
public sealed record TrackEventCommand(IReadOnlyList<ReadItem> Items);

/// <summary>POST /events: keeps one event, or an array of them, each once. 200, or 207 when some were rejected.</summary>
public sealed class TrackEvent(UnitOfWork work)
{
    // The months that have been seen to have a partition.
    private static readonly ConcurrentDictionary<DateTime, bool> Months = new();

    [Function(nameof(TrackEvent)), RequireScope("events:write"), MaxBody(4 * 1024 * 1024)]
    [Operation(Body = typeof(EventBody), MaxItems = EventReader.MaxEvents, Answer = typeof(TrackedDto), OtherStatus = 207)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "events")] HttpRequest http, CancellationToken cancel)
    {
        var command = new TrackEventCommand(EventReader.Read(await http.ReadJsonBytesAsync(cancel), DateTimeOffset.UtcNow));
        try
        {
            return await work.RunAsync(http, () => KeepAsync(command, Months.ContainsKey, cancel), cancel);
        }
        catch (PostgresException missing) when (missing.SqlState == PostgresErrorCodes.CheckViolation)
        {
            // A month that was there has been dropped since, as it was empty.
            return await work.RunAsync(http, () => KeepAsync(command, _ => false, cancel), cancel);
        }
    }

    private async Task<Answer> KeepAsync(TrackEventCommand command, Predicate<DateTime> exists, CancellationToken cancel)
    {
        var candidates = Distinct(command.Items);
        var batch = Guid.CreateVersion7();
        var fresh = candidates.Count == 0 ? [] : await InsertAsync(candidates, batch, exists, cancel);
        if (fresh.Count > 0)
            work.Append(new EventTrackedEvent(candidates.FindAll(e => fresh.Contains(e.MessageId))), batch, 1);
        var answer = Report(command.Items, fresh);
        return answer.Rejected == 0
            ? Answer.Ok(answer, AnalyticsJson.Default.TrackedDto)
            : Answer.MultiStatus(answer, AnalyticsJson.Default.TrackedDto);
    }

    /// <summary>The first event of each message id.</summary>
    public static List<TrackedEvent> Distinct(IReadOnlyList<ReadItem> items)
    {
        var seen = new HashSet<string>(items.Count, StringComparer.Ordinal);
        var events = new List<TrackedEvent>(items.Count);
        foreach (var item in items)
            if (item.Event is { } e && seen.Add(e.MessageId))
                events.Add(e);
        return events;
    }

    /// <param name="fresh">Message ids that were inserted; the first event of each is the accepted one.</param>
    public static TrackedDto Report(IReadOnlyList<ReadItem> items, IReadOnlySet<string> fresh)
    {
        var unanswered = new HashSet<string>(fresh, StringComparer.Ordinal);
        var others = new List<TrackedItemDto>();
        for (var i = 0; i < items.Count; i++)
            if (items[i].Error is { } error)
                others.Add(new(i, items[i].MessageId, "rejected", error));
            else if (!unanswered.Remove(items[i].MessageId!))
                others.Add(new(i, items[i].MessageId, "duplicate"));
        var rejected = others.Count(o => o.Error is not null);
        return new(fresh.Count, others.Count - rejected, rejected, others);
    }

    /// <returns>The message ids that were not there.</returns>
    private async Task<HashSet<string>> InsertAsync(List<TrackedEvent> events, Guid batch, Predicate<DateTime> exists, CancellationToken cancel)
    {
        await AddMonthsAsync(events, exists, cancel);
        // Concurrent batches with the same ids wait for each other in one order, so not in a circle.
        var sorted = events.Order(Comparer<TrackedEvent>.Create((a, b) => string.CompareOrdinal(a.MessageId, b.MessageId))).ToList();
        var inserted = await work.QueryAsync(
            $"""
            with sent as (
              select * from unnest(
                {sorted.ConvertAll(e => e.MessageId).ToArray()}, {sorted.ConvertAll(e => e.Event).ToArray()},
                {sorted.ConvertAll(e => e.UserId).ToArray()}, {sorted.ConvertAll(e => e.AnonymousId).ToArray()}, {sorted.ConvertAll(Visitor.Of).ToArray()},
                {sorted.ConvertAll(e => e.Time.UtcDateTime).ToArray()},
                {sorted.ConvertAll(e => Encoding.UTF8.GetString(e.Properties.Utf8.Span)).ToArray()})
                as sent (message_id, name, user_id, anonymous_id, visitor, occurred_at, properties)
            ), fresh as (
              insert into analytics.message_ids (message_id) select message_id from sent on conflict do nothing returning message_id
            ), kept as (
              insert into analytics.events (message_id, name, user_id, anonymous_id, visitor, occurred_at, batch_id, properties)
              select message_id, name, user_id, anonymous_id,
                coalesce((select same_as from analytics.identities i where i.visitor = sent.visitor), visitor), occurred_at, {batch}, properties::jsonb
              from fresh join sent using (message_id)
              returning message_id, occurred_at
            ), pending as (
              insert into analytics.pending_batches (batch_id, first_at, last_at)
              select {batch}, min(occurred_at), max(occurred_at) from kept having count(*) > 0
            )
            select message_id from kept
            """,
            row => row.GetString(0),
            cancel);
        return inserted.ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>Makes the partitions that the events need: months long gone, in an import; the coming ones are there already.</summary>
    private async Task AddMonthsAsync(List<TrackedEvent> events, Predicate<DateTime> exists, CancellationToken cancel)
    {
        foreach (var month in events.Select(e => Interval.Floor(Interval.Month, e.Time.UtcDateTime)).Distinct().Where(m => !exists(m)))
        {
            await work.ExecuteAsync($"select analytics.add_partition({month})", cancel);
            work.AfterCommit(() => Months.TryAdd(month, true));
        }
    }
}
