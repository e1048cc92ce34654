using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Agency.Worker;

/// <summary>What one record function wants: which records, and where they go.</summary>
/// <param name="Topic">The topic it reads.</param>
/// <param name="ConsumerGroup">The group whose offset it shares.</param>
/// <param name="IsBatched">True when <paramref name="Deliver"/> takes many records at once, false when one.</param>
/// <param name="Deliver">Calls the function; returns when it has returned, and throws what it threw.</param>
public sealed record RecordSubscription(string Topic, string ConsumerGroup, bool IsBatched, Func<IReadOnlyList<KafkaRecord>, Task> Deliver);

/// <summary>Feeds record functions from the configured event log.</summary>
public interface IRecordSource
{
    /// <summary>Delivers until <paramref name="stopping"/>, then returns once what is in flight has ended.</summary>
    Task RunAsync(RecordSubscription subscription, CancellationToken stopping);
}

/// <summary>Runs the functions that no request starts: records and timers.</summary>
internal sealed partial class TriggerService(FunctionHost host, IServiceScopeFactory scopes, IEnumerable<IRecordSource> sources, ILogger<TriggerService> log)
    : BackgroundService
{
    // In-flight work is allowed to end: it is cancelled only when the shutdown timeout has passed.
    private readonly CancellationTokenSource _abort = new();

    private readonly List<Func<CancellationToken, Task>> _triggers = [];

    /// <exception cref="InvalidOperationException">A setting or the event log is missing: that is said at start, not in a log.</exception>
    /// <exception cref="FormatException">A schedule is malformed.</exception>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var (function, trigger) in host.RecordFunctions)
        {
            var source = sources.LastOrDefault() ?? throw new InvalidOperationException(
                $"Function {function.Definition.Name} reads a topic, but no event log is configured.");
            var pipeline = host.Pipeline(function);
            host.Resolve(function, trigger.BrokerList);
            var subscription = new RecordSubscription(
                host.Resolve(function, trigger.Topic),
                host.Resolve(function, trigger.ConsumerGroup ?? function.Definition.Name),
                trigger.IsBatched,
                records => InvokeAsync(function, pipeline, trigger.IsBatched ? records.ToArray() : records[0]));
            _triggers.Add(stopping => source.RunAsync(subscription, stopping));
        }

        foreach (var (function, trigger) in host.TimerFunctions)
        {
            var schedule = TimerSchedule.Parse(host.Resolve(function, trigger.Schedule));
            _triggers.Add(stopping => RunTimerAsync(function, schedule, trigger.RunOnStartup, stopping));
        }

        return base.StartAsync(cancellationToken);
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await using var registration = cancellationToken.Register(_abort.Cancel);
        await base.StopAsync(cancellationToken);
    }

    public override void Dispose()
    {
        _abort.Dispose();
        base.Dispose();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(_triggers.Select(run => run(stoppingToken)));

    private async Task RunTimerAsync(Function function, TimerSchedule schedule, bool atOnce, CancellationToken stopping)
    {
        var pipeline = host.Pipeline(function);
        var status = new ScheduleStatus();
        var due = atOnce ? DateTime.UtcNow : schedule.Next(DateTime.UtcNow);
        while (!stopping.IsCancellationRequested)
        {
            await TimerSchedule.WaitUntilAsync(due, stopping);
            if (stopping.IsCancellationRequested)
                return;
            var next = schedule.Next(due > DateTime.UtcNow ? due : DateTime.UtcNow);
            var info = new TimerInfo
            {
                IsPastDue = DateTime.UtcNow - due > TimeSpan.FromSeconds(1),
                ScheduleStatus = new() { Last = status.Last, Next = next, LastUpdated = status.LastUpdated },
            };
            try
            {
                await InvokeAsync(function, pipeline, info);
            }
            catch (Exception failure) when (failure is not OperationCanceledException)
            {
                // A timer's failure is this run's only: the schedule goes on.
                LogTimerFailed(failure, function.Definition.Name);
            }

            status = new() { Last = due, Next = next, LastUpdated = DateTime.UtcNow };
            due = next;
        }
    }

    private async Task InvokeAsync(Function function, Microsoft.Azure.Functions.Worker.Middleware.FunctionExecutionDelegate pipeline, object trigger)
    {
        await using var scope = scopes.CreateAsyncScope();
        await pipeline(new Invocation(function, scope.ServiceProvider, null, trigger, _abort.Token));
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Timer function {Function} failed; its schedule goes on.")]
    private partial void LogTimerFailed(Exception failure, string function);
}
