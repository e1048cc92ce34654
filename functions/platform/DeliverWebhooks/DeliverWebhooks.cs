using Agency.Platform;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.PlatformFunctions;

/// <summary>
/// Every second: sends the deliveries that are due, each under a lease, and stays while there are any. A process that dies leaves its
/// leases to run out, after which the same is sent again.
/// </summary>
public sealed class DeliverWebhooks(
    Database database, WebhookSender sender, WebhookOptions options, IHostApplicationLifetime process, ILogger<DeliverWebhooks> log)
{
    private const int Concurrency = 16;
    /// <summary>At a time for one webhook, so that a slow receiver does not keep the others waiting.</summary>
    private const int ConcurrencyEach = 4;
    /// <summary>Shorter than any host lets a function run.</summary>
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(250);

    [Function(nameof(DeliverWebhooks))]
    public async Task Run([TimerTrigger("* * * * * *")] TimerInfo timer, CancellationToken cancel)
    {
        var until = DateTime.UtcNow + Longest;
        var running = new List<Task>();
        do
        {
            if (running.Count < Concurrency && DateTime.UtcNow < until && !process.ApplicationStopping.IsCancellationRequested)
                running.AddRange((await ClaimAsync(Concurrency - running.Count, cancel)).Select(claim => SendAsync(claim, cancel)));
            // At the end of any there is room for another; what becomes due meanwhile is seen by looking.
            if (running.Count > 0)
                await Task.WhenAny([Task.Delay(Poll, CancellationToken.None), .. running]);
        }
        while (running.RemoveAll(sending => sending.IsCompleted) > 0 || running.Count > 0);
    }

    private async Task<List<Claim>> ClaimAsync(int atMost, CancellationToken cancel)
    {
        // In another order each time, so that many webhooks with much to send take turns.
        await using var command = database.System.CreateCommand("""
            update platform.webhook_deliveries d
            set attempts = d.attempts + 1, tries = d.tries + 1, last_attempt_at = now(), lease_until = now() + $3
            from (
              select due.id, w.url, w.secret, case when w.previous_until > now() then w.previous_secret end as previous_secret
              from (select * from platform.webhooks where enabled order by random()) as w
              cross join lateral (
                select q.id from platform.webhook_deliveries q
                where q.tenant_id = w.tenant_id and q.webhook_id = w.id and q.status = 'pending' and q.next_attempt_at <= now()
                  and (q.lease_until is null or q.lease_until < now())
                order by q.next_attempt_at
                limit greatest(0, $2 - (select count(*) from platform.webhook_deliveries l
                  where l.tenant_id = w.tenant_id and l.webhook_id = w.id and l.lease_until > now()))
                for update skip locked) as due
              limit $1) as taken
            where d.id = taken.id
            returning d.id, d.attempts, d.tries, taken.url, d.event_id, d.type, d.occurred_at, d.data, taken.secret, taken.previous_secret
            """);
        command.Parameters.Add(new() { Value = atMost });
        command.Parameters.Add(new() { Value = ConcurrencyEach });
        command.Parameters.Add(new() { Value = options.Lease });
        await using var row = await command.ExecuteReaderAsync(cancel);
        var claims = new List<Claim>();
        while (await row.ReadAsync(cancel))
            claims.Add(new(row.GetInt64(0), row.GetInt32(1), row.GetInt32(2), new(
                row.GetString(3), row.GetGuid(4), row.GetString(5), row.GetFieldValue<DateTimeOffset>(6), row.GetFieldValue<byte[]>(7),
                row.IsDBNull(9) ? [row.GetString(8)] : [row.GetString(8), row.GetString(9)])));
        return claims;
    }

    private async Task SendAsync(Claim claim, CancellationToken cancel)
    {
        try
        {
            var result = await sender.SendAsync(claim.Message, cancel);
            var delay = result.Delivered || result.Gone ? null : options.DelayAfter(claim.Tries, Random.Shared.NextDouble());
            await using var command = database.System.CreateCommand("""
                with ended as (
                  update platform.webhook_deliveries
                  set status = $3, next_attempt_at = now() + $4, last_status = nullif($5, 0), last_error = nullif($6, ''), lease_until = null
                  where id = $1 and attempts = $2 and lease_until is not null
                  returning tenant_id, webhook_id)
                update platform.webhooks w
                set enabled = false, disabled_reason = 'The receiver answered 410 Gone.', version = version + 1, updated_at = now()
                from ended
                where $7 and w.enabled and w.tenant_id = ended.tenant_id and w.id = ended.webhook_id
                """);
            var status = result.Delivered ? "delivered" : delay is null ? "failed" : "pending";
            object[] values = [claim.Id, claim.Attempt, status, delay ?? TimeSpan.Zero, result.Status ?? 0, result.Error ?? "", result.Gone];
            command.Parameters.AddRange(Array.ConvertAll(values, value => new NpgsqlParameter { Value = value }));
            await command.ExecuteNonQueryAsync(CancellationToken.None);
        }
        catch (Exception failure) when (failure is NpgsqlException or OperationCanceledException)
        {
            // Nobody knows how it ended: the lease runs out and it is sent again.
            DeliverWebhooksLog.Unknown(log, failure, claim.Id);
        }
    }

    private sealed record Claim(long Id, int Attempt, int Tries, WebhookMessage Message);
}

internal static partial class DeliverWebhooksLog
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "How delivery {Delivery} ended could not be kept; it will be sent again.")]
    public static partial void Unknown(ILogger log, Exception failure, long delivery);
}
