using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using Agency.Testing;

namespace Agency.EndToEnd.Tests;

/// <summary>A shop's file sent through the public API by <c>import</c>, undisturbed and with the host killed under it.</summary>
public sealed class ImportTests(Platform platform) : IClassFixture<Platform>, IAsyncLifetime
{
    private const int Partly = 3;

    // What an import must not touch the second time. Idempotency keys are fresh ones each time, by design.
    private static readonly string[] State = ["users", "analytics", "embedded"];

    public Task InitializeAsync() => platform.StayUpAsync();

    public Task DisposeAsync() => Task.CompletedTask;

    [Fact]
    public async Task Answers_equal_sums_over_an_untidy_file_and_a_second_import_changes_nothing()
    {
        var shop = new UntidyShop(1, 3000);
        var file = shop.WriteTo(platform.Home);
        var token = platform.Token("calm");

        var first = await platform.RunAsync(token, "import", file);
        Assert.Equal(Partly, first.ExitCode);
        Assert.Equal(shop.BrokenLines, Refused(first));
        Assert.Equal((shop.Lines.Count, 0, Customers(shop.Lines)), (Count(first, "lines accepted"), Count(first, "lines already there"), Count(first, "users created")));
        await AssertSumsAsync("calm", shop.Lines);

        var before = await RestingStateAsync("calm");
        var second = await platform.RunAsync(token, "import", file);
        Assert.Equal(Partly, second.ExitCode);
        Assert.Equal((0, shop.Lines.Count, 0), (Count(second, "lines accepted"), Count(second, "lines already there"), Count(second, "users created")));
        Assert.Equal(before, await RestingStateAsync("calm"));
        await platform.HasItsEffectOnceAsync();
    }

    [RealFileFact]
    public async Task Answers_equal_sums_over_the_real_file()
    {
        var lines = OnlineRetailFile.Parse(await File.ReadAllTextAsync(OnlineRetailFile.RealFile!));
        var ran = await platform.RunAsync(platform.Token("real"), "import", OnlineRetailFile.RealFile!);
        Assert.True(ran.ExitCode == 0, ran.Error);
        await AssertSumsAsync("real", lines);
        await platform.HasItsEffectOnceAsync();
    }

    [Fact]
    public async Task An_import_of_which_host_and_importer_are_killed_again_and_again_ends_as_an_undisturbed_one()
    {
        var shop = new UntidyShop(2, 20_000);
        var file = shop.WriteTo(platform.Home);
        var token = platform.Token("killed");
        // While users are made; at the first batch of events; in the middle; once more than that has been rolled up.
        foreach (var moment in new[]
        {
            "(select count(*) from users.users where tenant_id = 'killed') >= 30",
            "(select count(*) from platform.events where tenant_id = 'killed' and topic = 'agency.analytics') >= 1",
            "(select count(*) from platform.events where tenant_id = 'killed' and topic = 'agency.analytics') >= 5",
            "(select count(*) from platform.inbox where tenant_id = 'killed' and group_name = 'RollUpEvents') >= 9",
        })
        {
            using var importer = platform.Start(token, "import", file);
            while (!await platform.ScalarAsync<bool>("select " + moment))
                Assert.True(importer.IsRunning, $"The import ended before {moment}.\n{importer.Error}");
            await platform.Host.KillAsync();
            await importer.KillAsync();
            await platform.UpAsync();
        }

        // And between the effect of a batch and the offset.
        await using (await Gate.CloseTableAsync(platform, "embedded.consumer_offsets"))
        {
            using var importer = platform.Start(token, "import", file);
            while (!await platform.ScalarAsync<bool>($"""
                select exists (select from {Platform.Unread}
                  join platform.inbox i on i.event_id = e.event_id and i.group_name = g.group_name and i.group_name = 'RollUpEvents'
                  where o.position is null)
                """))
                Assert.True(importer.IsRunning, importer.Error);
            await platform.Host.KillAsync();
            await importer.KillAsync();
            await platform.TerminateSessionsAsync();
            await platform.GoneAsync();
        }

        await platform.UpAsync();
        var last = await platform.RunAsync(token, "import", file);
        Assert.Equal(Partly, last.ExitCode);
        Assert.Equal(shop.BrokenLines, Refused(last));
        Assert.Equal(shop.Lines.Count, Count(last, "lines accepted") + Count(last, "lines already there"));
        await AssertSumsAsync("killed", shop.Lines);
        await platform.HasItsEffectOnceAsync();
    }

