using Agency.Platform;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Sagas.Tests;

/// <summary>What every saga engine has to do. An engine's tests derive from this and say how it is configured.</summary>
public abstract class SagaEngineContract : IAsyncLifetime
{
    protected TestHost Host { get; private set; } = null!;

    /// <summary>Chooses the engine.</summary>
    protected abstract void Configure(FunctionsApplicationBuilder builder);

    public async Task InitializeAsync() => Host = await TestHost.StartAsync([typeof(OrderSaga).Assembly], configure: Configure);

    public async Task DisposeAsync() => await Host.DisposeAsync();

    [Fact]
    public async Task A_saga_runs_its_steps_in_order_and_hands_on_their_results()
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        Assert.Equal(SagaReply.Accepted, await SignalAsync(id, "shipped", """{"carrier":"DHL"}"""));
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Equal(["reserve-stock", "charge-payment", "close-order"], await EffectsAsync(id));
        Assert.Null(saga.Step);
        Assert.Null(saga.NextDueAt);
        Assert.Null(saga.Error);
        Assert.NotNull(saga.FinishedAt);
        Assert.Equal(
            ["started", "completed reserve-stock", "completed charge-payment", "signalled shipped", "completed shipped", "completed settle",
                "completed close-order", "finished"],
            Told(saga));
        Assert.True(At(saga, "settle") - At(saga, "shipped", SagaEventKind.Completed) >= TimeSpan.FromMilliseconds(800));
    }

    [Fact]
    public async Task A_waiting_saga_says_what_for_and_until_when()
    {
        var id = await StartAsync(Orders.Fulfilment);
        var saga = await UntilAsync(id, s => s.WaitingFor == "shipped");
        Assert.Equal(SagaStatus.Running, saga.Status);
        Assert.Equal("shipped", saga.Step);
        Assert.InRange(saga.NextDueAt!.Value - DateTimeOffset.UtcNow, TimeSpan.FromMinutes(58), TimeSpan.FromMinutes(61));
    }

    [Fact]
    public async Task A_failing_step_is_tried_again_until_it_succeeds()
    {
        var id = await StartAsync(Orders.Plain, new("a", Failures: new() { ["charge-payment"] = 2 }));
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Equal(["reserve-stock", "charge-payment", "close-order"], await EffectsAsync(id));
        Assert.Equal([1, 2], saga.History.Where(h => h.Kind == SagaEventKind.Failed).Select(h => h.Attempt!.Value));
        Assert.Equal(3, saga.History.Single(h => h is { Kind: SagaEventKind.Completed, Step: "charge-payment" }).Attempt);
        Assert.Equal(3, await Host.Database.ScalarAsync<int>($"select calls from sagatests.outside where key = 'acme/{id}/charge-payment'"));
    }

    [Fact]
    public async Task Exhausted_attempts_take_back_what_was_done_in_reverse_though_an_undo_fails_at_first()
    {
        var id = await StartAsync(
            Orders.Plain, new("a", Failures: new() { ["close-order"] = 3, ["refund-payment"] = 5, ["release-stock"] = 1 }));
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Compensated);
        Assert.Equal(["reserve-stock", "charge-payment", "refund-payment", "release-stock"], await EffectsAsync(id));
        Assert.Equal("close-order: InvalidOperationException: close-order failed at 3", saga.Error);
        Assert.Equal(5, saga.History.Count(h => h is { Kind: SagaEventKind.UndoFailed, Step: "charge-payment" }));
        Assert.Equal(["undone charge-payment", "undone reserve-stock"], Told(saga).Where(t => t.StartsWith("undone ", StringComparison.Ordinal)));
        Assert.Equal("finished", Told(saga)[^1]);
    }

    [Fact]
    public async Task A_permanent_failure_is_not_tried_again()
    {
        var id = await StartAsync(Orders.Plain, new("a", Refused: "charge-payment"));
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Compensated);
        Assert.Equal(["reserve-stock", "release-stock"], await EffectsAsync(id));
        Assert.Single(saga.History, h => h.Kind == SagaEventKind.Failed);
    }

    [Fact]
    public async Task An_attempt_that_takes_too_long_has_failed()
    {
        var id = await StartAsync(Orders.Slow);
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Compensated);
        Assert.Equal(["reserve-stock", "release-stock"], await EffectsAsync(id));
        Assert.Equal("sleep: It took longer than 00:00:00.1000000.", saga.Error);
    }

    [Fact]
    public async Task A_signal_that_comes_before_the_wait_is_kept()
    {
        var gate = Gate.Close(IdOf(Orders.Fulfilment, "early"), "reserve-stock");
        var id = await StartAsync(Orders.Fulfilment, key: "early");
        await gate.Entered;
        Assert.Equal(SagaReply.Accepted, await SignalAsync(id, "shipped"));
        gate.Open();
        await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Equal(["reserve-stock", "charge-payment", "close-order"], await EffectsAsync(id));
    }

    [Fact]
    public async Task The_same_signal_again_changes_nothing()
    {
        var gate = Gate.Close(IdOf(Orders.Fulfilment, "twice"), "charge-payment");
        var id = await StartAsync(Orders.Fulfilment, key: "twice");
        await gate.Entered;
        Assert.Equal(SagaReply.Accepted, await SignalAsync(id, "shipped"));
        Assert.Equal(SagaReply.Accepted, await SignalAsync(id, "shipped"));
        gate.Open();
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Single(saga.History, h => h.Kind == SagaEventKind.Signalled);
    }

    [Fact]
    public async Task Signals_that_nobody_can_take_are_refused()
    {
        var id = await StartAsync(Orders.Fulfilment);
        Assert.Equal(SagaReply.Unknown, await SignalAsync("order-none", "shipped"));
        Assert.Equal(SagaReply.NoSuchSignal, await SignalAsync(id, "eaten"));
        await SignalAsync(id, "shipped");
        await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Equal(SagaReply.Finished, await SignalAsync(id, "shipped"));
        Assert.Equal(SagaReply.Finished, await CancelAsync(id));
        Assert.Equal(SagaReply.Unknown, await CancelAsync("order-none"));
        Assert.Null(await FindAsync("order-none"));
    }

    [Theory]
    [InlineData(Otherwise.Compensate, SagaStatus.Compensated, "reserve-stock charge-payment refund-payment release-stock")]
    [InlineData(Otherwise.Continue, SagaStatus.Completed, "reserve-stock charge-payment close-order")]
    [InlineData(Otherwise.End, SagaStatus.Completed, "reserve-stock charge-payment")]
    public async Task A_signal_that_does_not_come_in_time_leads_where_the_wait_says(Otherwise otherwise, SagaStatus end, string effects)
    {
        var id = await StartAsync(Orders.Hasty(otherwise));
        var saga = await UntilAsync(id, s => s.Status == end);
        Assert.Equal(effects.Split(' '), await EffectsAsync(id));
        Assert.Contains("timed-out shipped", Told(saga));
    }

    [Fact]
    public async Task Cancelling_a_wait_takes_back_what_was_done()
    {
        var id = await StartAsync(Orders.Fulfilment);
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        Assert.Equal(SagaReply.Accepted, await CancelAsync(id));
        Assert.Equal(SagaReply.Accepted, await CancelAsync(id));
        var saga = await UntilAsync(id, s => s.Status == SagaStatus.Cancelled);
        Assert.Equal(["reserve-stock", "charge-payment", "refund-payment", "release-stock"], await EffectsAsync(id));
        Assert.Single(saga.History, h => h.Kind == SagaEventKind.CancelRequested);
        Assert.Equal(SagaReply.Accepted, await CancelAsync(id));
        Assert.Equal(SagaReply.Finished, await SignalAsync(id, "shipped"));
    }

    [Fact]
    public async Task Cancelling_during_a_step_lets_it_end_and_takes_it_back_too()
    {
        var gate = Gate.Close(IdOf(Orders.Fulfilment, "step"), "charge-payment");
        var id = await StartAsync(Orders.Fulfilment, key: "step");
        await gate.Entered;
        await CancelAsync(id);
        gate.Open();
        await UntilAsync(id, s => s.Status == SagaStatus.Cancelled);
        Assert.Equal(["reserve-stock", "charge-payment", "refund-payment", "release-stock"], await EffectsAsync(id));
    }

    [Fact]
    public async Task Cancelling_a_step_that_fails_takes_back_only_those_before_it()
    {
        var gate = Gate.Close(IdOf(Orders.Plain, "failing"), "charge-payment");
        var id = await StartAsync(Orders.Plain, new("a", Failures: new() { ["charge-payment"] = 1 }), "failing");
        await gate.Entered;
        await CancelAsync(id);
        gate.Open();
        await UntilAsync(id, s => s.Status == SagaStatus.Cancelled);
        Assert.Equal(["reserve-stock", "release-stock"], await EffectsAsync(id));
    }

    [Fact]
    public async Task Cancelling_between_attempts_does_not_wait_for_the_next()
    {
        var patient = Orders.Plain.Step("sleep", retry: new(5, TimeSpan.FromHours(1), TimeSpan.FromHours(1)), timeout: TimeSpan.FromMilliseconds(50));
        var id = await StartAsync(patient);
        var waiting = await UntilAsync(id, s => s.Error is not null);
        Assert.Equal("It took longer than 00:00:00.0500000.", waiting.Error);
        Assert.Equal("sleep", waiting.Step);
        Assert.Equal(1, waiting.Attempt);
        Assert.True(waiting.NextDueAt > DateTimeOffset.UtcNow.AddMinutes(20));
        await CancelAsync(id);
        await UntilAsync(id, s => s.Status == SagaStatus.Cancelled);
    }

    [Fact]
    public async Task Starting_twice_is_one_saga_with_the_first_input()
    {
        var id = await StartAsync(Orders.Plain, new("first"), "again");
        Assert.Equal(id, await StartAsync(Orders.Plain, new("second"), "again"));
        await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Equal(id, await StartAsync(Orders.Plain, new("third"), "again"));
        await Task.Delay(300);
        Assert.Equal(3, (await EffectsAsync(id)).Count);
        Assert.Equal(SagaStatus.Completed, (await FindAsync(id))!.Status);
    }

    [Fact]
    public async Task A_saga_started_in_a_transaction_shares_its_fate()
    {
        await using var scope = Scope("acme");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        var sagas = scope.ServiceProvider.GetRequiredService<ISagaEngine>();
        await Assert.ThrowsAsync<InvalidOperationException>(() => work.TransactAsync<bool>(
            async () =>
            {
                await sagas.StartAsync(Orders.Plain, "undone", new("a"), default);
                throw new InvalidOperationException("the command fails");
            },
            default));
        Assert.Null(await FindAsync("plain-order-undone"));
        await work.TransactAsync(() => sagas.StartAsync(Orders.Plain, "done", new("a"), default), default);
        await UntilAsync("plain-order-done", s => s.Status == SagaStatus.Completed);
    }

    [Fact]
    public async Task A_saga_ends_as_it_was_defined_when_it_started()
    {
        var shorter = Saga.Define("plain-order", OrderJson.Default.OrderInput).Step("charge-payment");
        var id = await StartAsync(shorter);
        await UntilAsync(id, s => s.Status == SagaStatus.Completed);
        Assert.Equal(["charge-payment"], await EffectsAsync(id));
    }

    [Fact]
    public async Task Organisations_do_not_see_or_touch_each_others_sagas()
    {
        var id = await StartAsync(Orders.Fulfilment, key: "shared");
        await UntilAsync(id, s => s.WaitingFor == "shipped");
        Assert.Null(await FindAsync(id, "globex"));
        Assert.Equal(SagaReply.Unknown, await SignalAsync(id, "shipped", tenant: "globex"));
        Assert.Equal(SagaReply.Unknown, await CancelAsync(id, "globex"));

        // The same key is another saga there, and its activities run as that organisation.
        Assert.Equal(id, await StartAsync(Orders.Fulfilment, key: "shared", tenant: "globex"));
        await SignalAsync(id, "shipped", tenant: "globex");
        await UntilAsync(id, s => s.Status == SagaStatus.Completed, "globex");
        Assert.Equal("shipped", (await FindAsync(id))!.WaitingFor);
        Assert.Equal(
            ["acme 2", "globex 3"],
            await Host.Database.QueryAsync<string>("select tenant_id || ' ' || count(*) from sagatests.effects group by tenant_id order by 1"));
    }

    [Fact]
    public async Task Two_workers_on_one_database_have_each_effect_once()
    {
        await using var second = await TestHost.StartAsync([typeof(OrderSaga).Assembly], Host.Database, Configure);
        const int Count = 150;
        for (var i = 0; i < Count; i++)
            await StartAsync(Orders.Plain, new("a", Failures: i % 5 == 0 ? new() { ["close-order"] = 3 } : null), $"many-{i}");
        await HttpTesting.EventuallyAsync(
            () => EndedAsync("many-"), ended => ended == Count, TimeSpan.FromSeconds(60));
        Assert.Empty(await Host.Database.QueryAsync<string>(
            "select saga_id || ' ' || activity from sagatests.effects group by saga_id, activity having count(*) > 1"));
        Assert.Equal(
            (120 * 3) + (30 * 4), await Host.Database.ScalarAsync<long>("select count(*) from sagatests.effects where saga_id like 'plain-order-many-%'"));
    }

    protected static string IdOf(SagaDefinition saga, string key) => Saga.IdOf(saga.Name, key);

    protected async Task<string> StartAsync(
        SagaDefinition<OrderInput> saga, OrderInput? input = null, string? key = null, string tenant = "acme")
    {
        await using var scope = Scope(tenant);
        return await scope.ServiceProvider.GetRequiredService<ISagaEngine>()
            .StartAsync(saga, key ?? Guid.NewGuid().ToString(), input ?? new("a"), default);
    }

    protected async Task<SagaReply> SignalAsync(string id, string signal, string? json = null, string tenant = "acme")
    {
        await using var scope = Scope(tenant);
        var data = System.Text.Encoding.UTF8.GetBytes(json ?? "");
        return await scope.ServiceProvider.GetRequiredService<ISagaEngine>().SignalAsync(id, signal, data, default);
    }

    protected async Task<SagaReply> CancelAsync(string id, string tenant = "acme")
    {
        await using var scope = Scope(tenant);
        return await scope.ServiceProvider.GetRequiredService<ISagaEngine>().CancelAsync(id, default);
    }

    protected async Task<SagaDto?> FindAsync(string id, string tenant = "acme")
    {
        await using var scope = Scope(tenant);
        return await scope.ServiceProvider.GetRequiredService<ISagaEngine>().FindAsync(id, default);
    }

    protected async Task<SagaDto> UntilAsync(string id, Func<SagaDto, bool> holds, string tenant = "acme") =>
        (await HttpTesting.EventuallyAsync(() => FindAsync(id, tenant), saga => saga is not null && holds(saga)))!;

    protected Task<List<string>> EffectsAsync(string id) =>
        Host.Database.QueryAsync<string>($"select activity from sagatests.effects where saga_id = '{id}' order by id");

    protected static List<string> Told(SagaDto saga) =>
        [.. saga.History.Select(h => System.Text.Json.JsonNamingPolicy.KebabCaseLower.ConvertName(h.Kind.ToString()) + (h.Step is null ? "" : " " + h.Step))];

    private static DateTimeOffset At(SagaDto saga, string step, SagaEventKind kind = SagaEventKind.Completed) =>
        saga.History.Single(h => h.Step == step && h.Kind == kind).At;

    private async Task<int> EndedAsync(string key)
    {
        var ended = 0;
        for (var i = 0; i < 150; i++)
            if ((await FindAsync($"plain-order-{key}{i}"))?.FinishedAt is not null)
                ended++;
        return ended;
    }

    private AsyncServiceScope Scope(string tenant)
    {
        var scope = Host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become(tenant, "tester");
        return scope;
    }
}
