using System.Text.Json;
using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Agency.Embedded;

/// <summary>Where a saga goes next. Decided from its definition alone.</summary>
/// <param name="DueIn">After how long a worker is to look at it; null when only a signal moves it, or it has ended.</param>
/// <param name="WaitingFor">The signal.</param>
/// <param name="Waits">True when <paramref name="DueIn"/> is a timer or a time-out, which no wake-up may shorten.</param>
internal sealed record SagaMove(SagaStatus Status, int Step, TimeSpan? DueIn, string? WaitingFor = null, bool Waits = false)
{
    public bool IsEnd => Status > SagaStatus.Compensating;

    /// <summary>To the step of this index, or to the end.</summary>
    public static SagaMove Enter(SagaDefinition saga, int index) => index == saga.Steps.Count ? End(SagaStatus.Completed, index) : saga.Steps[index] switch
    {
        WaitStep wait => new(SagaStatus.Running, index, wait.Timeout, wait.Name, Waits: true),
        DelayStep delay => new(SagaStatus.Running, index, delay.Delay, Waits: true),
        _ => new(SagaStatus.Running, index, TimeSpan.Zero),
    };

    /// <summary>To the last step before this index that can be taken back, or to the end.</summary>
    public static SagaMove Back(SagaDefinition saga, int index, SagaStatus endsAs) => saga.UndoBefore(index) is { } undo
        ? new(SagaStatus.Compensating, undo, TimeSpan.Zero)
        : End(endsAs, 0);

    public static SagaMove End(SagaStatus status, int step) => new(status, step, null);
}

/// <summary>A saga that one worker has taken, as it was at that moment.</summary>
/// <param name="Attempt">This attempt at the step, from 1.</param>
/// <param name="Orphaned">True when the worker before has not ended its attempt.</param>
/// <param name="Cancelled">True when somebody has asked it to stop.</param>
/// <param name="EndsAs">While compensating: what it will be.</param>
/// <param name="StoredDefinition">JSON that is read when it is asked for, so that one saga which cannot be read is no other's trouble.</param>
/// <param name="StoredData">The same.</param>
internal sealed record SagaClaim(
    string Tenant, string Id, long Fence, SagaStatus Status, int Step, int Attempt, bool Orphaned, bool Cancelled, SagaStatus? EndsAs,
    byte[] StoredDefinition, byte[] Input, byte[] StoredData)
{
    public SagaDefinition Definition => field ??= SagaDefinition.FromJson(StoredDefinition);

    public Dictionary<string, JsonElement> Data => field ??= JsonSerializer.Deserialize(StoredData, SagaJson.Default.DictionaryStringJsonElement)!;
}

/// <summary>
/// Takes one saga one move further, in one transaction of the saga's organisation: what the activity changed, the results, the history
/// and the new position commit together. The row is locked only at the end, with the fence as the condition, so that an activity may
/// take its time and a worker that has been taken for dead cannot commit.
/// </summary>
public sealed partial class EmbeddedSagasRun(IServiceScopeFactory scopes, SagaCatalog catalog, ILogger<EmbeddedSagasRun> log)
{
    /// <summary>When this process lacks an activity, others have so long to take the saga.</summary>
    private static readonly TimeSpan ElsewhereDelay = TimeSpan.FromSeconds(5);

    /// <param name="claim">The saga.</param>
    /// <param name="stopping">The process must end: the attempt is given up and does not count.</param>
    /// <returns>When the saga is next due, as far as this process knows.</returns>
    internal async Task RunAsync(SagaClaim claim, CancellationToken stopping)
    {
        await using var scope = scopes.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become(claim.Tenant, claim.Id);
        var move = new Mover(claim, scope.ServiceProvider.GetRequiredService<UnitOfWork>());
        try
        {
            await MoveAsync(claim, scope.ServiceProvider, move, stopping);
        }
        catch (LeaseLostException)
        {
            LogLost(claim.Id, claim.Tenant, claim.Step);
        }
    }

