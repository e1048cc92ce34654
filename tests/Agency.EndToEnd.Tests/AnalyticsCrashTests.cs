using System.Globalization;
using Agency.Testing;

namespace Agency.EndToEnd.Tests;

/// <summary>The host is killed while events come in, while they are counted, and while they are purged; then every count is as it must be.</summary>
public sealed class AnalyticsCrashTests(Platform platform) : IClassFixture<Platform>, IAsyncLifetime
{
    public Task InitializeAsync() => platform.StayUpAsync();

    public Task DisposeAsync() => Task.CompletedTask;

    [Fact]
    public async Task Killed_while_events_come_in_and_are_counted()
    {
        const int Events = 30_000;
        using var generate = platform.Start(platform.Token("ingest"), "generate", "events", "--count", Events.ToString(CultureInfo.InvariantCulture), "--days", "40");
        for (var round = 1; round <= 4; round++)
        {
            var some = round * Events / 6;
            await HttpTesting.EventuallyAsync(
                () => platform.ScalarAsync<long>("select count(*) from analytics.events where tenant_id = 'ingest'"), n => n >= some, TimeSpan.FromMinutes(2));
            await platform.CrashAndUpAsync();
        }

        var ran = await generate.EndAsync();
        Assert.True(ran.ExitCode == 0, ran.Error);
        // And once more with a batch on its way into the rollups.
        await using (var gate = await Gate.CloseTableAsync(platform, "analytics.uniques"))
        {
            Assert.Equal(0, (await platform.RunAsync(platform.Token("ingest"), "generate", "events", "--count", "500", "--seed", "2", "--days", "40")).ExitCode);
            await gate.StandAtAsync(1);
            await platform.Host.KillAsync();
        }

        await platform.GoneAsync();
        await platform.UpAsync();
        await CountedAsync();
        Assert.Equal(Events + 500, await platform.ScalarAsync<long>("select sum(events)::bigint from analytics.event_counts where tenant_id = 'ingest' and resolution = 'month'"));
        await VerifyAsync("ingest");
    }

    [Fact]
    public async Task Killed_in_the_middle_of_a_purge()
    {
        Assert.Equal(0, (await platform.RunAsync(platform.Token("purge"), "generate", "events", "--count", "12000", "--days", "30")).ExitCode);
        await CountedAsync();
        var views = await platform.ScalarAsync<long>("select count(*) from analytics.events where tenant_id = 'purge' and name = 'page-view'");
        using var client = platform.Client("purge");
        var report = "";
        await using (var gate = await Gate.CloseTableAsync(platform, "analytics.uniques"))
        {
            var asked = await client.DeleteAsync(new Uri("/analytics/data?event=page-view", UriKind.Relative));
            report = asked.Headers.Location!.ToString();
            await gate.StandAtAsync(1);
            await platform.Host.KillAsync();
        }

        await platform.GoneAsync();
        Assert.Equal(views, await platform.ScalarAsync<long>("select count(*) from analytics.events where tenant_id = 'purge' and name = 'page-view'"));
        await VerifyAsync("purge");
        await platform.UpAsync();
        // A few days of it are done each time.
        for (var round = 1; round <= 3; round++)
        {
            var some = round * views / 5;
            await HttpTesting.EventuallyAsync(
                () => platform.ScalarAsync<long>("select events from analytics.purges where tenant_id = 'purge'"), n => n >= some, TimeSpan.FromMinutes(2));
            await platform.CrashAndUpAsync();
        }

        var done = await HttpTesting.EventuallyAsync(
            async () => await (await client.GetAsync(new Uri(report, UriKind.Relative))).JsonAsync(), r => r.GetProperty("status").GetString() == "done", TimeSpan.FromMinutes(2));
        Assert.Equal(views, done.GetProperty("events").GetInt64());
        Assert.Equal(0, await platform.ScalarAsync<long>("select count(*) from analytics.events where tenant_id = 'purge' and name = 'page-view'"));
        Assert.Equal(1, await platform.ScalarAsync<long>("select count(*) from platform.events where tenant_id = 'purge' and type = 'agency.analytics.data-purged.v1'"));
        Assert.Equal(12000 - views, await platform.ScalarAsync<long>("select sum(events)::bigint from analytics.event_counts where tenant_id = 'purge' and resolution = 'month'"));
        await VerifyAsync("purge");
    }

    private Task<bool> CountedAsync() => HttpTesting.EventuallyAsync(
        () => platform.ScalarAsync<bool>("select exists (select from analytics.pending_batches)"), pending => !pending, TimeSpan.FromMinutes(2));

    private async Task VerifyAsync(string organisation)
    {
        var ran = await platform.RunAsync(null, "analytics", "rebuild", "--verify", "--org", organisation);
        Assert.True(ran.ExitCode == 0, ran.Output + ran.Error);
    }
}