    [Fact]
    public async Task An_importer_waits_for_a_host_that_is_killed_and_comes_back()
    {
        var shop = new UntidyShop(3, 6000);
        using var importer = platform.Start(platform.Token("patient"), "import", shop.WriteTo(platform.Home));
        while (!await platform.ScalarAsync<bool>("select exists (select from platform.events where tenant_id = 'patient' and topic = 'agency.analytics')"))
            Assert.True(importer.IsRunning, importer.Error);
        await platform.CrashAndUpAsync();
        var ran = await importer.EndAsync();
        Assert.True(ran.ExitCode == Partly, ran.Error);
        Assert.Equal(shop.BrokenLines, Refused(ran));
        await AssertSumsAsync("patient", shop.Lines);
        await platform.HasItsEffectOnceAsync();
    }

    private static int Customers(IEnumerable<RetailLine> lines) => lines.Select(l => l.Customer).OfType<string>().Distinct().Count();

    private static int Count(Ran ran, string name) => int.Parse(
        Regex.Match(ran.Output, name + " +│ ([0-9,]+) ").Groups[1].Value, NumberStyles.AllowThousands, CultureInfo.InvariantCulture);

    private static IEnumerable<int> Refused(Ran ran) =>
        Regex.Matches(ran.Error, "^line ([0-9]+): ", RegexOptions.Multiline).Select(m => int.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture));

    /// <summary>What the API answers about the organisation is what its file comes to.</summary>
    private async Task AssertSumsAsync(string organisation, IReadOnlyCollection<RetailLine> lines)
    {
        await platform.CaughtUpAsync();
        using var client = platform.Client(organisation);
        Assert.Equal(RetailSums.Of(lines).ToString(), RetailSums.Of(await client.GetFromJsonAsync<JsonElement>(RetailSums.Query)).ToString());

        var users = await client.GetFromJsonAsync<JsonElement>("/analytics/users?interval=month");
        Assert.Equal(Customers(lines), users.GetProperty("totals").GetProperty("active").GetInt32());
        var emails = new List<string>();
        for (var page = "/users?limit=500"; page is not null;)
        {
            using var answer = await client.GetAsync(page);
            emails.AddRange((await answer.JsonAsync()).EnumerateArray().Select(u => u.GetProperty("email").GetString()!));
            page = answer.Headers.TryGetValues("Link", out var links) ? Regex.Match(links.Single(), "<([^>]+)>; rel=\"?next").Groups[1].Value : null;
        }

        Assert.Equal(
            lines.Select(l => l.Customer).OfType<string>().Distinct().Select(c => $"customer-{c}@online-retail.example").Order(StringComparer.Ordinal),
            emails.Order(StringComparer.Ordinal));
    }

    /// <summary>A digest of the organisation's rows once its sagas wait for a signal, so that nothing moves by itself.</summary>
    private async Task<string> RestingStateAsync(string organisation)
    {
        await platform.CaughtUpAsync();
        await HttpTesting.EventuallyAsync(
            () => platform.ScalarAsync<long>($"select count(*) from embedded.sagas where tenant_id = '{organisation}' and waiting_for is null"),
            busy => busy == 0,
            TimeSpan.FromSeconds(60));
        return await platform.SnapshotAsync(organisation, State)
            + await platform.ScalarAsync<long>($"select count(*) from platform.events where tenant_id = '{organisation}'");
    }
}

/// <summary>A test of the real file, skipped where there is none.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RealFileFactAttribute : FactAttribute
{
    public RealFileFactAttribute() => Skip = OnlineRetailFile.Missing!;
}