    private async Task MoveAsync(SagaClaim claim, IServiceProvider services, Mover move, CancellationToken stopping)
    {
        SagaStep step;
        try
        {
            step = claim.Definition.Steps[claim.Step];
        }
        catch (Exception newer) when (newer is JsonException or NotSupportedException)
        {
            LogUnreadable(newer, claim.Id, claim.Tenant);
            await move.ReleaseAsync(ElsewhereDelay, "This process cannot read the saga's definition, which may be of a newer version.");
            return;
        }

        try
        {
            _ = claim.Data;
            if (step is ActivityStep activity)
                await AttemptAsync(claim, activity, services, move, stopping);
            else
                await move.InTransactionAsync(row => row.Cancelled ? TurnBackAsync(move, claim.Step, row, "Cancelled.") : PassTimeAsync(step, row, move), stopping);
        }
        catch (JsonException unreadable)
        {
            // It will not be readable next time either, and to take anything back needs it too.
            LogUnreadable(unreadable, claim.Id, claim.Tenant);
            await move.InTransactionAsync(_ => move.FailAsync($"{step.Name}: what is stored of the saga cannot be read: {FailureText.Of(unreadable)}"), CancellationToken.None);
        }
    }

    private async Task AttemptAsync(SagaClaim claim, ActivityStep step, IServiceProvider services, Mover move, CancellationToken stopping)
    {
        var undoing = claim.Status == SagaStatus.Compensating;
        var interrupted = claim.Orphaned && claim.Attempt > 1;
        if (interrupted)
            await move.InTransactionAsync(_ => move.NoteAsync(SagaEventKind.Interrupted, claim.Attempt - 1), stopping);
        if (!undoing)
        {
            // Attempts that end with the process count too, or a step that kills it would do so for ever.
            if (claim.Attempt > step.Retry.MaxAttempts)
            {
                var reason = $"{step.Name}: the process ended during attempt {claim.Attempt - 1}.";
                await move.InTransactionAsync(row => TurnBackAsync(move, claim.Step, row, reason), stopping);
                return;
            }

            // Nobody knows what an attempt that was cut off has done outside. It is made again, so that it can be taken back.
            if (claim.Cancelled && !interrupted)
            {
                await move.InTransactionAsync(row => TurnBackAsync(move, claim.Step, row, "Cancelled."), stopping);
                return;
            }
        }

        using var attempt = CancellationTokenSource.CreateLinkedTokenSource(stopping);
        attempt.CancelAfter(step.Timeout);
        try
        {
            await move.InTransactionAsync(
                async () =>
                {
                    var name = undoing ? step.Undo! : step.Name;
                    var activity = catalog.Create(name, services) ?? throw new ActivityElsewhereException(name);
                    var context = new ActivityContext(claim.Tenant, claim.Id, step.Name, name, undoing, claim.Attempt, claim.Input, claim.Data);
                    await activity.RunAsync(context, attempt.Token);
                    return context.Returned;
                },
                (row, result) => undoing ? UndoneAsync(claim, move) : DoneAsync(claim, result, row, move),
                attempt.Token);
        }
        catch (LeaseLostException)
        {
            throw;
        }
        catch (ActivityElsewhereException elsewhere)
        {
            LogElsewhere(claim.Id, elsewhere.Activity);
            await move.ReleaseAsync(ElsewhereDelay, $"No process that runs this saga has the activity {elsewhere.Activity}.");
        }
        catch (Exception) when (stopping.IsCancellationRequested)
        {
            await move.ReleaseAsync(TimeSpan.Zero, null);
        }
        catch (Exception failure)
        {
            // Whatever an activity throws is its attempt's failure, and is kept with the saga.
            LogFailed(failure, claim.Id, claim.Tenant, step.Name, claim.Attempt);
            var error = attempt.IsCancellationRequested ? $"It took longer than {step.Timeout}." : FailureText.Of(failure);
            await move.InTransactionAsync(
                async row =>
                {
                    await move.NoteAsync(undoing ? SagaEventKind.UndoFailed : SagaEventKind.Failed, claim.Attempt, error);
                    if (!undoing && (row.Cancelled || failure is PermanentFailureException || claim.Attempt >= step.Retry.MaxAttempts))
                        await TurnBackAsync(move, claim.Step, row, row.Cancelled ? "Cancelled." : $"{step.Name}: {error}");
                    else
                        await move.RetryAsync(step.Retry.DelayAfter(claim.Attempt, Random.Shared.NextDouble()), error);
                },
                CancellationToken.None);
        }
    }

