using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Agency.Platform;

/// <summary>How often, and how far apart, a failing record is tried.</summary>
/// <param name="MaxAttempts">After so many failures it is dead.</param>
/// <param name="FirstDelay">Before the second attempt; doubles with each.</param>
/// <param name="MaxDelay">The longest wait between two attempts.</param>
public sealed record InboxOptions(int MaxAttempts, TimeSpan FirstDelay, TimeSpan MaxDelay)
{
    public static InboxOptions Default { get; } = new(5, TimeSpan.FromMilliseconds(500), TimeSpan.FromMinutes(5));
}

/// <summary>
/// Handles each event once in effect, however often it is delivered. The effect and the note of it commit together. A failing record
/// is parked with its count of attempts, and the later records of its subject behind it, so that others flow on and none overtakes.
/// </summary>
public sealed partial class Inbox(UnitOfWork work, Caller caller, IServiceScopeFactory scopes, InboxOptions options, ILogger<Inbox> log)
{
    /// <summary>Organisations of a batch that are handled at once.</summary>
    private const int Organisations = 4;

    /// <summary>Present on a record that comes from <c>platform.parked</c>; its value is the row's id.</summary>
    public const string ParkedHeader = "agency-parked-id";

    /// <summary>Handles one record in a transaction of its organisation.</summary>
    /// <param name="record">The record.</param>
    /// <param name="group">The consumer's name, for which the event is handled once.</param>
    /// <param name="handle">The effect, through the same <see cref="UnitOfWork"/>.</param>
    /// <param name="cancel">Stops the handling; the record will come again.</param>
    public async Task HandleOnceAsync(KafkaRecord record, string group, Func<CloudEvent, Task> handle, CancellationToken cancel)
    {
        var e = CloudEvent.From(record);
        caller.Become(e.Tenant, group);
        var parkedId = ParkedId(record);
        try
        {
            await work.TransactAsync(
                async () =>
                {
                    if (await ClaimAsync(e, group, parkedId, cancel))
                        await handle(e);
                    return true;
                },
                cancel);
        }
        catch (Exception failure) when (!cancel.IsCancellationRequested && !IsOutage(failure))
        {
            // Whatever a handler throws is this record's failure, and is kept with it.
            LogFailed(failure, group, e.Type, e.Subject);
            await RecordFailureAsync(e, group, parkedId, failure, cancel);
        }
    }

    /// <summary>
    /// Handles many records with one effect for each organisation among them: the form for rollups. When the effect fails, the
    /// records are handled one by one, so that only the one at fault is parked. Organisations do not wait for each other: each has a
    /// transaction of its own.
    /// </summary>
    /// <param name="records">Of any organisations.</param>
    /// <param name="group">The consumer's name, for which the events are handled once.</param>
    /// <param name="handle">The effect of an organisation's events, through the <see cref="UnitOfWork"/> that it is given.</param>
    /// <param name="cancel">Stops the handling; what was not handled will come again.</param>
    public async Task HandleOnceAsync(
        IReadOnlyList<KafkaRecord> records, string group, Func<UnitOfWork, IReadOnlyList<CloudEvent>, Task> handle, CancellationToken cancel)
    {
        using var turns = new SemaphoreSlim(Organisations);
        // All of them, also when one fails: the others are done then, and its failure makes the batch come again.
        await Task.WhenAll(records.GroupBy(r => CloudEvent.From(r).Tenant).Select(async tenant =>
        {
            await turns.WaitAsync(cancel);
            try
            {
                var organisation = Caller.Of(tenant.Key, group);
                await scopes.RunAsync(
                    organisation, own => new Inbox(own, organisation, scopes, options, log).HandleAllAsync([.. tenant], group, events => handle(own, events), cancel));
            }
            finally
            {
                turns.Release();
            }
        }));
    }

    /// <summary>Handles the records of one organisation.</summary>
    private async Task HandleAllAsync(List<KafkaRecord> records, string group, Func<IReadOnlyList<CloudEvent>, Task> handle, CancellationToken cancel)
    {
        if (records.Count > 1 && await TryHandleAllAsync(records, group, handle, cancel))
            return;
        foreach (var record in records)
            await HandleOnceAsync(record, group, e => handle([e]), cancel);
    }

    private async Task<bool> TryHandleAllAsync(List<KafkaRecord> records, string group, Func<IReadOnlyList<CloudEvent>, Task> handle, CancellationToken cancel)
    {
        var events = records.ConvertAll(CloudEvent.From);
        try
        {
            return await work.TransactAsync(
                async () =>
                {
                    // A subject with a parked record needs the care of the single form.
                    if (await work.QueryFirstAsync(
                        $"""
                        select exists (select from platform.parked
                            where group_name = {group} and subject = any({events.Select(e => e.Subject).Distinct().ToArray()}))
                        """,
                        row => row.GetBoolean(0),
                        cancel))
                        return false;
                    var fresh = (await work.QueryAsync(
                        $"""
                        insert into platform.inbox (tenant_id, group_name, event_id)
                        select {caller.Tenant}, {group}, id from unnest({events.Select(e => e.Id).ToArray()}) as id
                        on conflict do nothing
                        returning event_id
                        """,
                        row => row.GetGuid(0),
                        cancel)).ToHashSet();
                    if (fresh.Count > 0)
                        await handle(events.FindAll(e => fresh.Remove(e.Id)));
                    return true;
                },
                cancel);
        }
        catch (Exception failure) when (!cancel.IsCancellationRequested && !IsOutage(failure))
        {
            LogBatchFailed(failure, group, events.Count);
            return false;
        }
    }

