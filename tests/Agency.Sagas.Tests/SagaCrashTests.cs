using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Sagas.Tests;

/// <summary>
/// Whole processes, ended by SIGKILL. The parent runs no saga: it starts, signals and looks. Crash points: before an activity's effect,
/// after it and before the commit, after the commit; and from outside while the saga waits, while its timer runs, and at random.
/// </summary>
public sealed class SagaCrashTests : IAsyncLifetime
{
    private static readonly string[] Points = ["before", "after", "committed"];
    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("agency-saga-host-");
    private TestDatabase _database = null!;
    private TestHost _parent = null!;

    public async Task InitializeAsync()
    {
        _database = await TestDatabase.CreateAsync([typeof(OrderSaga).Assembly]);
        _parent = await TestHost.StartAsync([typeof(PlatformFunctions.GetSaga).Assembly], _database);
    }

    public async Task DisposeAsync()
    {
        await _parent.DisposeAsync();
        await _database.DisposeAsync();
        _home.Delete(recursive: true);
    }

    [Fact]
    public async Task A_saga_survives_a_kill_at_every_point_of_every_step_with_each_effect_once()
    {
        var settling = TimeSpan.FromSeconds(3);
        var id = await StartAsync(Orders.FulfilmentWith(Orders.Patient, settling), new("a", Crash: true), "forward");

        // Dies at each point of the first two steps, then waits.
        await RunUntilAsync(id, s => s.WaitingFor == "shipped", deaths: 6);
        await InScopeAsync(sagas => sagas.SignalAsync(id, "shipped", default, default));

        // Killed as it stands in the timer, which goes on while nobody runs.
        await RunUntilAsync(id, s => s.Step == "settle", deaths: 0);
        await Task.Delay(settling);
        var saga = await RunUntilAsync(id, s => s.Status == SagaStatus.Completed, deaths: 3);

        string[] steps = ["reserve-stock", "charge-payment", "close-order"];
        await AssertOnceAsync(id, steps, steps);
        Assert.True(saga.History.Count(h => h.Kind == SagaEventKind.Interrupted) >= 6);
    }

    [Fact]
    public async Task A_compensation_survives_a_kill_at_every_point_with_each_effect_once()
    {
        var id = await StartAsync(Orders.PlainWith(Orders.Patient), new("a", Refused: "close-order", Crash: true), "back");
        // The refused step dies once: before its effect.
        await RunUntilAsync(id, s => s.Status == SagaStatus.Compensated, deaths: 13);
        string[] effects = ["reserve-stock", "charge-payment", "refund-payment", "release-stock"];
        Assert.Equal(1, await _database.ScalarAsync<long>("select count(*) from sagatests.crashes where point like 'close-order:%'"));
        await _database.RunAsync("delete from sagatests.crashes where point like 'close-order:%'");
        await AssertOnceAsync(id, effects, effects);
    }

    [Fact]
    public async Task Sagas_survive_kills_at_random_with_each_effect_once()
    {
        const int Count = 40;
        for (var i = 0; i < Count; i++)
            await StartAsync(Orders.PlainWith(Orders.Patient), new("a", Refused: i % 4 == 0 ? "close-order" : null), $"random-{i}");
        var kills = 0;
        while (await _database.ScalarAsync<long>("select count(*) from embedded.sagas where finished_at is null") > 0)
        {
            Assert.True(kills < 60, "The sagas do not end.");
            using var host = SagaHost.Start(_database, _home.FullName);
            // From before it can have begun to well into the work, and longer each time.
            await Task.Delay(Random.Shared.Next(400, 900 + (50 * kills++)));
            host.Kill();
        }

        Assert.Empty(await _database.QueryAsync<string>(
            "select saga_id || ' ' || activity from sagatests.effects group by saga_id, activity having count(*) > 1"));
        Assert.Equal((30 * 3) + (10 * 4), await _database.ScalarAsync<long>("select count(*) from sagatests.effects"));
        Assert.Equal(10, await _database.ScalarAsync<long>("select count(*) from embedded.sagas where status = 'compensated'"));
    }

    /// <summary>Starts hosts, each after the death of the one before, until the condition holds; then kills the last.</summary>
    private async Task<SagaDto> RunUntilAsync(string id, Func<SagaDto, bool> holds, int deaths)
    {
        var end = DateTime.UtcNow.AddMinutes(5);
        for (var died = 0; ; died++)
        {
            using var host = SagaHost.Start(_database, _home.FullName);
            while (host.IsRunning)
            {
                Assert.True(DateTime.UtcNow < end, $"After {died} deaths it has not come about.");
                SagaDto saga = null!;
                await InScopeAsync(async sagas => saga = (await sagas.FindAsync(id, default))!);
                if (holds(saga) && host.IsRunning && died >= deaths)
                {
                    host.Kill();
                    Assert.Equal(deaths, died);
                    return saga;
                }

                await Task.Delay(20);
            }
        }
    }

    private async Task AssertOnceAsync(string id, string[] effects, string[] dying)
    {
        Assert.Equal(effects, await _database.QueryAsync<string>($"select activity from sagatests.effects where saga_id = '{id}' order by id"));
        Assert.Equal(
            dying.SelectMany(a => Points.Select(p => $"{a}:{p}")).Order(StringComparer.Ordinal),
            (await _database.QueryAsync<string>("select point from sagatests.crashes")).Order(StringComparer.Ordinal));
        // What is outside was called again after a death before the commit, each time with the key that tells it so.
        Assert.Equal(effects.Length, await _database.ScalarAsync<long>("select count(*) from sagatests.outside where calls >= 2"));
    }

    private async Task<string> StartAsync(SagaDefinition<OrderInput> saga, OrderInput input, string key)
    {
        var id = "";
        await InScopeAsync(async sagas => id = await sagas.StartAsync(saga, key, input, default));
        return id;
    }

    private async Task InScopeAsync(Func<ISagaEngine, Task> act)
    {
        await using var scope = _parent.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
        await act(scope.ServiceProvider.GetRequiredService<ISagaEngine>());
    }
}
