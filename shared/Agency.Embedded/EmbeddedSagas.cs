using System.Text.Json;
using Agency.Platform;

namespace Agency.Embedded;

/// <summary>Starts, tells, stops and shows the sagas that are kept in PostgreSQL. <see cref="EmbeddedSagasWorker"/> moves them.</summary>
public sealed class EmbeddedSagas(UnitOfWork work, LogSignal signals) : ISagaEngine
{
    /// <summary>What wakes the workers of this process.</summary>
    internal const string Wake = "embedded sagas";

    public async Task<string> StartAsync<TInput>(SagaDefinition<TInput> saga, string key, TInput input, CancellationToken cancel)
    {
        if (saga.Steps.Count == 0)
            throw new ArgumentException($"Saga {saga.Name} has no steps.", nameof(saga));
        var id = Saga.IdOf(saga.Name, key);
        var first = SagaMove.Enter(saga, 0);
        await work.JoinAsync(
            async () =>
            {
                if (await work.ExecuteAsync(
                    $"""
                    insert into embedded.sagas (id, name, definition, input, due_at, wait_until, waiting_for)
                    select {id}, {saga.Name}, {new Json(saga.ToJson())}, {new Json(JsonSerializer.SerializeToUtf8Bytes(input, saga.Input))},
                        now() + {first.DueIn}::interval, case when {first.Waits} then now() + {first.DueIn}::interval end, {first.WaitingFor}
                    on conflict do nothing
                    """,
                    cancel) == 1)
                {
                    await work.ExecuteAsync($"insert into embedded.saga_history (saga_id, kind) values ({id}, 'started')", cancel);
                    work.AfterCommit(() => signals.Wake(Wake));
                }
                else if (await work.QueryFirstAsync($"select name from embedded.sagas where id = {id}", row => row.GetString(0), cancel) is var other
                    && other != saga.Name)
                {
                    // "a-b" of saga "a" and "b" of saga "a-b" would share an id.
                    throw new InvalidOperationException($"The id {id} belongs to a saga of {other}, so {saga.Name} cannot have it.");
                }

                return true;
            },
            cancel);
        return id;
    }

    public Task<SagaReply> SignalAsync(string id, string signal, ReadOnlyMemory<byte> data, CancellationToken cancel) => work.JoinAsync(
        async () =>
        {
            // The lock makes this and the saga's next move one after the other, so that the move sees the signal or is seen here.
            if (await LockAsync(id, cancel) is not { } saga)
                return SagaReply.Unknown;
            if (!saga.Definition.Steps.Any(s => s is WaitStep && s.Name == signal))
                return SagaReply.NoSuchSignal;
            if (saga.Status > SagaStatus.Compensating)
                return SagaReply.Finished;
            if (await work.ExecuteAsync(
                $"""
                insert into embedded.saga_signals (saga_id, name, data)
                values ({id}, {signal}, convert_from({(data.IsEmpty ? null : data.ToArray())}, 'UTF8')::json)
                on conflict do nothing
                """,
                cancel) == 1)
            {
                await work.ExecuteAsync($"insert into embedded.saga_history (saga_id, step, kind) values ({id}, {signal}, 'signalled')", cancel);
                await work.ExecuteAsync(
                    $"""
                    update embedded.sagas
                    set due_at = case when waiting_for = {signal} then now() else due_at end, version = version + 1, updated_at = now()
                    where id = {id}
                    """,
                    cancel);
                work.AfterCommit(() => signals.Wake(Wake));
            }

            return SagaReply.Accepted;
        },
        cancel);

    public Task<SagaReply> CancelAsync(string id, CancellationToken cancel) => work.JoinAsync(
        async () =>
        {
            if (await LockAsync(id, cancel) is not { } saga)
                return SagaReply.Unknown;
            if (saga.Status is SagaStatus.Completed or SagaStatus.Compensated or SagaStatus.Failed)
                return SagaReply.Finished;
            if (await work.ExecuteAsync(
                $"""
                update embedded.sagas
                set cancel_requested = true, due_at = now(), version = version + 1, updated_at = now()
                where id = {id} and status = 'running' and not cancel_requested
                """,
                cancel) == 1)
            {
                await work.ExecuteAsync($"insert into embedded.saga_history (saga_id, kind) values ({id}, 'cancel-requested')", cancel);
                work.AfterCommit(() => signals.Wake(Wake));
            }

            return SagaReply.Accepted;
        },
        cancel);

    public async Task<SagaDto?> FindAsync(string id, CancellationToken cancel)
    {
        var saga = await work.QueryFirstAsync(
            $"""
            select id, name, status, definition, step, attempt, waiting_for, case when lease_until > now() then null else due_at end,
                coalesce(error, reason), version, created_at, updated_at, finished_at
            from embedded.sagas
            where id = {id}
            """,
            row =>
            {
                var status = SagaWords.Status(row.GetString(2));
                var ended = status > SagaStatus.Compensating;
                return new SagaDto(
                    row.GetString(0), row.GetString(1), status,
                    ended ? null : SagaDefinition.FromJson(row.GetFieldValue<byte[]>(3)).Steps[row.GetInt32(4)].Name,
                    row.GetInt32(5), row.IsDBNull(6) ? null : row.GetString(6), row.IsDBNull(7) ? null : row.GetFieldValue<DateTimeOffset>(7),
                    row.IsDBNull(8) ? null : row.GetString(8), row.GetInt64(9), row.GetFieldValue<DateTimeOffset>(10),
                    row.GetFieldValue<DateTimeOffset>(11), row.IsDBNull(12) ? null : row.GetFieldValue<DateTimeOffset>(12), []);
            },
            cancel);
        if (saga is null)
            return null;
        // Read after the state, so that nothing the state tells of is missing.
        var history = await work.QueryAsync(
            $"select step, kind, at, attempt, error from embedded.saga_history where saga_id = {id} order by id desc limit 1000",
            row => new SagaEntryDto(
                row.IsDBNull(0) ? null : row.GetString(0), SagaWords.Kind(row.GetString(1)), row.GetFieldValue<DateTimeOffset>(2),
                row.IsDBNull(3) ? null : row.GetInt32(3), row.IsDBNull(4) ? null : row.GetString(4)),
            cancel);
        history.Reverse();
        return saga with { History = history };
    }

    private Task<Known?> LockAsync(string id, CancellationToken cancel) => work.QueryFirstAsync(
        $"select status, definition from embedded.sagas where id = {id} for update",
        row => new Known(SagaWords.Status(row.GetString(0)), SagaDefinition.FromJson(row.GetFieldValue<byte[]>(1))),
        cancel);

    private sealed record Known(SagaStatus Status, SagaDefinition Definition);
}

/// <summary>The enums as the tables hold them.</summary>
internal static class SagaWords
{
    public static string Word<T>(this T value)
        where T : struct, Enum => JsonNamingPolicy.KebabCaseLower.ConvertName(value.ToString());

    public static SagaStatus Status(string word) => Enum.Parse<SagaStatus>(word, ignoreCase: true);

    public static SagaEventKind Kind(string word) => Enum.Parse<SagaEventKind>(word.Replace("-", "", StringComparison.Ordinal), ignoreCase: true);
}