    /// <summary>True when the effect is now ours to have; false when it was had, or waits behind a parked record.</summary>
    private async Task<bool> ClaimAsync(CloudEvent e, string group, long? parkedId, CancellationToken cancel)
    {
        if (parkedId is { } id)
        {
            if (await work.ExecuteAsync($"delete from platform.parked where id = {id} and state <> 'dead'", cancel) == 0)
                return false;
        }
        else if (await work.ExecuteAsync(
            $"""
            insert into platform.parked (tenant_id, group_name, topic, subject, event_id, type, headers, data, state, attempts, next_attempt_at)
            select {e.Tenant}, {group}, {e.Topic}, {e.Subject}, {e.Id}, {e.Type}, {Headers(e)}, {EventRedaction.Current(e)}, 'waiting', 0, now()
            where exists (select from platform.parked where group_name = {group} and topic = {e.Topic} and subject = {e.Subject})
              and not exists (select from platform.inbox where group_name = {group} and event_id = {e.Id})
            on conflict do nothing
            """,
            cancel) > 0)
        {
            return false;
        }

        return await work.ExecuteAsync(
            $"""
            insert into platform.inbox (tenant_id, group_name, event_id)
            select {e.Tenant}, {group}, {e.Id}
            where not exists (select from platform.parked where group_name = {group} and event_id = {e.Id})
            on conflict do nothing
            """,
            cancel) == 1;
    }

    private async Task RecordFailureAsync(CloudEvent e, string group, long? parkedId, Exception failure, CancellationToken cancel)
    {
        var error = FailureText.Of(failure);
        await work.TransactAsync(
            () => parkedId is { } id
                ? work.ExecuteAsync(
                    $"""
                    update platform.parked
                    set attempts = attempts + 1,
                        error = {error},
                        state = case when attempts + 1 >= {options.MaxAttempts} then 'dead' else 'retrying' end,
                        next_attempt_at = now() + {Backoff($"attempts")}
                    where id = {id}
                    """,
                    cancel)
                : work.ExecuteAsync(
                    $"""
                    insert into platform.parked (tenant_id, group_name, topic, subject, event_id, type, headers, data, state, attempts, next_attempt_at, error)
                    select {e.Tenant}, {group}, {e.Topic}, {e.Subject}, {e.Id}, {e.Type}, {Headers(e)}, {EventRedaction.Current(e)},
                        {(options.MaxAttempts <= 1 ? "dead" : "retrying")}, 1, now() + {Backoff($"0")}, {error}
                    on conflict do nothing
                    """,
                    cancel),
            cancel);
    }

    /// <summary>Exponential backoff with equal jitter: between half and all of the doubled delay.</summary>
    private Sql Backoff(Sql failures) => $"""
        make_interval(secs => least({options.MaxDelay.TotalSeconds}, {options.FirstDelay.TotalSeconds} * power(2, {failures})) * (0.5 + random() / 2))
        """;

    /// <summary>The database itself is away: no attempt of the record was made, so none is counted. One that takes too long is another matter.</summary>
    private static bool IsOutage(Exception failure) => failure is Npgsql.NpgsqlException { IsTransient: true, InnerException: not TimeoutException } and not Npgsql.PostgresException
        or Npgsql.PostgresException { SqlState: "57P01" or "57P02" or "57P03" or "53300" };

    private static long? ParkedId(KafkaRecord record) =>
        record.Headers.FirstOrDefault(h => h.Key == ParkedHeader) is { } header ? long.Parse(header.GetValueAsString(), CultureInfo.InvariantCulture) : null;

    /// <summary>A parked record as it is delivered again.</summary>
    /// <param name="id">Its row.</param>
    /// <param name="headers">As <c>platform.parked</c> keeps them: a JSON object.</param>
    public static KafkaRecord Redelivery(long id, string topic, ReadOnlySpan<byte> headers, byte[] data)
    {
        var byName = JsonSerializer.Deserialize(headers, InboxJson.Default.DictionaryStringString)!;
        byName[ParkedHeader] = id.ToString(CultureInfo.InvariantCulture);
        return new()
        {
            Topic = topic,
            Key = Encoding.UTF8.GetBytes(byName["ce_subject"]),
            Value = data,
            Headers = [.. byName.Select(h => CloudEvent.Header(h.Key, h.Value))],
        };
    }

    private static Json Headers(CloudEvent e) => new(JsonSerializer.SerializeToUtf8Bytes(
        e.ToRecord(0).Headers.ToDictionary(h => h.Key, h => h.GetValueAsString()), InboxJson.Default.DictionaryStringString));

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Group} could not handle {Type} of {Subject}; it is parked.")]
    private partial void LogFailed(Exception failure, string group, string type, string subject);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Group} could not handle {Count} records together; they are handled one by one.")]
    private partial void LogBatchFailed(Exception failure, string group, int count);
}

[JsonSerializable(typeof(Dictionary<string, string>))]
internal sealed partial class InboxJson : JsonSerializerContext;
