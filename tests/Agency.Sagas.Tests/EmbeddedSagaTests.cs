using Agency.Platform;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Npgsql;

namespace Agency.Sagas.Tests;

/// <summary>The engine on PostgreSQL: the contract, and what only it can be tested for.</summary>
public sealed class EmbeddedSagaTests : SagaEngineContract
{
    [Fact]
    public async Task A_worker_that_was_taken_for_dead_cannot_commit()
    {
        var gate = Gate.Close(IdOf(Orders.Plain, "zombie"), "charge-payment");
        var id = await StartAsync(Orders.Plain, key: "zombie");
        await gate.Entered;

        // As if its lease had run out: the next attempt is another worker's, and the gate does not hold it.
        await Host.Database.RunAsync($"update embedded.sagas set lease_until = now() - interval '1 second', fence = fence + 1 where id = '{id}'");
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        gate.Open();
        await Task.Delay(500);
        Assert.Equal(["reserve-stock", "charge-payment", "close-order"], await EffectsAsync(id));
        Assert.Equal(1, saga.History.Single(h => h.Kind == SagaEventKind.Interrupted).Attempt);
        Assert.Equal(saga.Version, (await FindAsync(id))!.Version);
    }

    [Fact]
    public async Task A_lease_is_kept_for_as_long_as_the_activity_runs()
    {
        var gate = Gate.Close(IdOf(Orders.Plain, "long"), "charge-payment");
        var id = await StartAsync(Orders.Plain, key: "long");
        await gate.Entered;
        await Task.Delay(TimeSpan.FromSeconds(6));
        gate.Open();
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.DoesNotContain(saga.History, h => h.Kind == SagaEventKind.Interrupted);
        Assert.Equal(1, await Host.Database.ScalarAsync<int>($"select calls from sagatests.outside where key = 'acme/{id}/charge-payment'"));
    }

