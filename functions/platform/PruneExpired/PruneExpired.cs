using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>
/// Every hour: forgets idempotency keys after their 24 hours, and handled events after 30 days, by when no log delivers them again. Also
/// webhook deliveries after 30 days: they have ended long before, unless their webhook has been disabled since. And API keys 30 days after their end.
/// </summary>
public sealed class PruneExpired(Database database)
{
    [Function(nameof(PruneExpired))]
    public async Task Run([TimerTrigger("0 17 * * * *")] TimerInfo timer, CancellationToken cancel)
    {
        // All organisations' rows, so the system role; in small pieces, so that no other work waits long for a lock.
        string[] prunings =
        [
            "delete from platform.idempotency where ctid = any(array(select ctid from platform.idempotency where created_at < now() - interval '24 hours' limit 10000))",
            "delete from platform.inbox where ctid = any(array(select ctid from platform.inbox where handled_at < now() - interval '30 days' limit 10000))",
            "delete from platform.webhook_deliveries where ctid = any(array(select ctid from platform.webhook_deliveries where created_at < now() - interval '30 days' limit 10000))",
            "delete from platform.api_keys where ctid = any(array(select ctid from platform.api_keys where expires_at < now() - interval '30 days' limit 10000))",
        ];
        foreach (var pruning in prunings)
        {
            int deleted;
            do
            {
                await using var command = database.System.CreateCommand(pruning);
                deleted = await command.ExecuteNonQueryAsync(cancel);
            }
            while (deleted > 0);
        }
    }
}