    /// <summary>A step that only waits: goes on when its signal is there or its time has passed, else waits on.</summary>
    private static async Task PassTimeAsync(SagaStep step, Row row, Mover move)
    {
        var wait = step as WaitStep;
        if (wait is not null && await move.SignalAsync(wait.Name) is { } signal)
        {
            await move.NoteAsync(SagaEventKind.Completed);
            await move.ToNextAsync(signal.Data);
        }
        else if (!row.Elapsed)
        {
            await move.StayAsync();
        }
        else if (wait is null)
        {
            await move.NoteAsync(SagaEventKind.Completed);
            await move.ToNextAsync(null);
        }
        else
        {
            await move.NoteAsync(SagaEventKind.TimedOut);
            if (wait.Otherwise == Otherwise.Compensate)
                await TurnBackAsync(move, move.Claim.Step, row, $"{wait.Name}: no signal came in {wait.Timeout}.");
            else if (wait.Otherwise == Otherwise.Continue)
                await move.ToNextAsync(null);
            else
                await move.ToAsync(SagaMove.End(SagaStatus.Completed, move.Claim.Step));
        }
    }

    private static async Task DoneAsync(SagaClaim claim, JsonElement? result, Row row, Mover move)
    {
        await move.NoteAsync(SagaEventKind.Completed, claim.Attempt);
        if (row.Cancelled)
            await TurnBackAsync(move, claim.Step + 1, row, "Cancelled.", result);
        else
            await move.ToNextAsync(result);
    }

    private static async Task UndoneAsync(SagaClaim claim, Mover move)
    {
        await move.NoteAsync(SagaEventKind.Undone, claim.Attempt);
        await move.ToAsync(SagaMove.Back(claim.Definition, claim.Step, claim.EndsAs!.Value), claim.EndsAs);
    }