    [Fact]
    public async Task A_step_that_ends_its_process_each_time_is_given_up()
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        await Host.Database.RunAsync(
            $"""
            update embedded.sagas
            set step = 4, attempt = 3, waiting_for = null, wait_until = null, due_at = now(), lease_until = now() - interval '1 second', fence = fence + 1
            where id = '{id}'
            """);
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Compensated);
        Assert.Equal("close-order: the process ended during attempt 3.", saga.Error);
        Assert.Equal(["reserve-stock", "charge-payment", "refund-payment", "release-stock"], await EffectsAsync(id));
    }

    [Fact]
    public async Task A_cancelled_saga_makes_an_attempt_that_was_cut_off_again_to_take_it_back()
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        await Host.Database.RunAsync(
            $"""
            update embedded.sagas
            set step = 1, attempt = 1, waiting_for = null, wait_until = null, due_at = now(), lease_until = now() - interval '1 second',
                fence = fence + 1, cancel_requested = true
            where id = '{id}'
            """);
        await UntilAsync(id, s => s.Status == SagaStatus.Cancelled);
        Assert.Equal(["reserve-stock", "charge-payment", "charge-payment", "refund-payment", "release-stock"], await EffectsAsync(id));
    }

    public static TheoryData<string> Unwritable => ["""{"a":"\ud800"}""", new string('[', 64) + new string(']', 64)];

    [Theory]
    [MemberData(nameof(Unwritable))]
    public async Task A_saga_that_was_told_what_it_cannot_keep_fails_and_says_so(string data)
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        Assert.Equal(SagaReply.Accepted, await SignalAsync(id, "shipped", data));
        await FailedAsync(id);
    }

    [Fact]
    public async Task A_saga_whose_results_cannot_be_read_fails_and_holds_up_no_other()
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        await Host.Database.RunAsync(
            $"update embedded.sagas set data = (repeat('[', 70) || repeat(']', 70))::json, due_at = now() where id = '{id}'");
        await FailedAsync(id);
        await UntilAsync(await StartAsync(Orders.Plain), s => s.Status == SagaStatus.Completed);
    }

    [Fact]
    public async Task A_process_without_the_definition_leaves_a_saga_alone()
    {
        await using var other = await TestDatabase.CreateAsync([typeof(OrderSaga).Assembly]);
        await using var host = await TestHost.StartAsync([typeof(PlatformFunctions.GetSaga).Assembly], other, Configure);
        await using (var scope = host.Services.CreateAsyncScope())
        {
            scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
            await scope.ServiceProvider.GetRequiredService<ISagaEngine>().StartAsync(Orders.Plain, "1", new("a"), default);
        }

        await Task.Delay(TimeSpan.FromSeconds(1));
        Assert.Equal(0, await other.ScalarAsync<long>("select fence from embedded.sagas"));
    }

    [Fact]
    public async Task An_activity_that_this_process_lacks_costs_no_attempt()
    {
        var newer = Saga.Define("plain-order", OrderJson.Default.OrderInput).Step("reserve-stock").Step("gift-wrap");
        var id = await StartAsync(newer);
        var saga = await UntilAsync(id, s => s.Error is not null);
        Assert.Equal("No process that runs this saga has the activity gift-wrap.", saga.Error);
        Assert.Equal(0, saga.Attempt);
        Assert.Equal(SagaStatus.Running, saga.Status);
    }

    [Fact]
    public async Task An_id_that_two_names_would_share_is_refused()
    {
        var shorter = Saga.Define("plain", OrderJson.Default.OrderInput).Step("sleep");
        await StartAsync(Orders.Plain, key: "1");
        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => StartAsync(shorter, key: "order-1"));
        Assert.Equal("The id plain-order-1 belongs to a saga of plain-order, so plain cannot have it.", refused.Message);
    }

    [Fact]
    public async Task A_query_that_forgets_the_organisation_sees_no_saga_of_another()
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        await SignalAsync(id, "shipped");
        await using var app = NpgsqlDataSource.Create(Host.Database.Settings.App);
        foreach (var table in (string[])["sagas", "saga_signals", "saga_history"])
        {
            await using var batch = app.CreateBatch();
            batch.BatchCommands.Add(new("select set_config('agency.tenant', 'globex', true)"));
            batch.BatchCommands.Add(new($"delete from embedded.{table}"));
            Assert.Equal(0, await batch.ExecuteNonQueryAsync());
        }

        Assert.NotNull(await FindAsync(id));
    }

    [Fact]
    public async Task A_host_whose_saga_lacks_an_activity_does_not_start()
    {
        var failure = await Assert.ThrowsAsync<InvalidOperationException>(() => TestHost.StartAsync(
            [typeof(OrderSaga).Assembly], Host.Database, builder => builder.Services.AddSingleton(_ => new SagaCatalog([Orders.Plain], []))));
        Assert.Contains("calls the activity reserve-stock", failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Stopping_a_host_lets_an_attempt_end_or_gives_it_back_when_time_is_up(bool ends)
    {
        var gate = Gate.Close(IdOf(Orders.Plain, $"drain-{ends}"), "reserve-stock");
        await using var stopped = await TestHost.StartAsync([typeof(OrderSaga).Assembly]);
        await using (var scope = stopped.Services.CreateAsyncScope())
        {
            scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
            await scope.ServiceProvider.GetRequiredService<ISagaEngine>().StartAsync(Orders.Plain, $"drain-{ends}", new("a"), default);
        }

        await gate.Entered;
        using var timeUp = new CancellationTokenSource();
        var stopping = stopped.Services.GetRequiredService<IHost>().StopAsync(timeUp.Token);
        await Task.Delay(200);
        Assert.False(stopping.IsCompleted);
        if (ends)
            gate.Open();
        else
            await timeUp.CancelAsync();
        await stopping.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        Assert.Equal(ends ? ["reserve-stock"] : [], await stopped.Database.QueryAsync<string>("select activity from sagatests.effects"));
        Assert.Equal(
            ends ? "1 0" : "0 0", await stopped.Database.ScalarAsync<string>("select step || ' ' || attempt from embedded.sagas where lease_until is null"));
    }

    protected override void Configure(FunctionsApplicationBuilder builder)
    {
        // The embedded engine is the default.
    }

    private async Task FailedAsync(string id)
    {
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Failed);
        Assert.StartsWith("shipped: what is stored of the saga cannot be read: ", saga.Error, StringComparison.Ordinal);
        Assert.Equal((null, null, null), (saga.Step, saga.WaitingFor, saga.NextDueAt));
        Assert.NotNull(saga.FinishedAt);
        Assert.Equal(["failed shipped", "finished"], Told(saga)[^2..]);
        Assert.Equal(SagaReply.Finished, await SignalAsync(id, "shipped"));
        Assert.Equal(SagaReply.Finished, await CancelAsync(id));
    }
}
