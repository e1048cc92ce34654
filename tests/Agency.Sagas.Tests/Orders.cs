using System.Collections.Concurrent;
using System.Text.Json.Serialization;
using Agency.Platform;

namespace Agency.Sagas.Tests;

/// <param name="Failures">How many attempts at each activity fail.</param>
/// <param name="Refused">The activity that fails for good.</param>
/// <param name="Crash">True to die once at each crash point of each activity.</param>
public sealed record OrderInput(string Sku, Dictionary<string, int>? Failures = null, string? Refused = null, bool Crash = false);

public sealed record Reservation(string Number);

public sealed record Shipment(string Carrier);

[JsonSourceGenerationOptions(System.Text.Json.JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(OrderInput))]
[JsonSerializable(typeof(Reservation))]
[JsonSerializable(typeof(Shipment))]
internal sealed partial class OrderJson : JsonSerializerContext;

internal static class Orders
{
    public static readonly RetryPolicy Quick = new(3, TimeSpan.FromMilliseconds(20), TimeSpan.FromMilliseconds(50));

    /// <summary>For sagas whose attempts are cut off by kills.</summary>
    public static readonly RetryPolicy Patient = Quick with { MaxAttempts = 100 };

    public static SagaDefinition<OrderInput> Fulfilment { get; } = FulfilmentWith(Quick);

    public static SagaDefinition<OrderInput> Plain { get; } = PlainWith(Quick);

    public static SagaDefinition<OrderInput> FulfilmentWith(RetryPolicy retry, TimeSpan? settling = null) => Paid("order", retry)
        .WaitFor("shipped", TimeSpan.FromHours(1))
        .Delay("settle", settling ?? TimeSpan.FromMilliseconds(800))
        .Step("close-order", retry: retry);

    public static SagaDefinition<OrderInput> PlainWith(RetryPolicy retry) => Paid("plain-order", retry).Step("close-order", retry: retry);

    public static SagaDefinition<OrderInput> Hasty(Otherwise otherwise) => Paid("hasty-order", Quick)
        .WaitFor("shipped", TimeSpan.FromMilliseconds(200), otherwise)
        .Step("close-order", retry: Quick);

    /// <summary>One whose activity takes longer than it may.</summary>
    public static SagaDefinition<OrderInput> Slow { get; } = Saga.Define("slow-order", OrderJson.Default.OrderInput)
        .Step("reserve-stock", undo: "release-stock", retry: Quick)
        .Step("sleep", retry: Quick with { MaxAttempts = 2 }, timeout: TimeSpan.FromMilliseconds(100));

    private static SagaDefinition<OrderInput> Paid(string name, RetryPolicy retry) => Saga.Define(name, OrderJson.Default.OrderInput)
        .Step("reserve-stock", undo: "release-stock", retry: retry)
        .Step("charge-payment", undo: "refund-payment", retry: retry, timeout: TimeSpan.FromSeconds(20));
}

public sealed class OrderSaga : ISaga
{
    public SagaDefinition Definition => Orders.Fulfilment;
}

public sealed class PlainOrderSaga : ISaga
{
    public SagaDefinition Definition => Orders.Plain;
}

public sealed class HastyOrderSaga : ISaga
{
    public SagaDefinition Definition => Orders.Hasty(Otherwise.Compensate);
}

public sealed class SlowOrderSaga : ISaga
{
    public SagaDefinition Definition => Orders.Slow;
}

/// <summary>Holds an activity of this process in the middle of its attempt.</summary>
internal sealed class Gate
{
    private static readonly ConcurrentDictionary<string, Gate> Closed = new();
    private readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Task Entered => _entered.Task.WaitAsync(TimeSpan.FromSeconds(20));

    public static Gate Close(string sagaId, string activity) => Closed[$"{sagaId}/{activity}"] = new();

    public void Open() => _opened.TrySetResult();

    /// <summary>The first attempt waits; the gate is no longer there for another.</summary>
    public static async Task PassAsync(ActivityContext context, CancellationToken cancel)
    {
        if (!Closed.TryRemove($"{context.SagaId}/{context.Activity}", out var gate))
            return;
        gate._entered.SetResult();
        await gate._opened.Task.WaitAsync(cancel);
    }
}

/// <summary>Every activity of the orders: leaves its effect, and fails or dies as the input says.</summary>
[Activity("reserve-stock"), Activity("release-stock"), Activity("charge-payment"), Activity("refund-payment"), Activity("close-order"), Activity("sleep")]
public sealed class OrderActivity(UnitOfWork work, Database database) : IActivity
{
    public async Task RunAsync(ActivityContext context, CancellationToken cancel)
    {
        var input = context.Input(OrderJson.Default.OrderInput);
        await DieAsync(input, context, "before");
        await Gate.PassAsync(context, cancel);
        if (context.Activity == "sleep")
            await Task.Delay(TimeSpan.FromMinutes(1), cancel);
        await work.ExecuteAsync($"insert into sagatests.effects (saga_id, activity) values ({context.SagaId}, {context.Activity})", cancel);
        await CallOutsideAsync(context.IdempotencyKey);
        if (input.Refused == context.Activity)
            throw new PermanentFailureException($"{context.Activity} is refused");
        if (context.Attempt <= (input.Failures?.GetValueOrDefault(context.Activity) ?? 0))
            throw new InvalidOperationException($"{context.Activity} failed at {context.Attempt}");
        if (context.Activity == "reserve-stock")
            context.Return(new Reservation($"R-{input.Sku}"), OrderJson.Default.Reservation);
        if (context.Activity == "close-order" && context.Result("reserve-stock", OrderJson.Default.Reservation) is null)
            throw new PermanentFailureException("the reservation's result is lost");
        if (context.Activity == "close-order" && context.Result("shipped", OrderJson.Default.Shipment) is { } shipment)
            context.Return(shipment, OrderJson.Default.Shipment);
        await DieAsync(input, context, "after");
        if (input.Crash)
            work.AfterCommit(() => DieAsync(input, context, "committed").GetAwaiter().GetResult());
    }

    private async Task CallOutsideAsync(string key)
    {
        await using var command = database.System.CreateCommand(
            "insert into sagatests.outside (key) values ($1) on conflict (key) do update set calls = outside.calls + 1");
        command.Parameters.Add(new() { Value = key });
        await command.ExecuteNonQueryAsync();
    }

    private async Task DieAsync(OrderInput input, ActivityContext context, string point)
    {
        if (!input.Crash || !SagaHost.MayDie)
            return;
        await using var command = database.System.CreateCommand("insert into sagatests.crashes (point) values ($1) on conflict do nothing");
        command.Parameters.Add(new() { Value = $"{context.Activity}:{point}" });
        if (await command.ExecuteNonQueryAsync() == 0)
            return;
        // SIGKILL: nothing is flushed, nothing is said.
        System.Diagnostics.Process.GetCurrentProcess().Kill();
        await Task.Delay(Timeout.Infinite);
    }
}
