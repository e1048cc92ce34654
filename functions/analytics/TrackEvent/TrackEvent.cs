using System.Collections.Concurrent;
using System.Text;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.Configuration;
using Npgsql;

namespace Agency.Analytics;

public sealed record TrackEventCommand(Batch Batch);

/// <summary>POST /events: keeps one event, or an array of them, each once. 200, or 207 when some were rejected.</summary>
public sealed class TrackEvent(UnitOfWork work, Caller caller, ReadCache cache, IConfiguration settings)
{
    // The months that have been seen to have a partition.
    private static readonly ConcurrentDictionary<DateTime, bool> Months = new();

    [Function(nameof(TrackEvent)), RequireScope("events:write"), MaxBody(4 * 1024 * 1024)]
    [Operation(Body = typeof(EventBody), MaxItems = EventReader.MaxEvents, Answer = typeof(TrackedDto), OtherStatus = 207, Example = """
        {"messageId":"example-1","event":"page-view","anonymousId":"visitor-1","properties":{"plan":"pro"},"context":{"url":"https://shop.example.com/sale?utm_source=news",
        "referrer":"https://search.example.com/","userAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0","address":"203.0.113.7","country":"GB"}}
        """)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "events")] HttpRequest http, CancellationToken cancel)
    {
        var country = settings["Analytics:CountryHeader"] is { Length: > 0 } header ? http.Headers[header].ToString() : null;
        var origin = EventOrigin.OfRequest(http.Headers.UserAgent, http.HttpContext.Connection.RemoteIpAddress, country);
        var now = DateTimeOffset.UtcNow;
        var items = EventReader.Read(await http.ReadJsonBytesAsync(cancel), now, origin);
        var screening = await Screening.OfAsync(work, caller, cache, cancel);
        var command = new TrackEventCommand(new(screening.Of(items, now.UtcDateTime.Date, await screening.ExcludedAsync(work, items, cancel))));
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
        var candidates = command.Batch.Candidates;
        var batch = Guid.CreateVersion7();
        var fresh = candidates.Count == 0 ? [] : await InsertAsync(candidates, batch, exists, cancel);
        if (fresh.Count > 0)
            work.Append(new EventTrackedEvent(candidates.FindAll(e => fresh.Contains(e.MessageId))), batch, 1);
        await command.Batch.AddViolationsAsync(work, fresh, cancel);
        var answer = command.Batch.Report(fresh);
        return answer.Rejected == 0 ? Answer.Ok(answer, AnalyticsJson.Default.TrackedDto) : Answer.MultiStatus(answer, AnalyticsJson.Default.TrackedDto);
    }

    /// <returns>The message ids that were not there.</returns>
    private async Task<HashSet<string>> InsertAsync(List<TrackedEvent> events, Guid batch, Predicate<DateTime> exists, CancellationToken cancel)
    {
        await AddMonthsAsync(events, exists, cancel);
        // Concurrent batches with the same ids wait for each other in one order, so not in a circle. An identity that is used stays until the
        // end: a purge that forgets it waits for the events that it has led to a person.
        var digests = events.ConvertAll(e => MessageId.DigestOf(e.MessageId)).ToArray();
        var sorted = events.ToArray();
        Array.Sort(digests, sorted);
        var inserted = await work.QueryAsync(
            $"""
            with sent as (
              select * from unnest(
                {digests}, {Array.ConvertAll(sorted, e => e.MessageId)}, {Array.ConvertAll(sorted, e => e.Event)},
                {Array.ConvertAll(sorted, e => e.UserId)}, {Array.ConvertAll(sorted, e => e.AnonymousId)}, {Array.ConvertAll(sorted, Visitor.Of)},
                {Array.ConvertAll(sorted, Visitor.DeviceOf)}, {Array.ConvertAll(sorted, e => e.Time.UtcDateTime)},
                {Array.ConvertAll(sorted, e => Encoding.UTF8.GetString(e.Properties.Utf8.Span))})
                as sent (digest, message_id, name, user_id, anonymous_id, visitor, device, occurred_at, properties)
            ), fresh as (
              insert into analytics.message_ids (digest) select digest from sent on conflict do nothing returning digest
            ), kept as (
              insert into analytics.events (message_id, name, user_id, anonymous_id, visitor, device, occurred_at, batch_id, properties)
              select message_id, name, user_id, anonymous_id,
                coalesce(person.same_as, visitor), case when coalesce(owner.same_as, device) <> coalesce(person.same_as, visitor) then device end,
                occurred_at, {batch}, properties::jsonb
              from fresh join sent using (digest)
              left join lateral (select same_as from analytics.identities i where i.visitor = sent.visitor for key share) as person on true
              left join lateral (select same_as from analytics.identities i where i.visitor = sent.device for key share) as owner on true
              returning message_id
            ), pending as (
              insert into analytics.pending_batches (batch_id) select {batch} where exists (select from kept)
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
