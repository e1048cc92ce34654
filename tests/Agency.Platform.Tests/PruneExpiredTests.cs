using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Platform.Tests;

public sealed class PruneExpiredTests
{
    [Fact]
    public async Task What_has_expired_is_forgotten_and_the_rest_is_kept()
    {
        await using var test = await TestDatabase.CreateAsync();
        await test.RunAsync("""
            insert into platform.idempotency (tenant_id, caller, key, fingerprint, created_at)
            values ('a', 'c', 'old', '', now() - interval '25 hours'), ('a', 'c', 'new', '', now() - interval '23 hours');
            insert into platform.inbox (tenant_id, group_name, event_id, handled_at)
            values ('a', 'old', gen_random_uuid(), now() - interval '31 days'), ('b', 'new', gen_random_uuid(), now() - interval '29 days');
            """);
        await using var database = new Database(test.Settings);
        await new PruneExpired(database).Run(new TimerInfo(), CancellationToken.None);
        Assert.Equal(["new"], await test.QueryAsync<string>("select key from platform.idempotency"));
        Assert.Equal(["new"], await test.QueryAsync<string>("select group_name from platform.inbox"));
    }
}