    /// <summary>Takes back every completed step before this index, the last first.</summary>
    private static async Task TurnBackAsync(Mover move, int index, Row row, string reason, JsonElement? result = null)
    {
        var endsAs = row.Cancelled ? SagaStatus.Cancelled : SagaStatus.Compensated;
        await move.NoteAsync(SagaEventKind.Compensating, error: reason, wholeSaga: true);
        await move.ToAsync(SagaMove.Back(move.Claim.Definition, index, endsAs), endsAs, reason, result);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Saga {Saga} of {Tenant}: {Step} failed at attempt {Attempt}.")]
    private partial void LogFailed(Exception failure, string saga, string tenant, string step, int attempt);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Saga {Saga} of {Tenant}: another worker has taken step {Step}; what was done here is undone.")]
    private partial void LogLost(string saga, string tenant, int step);

    [LoggerMessage(Level = LogLevel.Error, Message = "What is stored of saga {Saga} of {Tenant} cannot be read.")]
    private partial void LogUnreadable(Exception failure, string saga, string tenant);

    [LoggerMessage(Level = LogLevel.Error, Message = "Saga {Saga} needs the activity {Activity}, which this process does not have.")]
    private partial void LogElsewhere(string saga, string activity);

    /// <summary>The saga's row, locked.</summary>
    private sealed record Row(bool Cancelled, bool Elapsed);

    private sealed class LeaseLostException() : InvalidOperationException("The lease is lost.");

    private sealed class ActivityElsewhereException(string activity) : InvalidOperationException($"There is no activity {activity} here.")
    {
        public string Activity { get; } = activity;
    }

    /// <summary>The SQL of a move. Times are the clock's, not the transaction's: an activity may have run for long in it.</summary>
    private sealed class Mover(SagaClaim claim, UnitOfWork work)
    {
        public SagaClaim Claim => claim;

        public Task<bool> InTransactionAsync(Func<Row, Task> move, CancellationToken cancel) =>
            InTransactionAsync(() => Task.FromResult(true), (row, _) => move(row), cancel);

        public Task<bool> InTransactionAsync<T>(Func<Task<T>> act, Func<Row, T, Task> move, CancellationToken cancel) => work.TransactAsync(
            async () =>
            {
                var result = await act();
                await move(await LockAsync(cancel), result);
                return true;
            },
            cancel);

        public Task<int> NoteAsync(SagaEventKind kind, int? attempt = null, string? error = null, bool wholeSaga = false) => work.ExecuteAsync(
            $"""
            insert into embedded.saga_history (saga_id, step, kind, attempt, error)
            values ({claim.Id}, {(wholeSaga ? null : claim.Definition.Steps[claim.Step].Name)}, {kind.Word()}, {attempt}, {error})
            """,
            CancellationToken.None);

        public Task<Signal?> SignalAsync(string name) => work.QueryFirstAsync(
            $"select data from embedded.saga_signals where saga_id = {claim.Id} and name = {name}",
            row => new Signal(row.IsDBNull(0) ? null : JsonElement.Parse(row.GetFieldValue<byte[]>(0))),
            CancellationToken.None);

        public Task ToNextAsync(JsonElement? result) => ToAsync(SagaMove.Enter(claim.Definition, claim.Step + 1), result: result);

        public async Task ToAsync(SagaMove to, SagaStatus? endsAs = null, string? reason = null, JsonElement? result = null)
        {
            // A copy, as the transaction may run again.
            var data = claim.Data;
            if (result is { } value)
                data = new(claim.Data) { [claim.Definition.Steps[claim.Step].Name] = value };
            await work.ExecuteAsync(
                $"""
                update embedded.sagas
                set status = {to.Status.Word()}, step = {to.Step}, attempt = 0, error = null, reason = coalesce({reason}, reason),
                    ends_as = {endsAs?.Word()}, waiting_for = {to.WaitingFor},
                    wait_until = case when {to.Waits} then clock_timestamp() + {to.DueIn}::interval end,
                    due_at = case when exists (select from embedded.saga_signals g where g.saga_id = sagas.id and g.name = {to.WaitingFor})
                        then clock_timestamp() else clock_timestamp() + {to.DueIn}::interval end,
                    data = {Stored(data)},
                    lease_until = null, version = version + 1, updated_at = clock_timestamp(),
                    finished_at = case when {to.IsEnd} then clock_timestamp() end
                where id = {claim.Id}
                """,
                CancellationToken.None);
            if (to.IsEnd)
                await NoteAsync(SagaEventKind.Finished, wholeSaga: true);
        }

        public async Task FailAsync(string error)
        {
            await work.ExecuteAsync(
                $"""
                update embedded.sagas
                set status = {SagaStatus.Failed.Word()}, attempt = 0, error = {error}, waiting_for = null, wait_until = null, due_at = null, lease_until = null,
                    version = version + 1, updated_at = clock_timestamp(), finished_at = clock_timestamp()
                where id = {claim.Id}
                """,
                CancellationToken.None);
            await NoteAsync(SagaEventKind.Failed, error: error);
            await NoteAsync(SagaEventKind.Finished, wholeSaga: true);
        }

        public Task<int> StayAsync() => work.ExecuteAsync(
            $"update embedded.sagas set attempt = 0, due_at = wait_until, lease_until = null, version = version + 1 where id = {claim.Id}", CancellationToken.None);

        public Task<int> RetryAsync(TimeSpan delay, string error) => work.ExecuteAsync(
            $"""
            update embedded.sagas
            set due_at = clock_timestamp() + {delay}, error = {error}, lease_until = null, version = version + 1, updated_at = clock_timestamp()
            where id = {claim.Id}
            """,
            CancellationToken.None);

        /// <summary>Gives the saga back as if it had not been taken.</summary>
        public Task<bool> ReleaseAsync(TimeSpan delay, string? error) => InTransactionAsync(
            _ => work.ExecuteAsync(
                $"""
                update embedded.sagas
                set attempt = attempt - 1, due_at = clock_timestamp() + {delay}, error = coalesce({error}, error), lease_until = null,
                    version = version + 1
                where id = {claim.Id}
                """,
                CancellationToken.None),
            CancellationToken.None);

        /// <exception cref="JsonException">An element cannot be written: it is nested too deep, or its text holds half a surrogate pair.</exception>
        private static Json Stored(Dictionary<string, JsonElement> data)
        {
            try
            {
                return new(JsonSerializer.SerializeToUtf8Bytes(data, SagaJson.Default.DictionaryStringJsonElement));
            }
            catch (InvalidOperationException unwritable)
            {
                throw new JsonException(unwritable.Message, unwritable);
            }
        }

        private async Task<Row> LockAsync(CancellationToken cancel) => await work.QueryFirstAsync(
            $"""
            select cancel_requested, coalesce(wait_until <= clock_timestamp(), false)
            from embedded.sagas
            where id = {claim.Id} and fence = {claim.Fence}
            for update
            """,
            row => new Row(row.GetBoolean(0), row.GetBoolean(1)),
            cancel) ?? throw new LeaseLostException();
    }

    /// <summary>A signal that came; it may carry nothing.</summary>
    private sealed record Signal(JsonElement? Data);
}
