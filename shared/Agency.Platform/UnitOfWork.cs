using System.Data;
using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Platform;

/// <summary>An event that a transaction has recorded.</summary>
public sealed record RecordedEvent(Guid Id, string Tenant, string Topic, string Type, string Subject, long Version, ReadOnlyMemory<byte> Data);

/// <summary>Told after a transaction has committed, in the process that did it. Must be quick and must not throw.</summary>
public interface ICommitListener
{
    void Committed(IReadOnlyList<RecordedEvent> events);
}

/// <summary>
/// One connection and transaction on behalf of the <see cref="Caller"/>. State and the events that tell of it commit together or
/// not at all. Queries outside <see cref="RunAsync"/> are reads: each is a round trip of its own that sees the caller's rows only.
/// </summary>
public sealed class UnitOfWork(Database database, Caller caller, IEnumerable<ICommitListener> listeners) : IAsyncDisposable
{
    private const int Attempts = 3;

    /// <summary>Seconds that a statement may take for which no client waits: it would only be begun again, and take as long.</summary>
    private const int PatienceOfPlumbing = 600;

    private readonly List<RecordedEvent> _events = [];
    private readonly List<Action> _afterCommit = [];
    private NpgsqlConnection? _connection;
    private NpgsqlTransaction? _transaction;
    private bool _tenantSet;
    private AuditEntry? _audit;

    /// <summary>
    /// Runs a command in a transaction and commits it with its events. A deadlock or serialization failure runs it again, so
    /// <paramref name="command"/> must do nothing but SQL and Append. A refusal undoes everything and keeps no <c>Idempotency-Key</c>,
    /// whether it is thrown or answered with a status from 400. A command that is done leaves a row in the audit trail; one that is
    /// refused, or answered from what was stored, has done nothing and leaves none.
    /// </summary>
    /// <returns>The command's answer. Given an <c>Idempotency-Key</c> that has one, the stored answer, and the command does not run.</returns>
    /// <exception cref="ProblemException">409 when the key's first request is still running; 422 when the key belongs to another request.</exception>
    public async Task<Answer> RunAsync(HttpRequest http, Func<Task<Answer>> command, CancellationToken cancel)
    {
        var key = IdempotencyKey.From(http, caller);
        return await TransactAsync(
            IsolationLevel.ReadCommitted,
            async () =>
            {
                if (key is not null && await key.ClaimAsync(this, cancel) is { } stored)
                    return stored;
                var fresh = await command();
                if (IsRefusal(fresh))
                    return fresh;
                if (key is not null)
                    await key.StoreAsync(this, fresh, cancel);
                _audit = AuditEntry.Of(http, fresh);
                return fresh;
            },
            IsRefusal,
            cancel);

        static bool IsRefusal(Answer answer) => answer.Status >= 400;
    }

    /// <summary>
    /// The same for a message by which another system tells of a change, and which is known by its id instead of an <c>Idempotency-Key</c>.
    /// What records events leaves a row in the audit trail that names the message.
    /// </summary>
    public Task<T> HandleAsync<T>(HttpRequest http, string messageId, Func<Task<T>> handle, CancellationToken cancel) => TransactAsync(
        async () =>
        {
            var result = await handle();
            _audit = _events.Count > 0 ? AuditEntry.Of(http, Answer.NoContent()) with { MessageId = messageId } : null;
            return result;
        },
        cancel);

    /// <summary>The same for work that no request started.</summary>
    public Task<T> TransactAsync<T>(Func<Task<T>> work, CancellationToken cancel) => TransactAsync(IsolationLevel.ReadCommitted, work, cancel);

    /// <summary>The same where each statement is to see what the first one saw.</summary>
    public Task<T> TransactAsync<T>(IsolationLevel isolation, Func<Task<T>> work, CancellationToken cancel) =>
        TransactAsync(isolation, work, static _ => false, cancel);

    private async Task<T> TransactAsync<T>(IsolationLevel isolation, Func<Task<T>> work, Predicate<T> isRefusal, CancellationToken cancel)
    {
        if (_transaction is not null)
            throw new InvalidOperationException("A unit of work is one transaction; this one is already in it.");
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                _events.Clear();
                _afterCommit.Clear();
                _audit = null;
                _connection = await database.App.OpenConnectionAsync(cancel);
                _transaction = await _connection.BeginTransactionAsync(isolation, cancel);
                var result = await work();
                if (isRefusal(result))
                    return result;
                await FlushAsync(cancel);
                // Once the commit is sent its outcome must be learned, also when the client has gone.
                await _transaction.CommitAsync(CancellationToken.None);
                await CloseAsync();
                Tell();
                return result;
            }
            catch (PostgresException conflict) when (attempt < Attempts
                && conflict.SqlState is PostgresErrorCodes.SerializationFailure or PostgresErrorCodes.DeadlockDetected)
            {
                await CloseAsync();
                await Task.Delay(Random.Shared.Next(5, 20 * attempt), cancel);
            }
            finally
            {
                await CloseAsync();
            }
        }
    }

    /// <summary>Runs in the transaction that is open, so that it shares its fate; in one of its own when none is.</summary>
    public Task<T> JoinAsync<T>(Func<Task<T>> work, CancellationToken cancel) => _transaction is null ? TransactAsync(work, cancel) : work();

    /// <summary>Calls <paramref name="then"/> in this process once the transaction has committed. It must be quick and must not throw.</summary>
    public void AfterCommit(Action then)
    {
        if (_transaction is null)
            throw new InvalidOperationException("There is no transaction to follow.");
        _afterCommit.Add(then);
    }

    /// <summary>Waits until no other transaction of the organisation has the lock of this name, and has it until the transaction ends.</summary>
    public Task LockAsync(string name, CancellationToken cancel) =>
        ExecuteAsync($"select pg_advisory_xact_lock(hashtextextended(current_setting('agency.tenant') || ' ' || {name}, 0))", cancel);

    /// <summary>Records an event; it is written when the transaction commits.</summary>
    /// <param name="data">The event.</param>
    /// <param name="subject">The aggregate's id.</param>
    /// <param name="version">The aggregate's version after the event, from 1; a version can be recorded once.</param>
    public void Append<T>(T data, string subject, long version)
        where T : IDomainEvent<T>
    {
        if (_transaction is null)
            throw new InvalidOperationException("An event is recorded inside the transaction of what it tells of.");
        _events.Add(new(
            Guid.CreateVersion7(), caller.Tenant, T.EventType.Topic, T.EventType.Name, subject, version,
            JsonSerializer.SerializeToUtf8Bytes(data, T.EventType.Json)));
    }

    /// <inheritdoc cref="Append{T}(T, string, long)"/>
    public void Append<T>(T data, Guid subject, long version)
        where T : IDomainEvent<T> => Append(data, subject.ToString(), version);

    /// <summary>Every row.</summary>
    public Task<List<T>> QueryAsync<T>(Sql sql, Func<NpgsqlDataReader, T> map, CancellationToken cancel) => ReadAsync(
        sql,
        async reader =>
        {
            var rows = new List<T>();
            while (await reader.ReadAsync(cancel))
                rows.Add(map(reader));
            return rows;
        },
        cancel);

    /// <summary>The first row, or the default when there is none.</summary>
    public Task<T?> QueryFirstAsync<T>(Sql sql, Func<NpgsqlDataReader, T> map, CancellationToken cancel) => ReadAsync(
        sql, async reader => await reader.ReadAsync(cancel) ? map(reader) : default, cancel);

    /// <summary>Rows changed.</summary>
    public async Task<int> ExecuteAsync(Sql sql, CancellationToken cancel)
    {
        if (_transaction is null)
            throw new InvalidOperationException("A change needs a transaction; call RunAsync.");
        return await ReadAsync(sql, static reader => Task.FromResult(reader.RecordsAffected), cancel);
    }

    public async ValueTask DisposeAsync() => await CloseAsync();

    private async Task<T> ReadAsync<T>(Sql sql, Func<NpgsqlDataReader, Task<T>> read, CancellationToken cancel)
    {
        if (_connection is not null)
            return await ReadOnAsync(_connection, sql, read, cancel);
        await using var connection = await database.App.OpenConnectionAsync(cancel);
        return await ReadOnAsync(connection, sql, read, cancel);
    }

    private async Task<T> ReadOnAsync<T>(NpgsqlConnection connection, Sql sql, Func<NpgsqlDataReader, Task<T>> read, CancellationToken cancel)
    {
        await using var batch = connection.CreateBatch();
        if (!caller.IsClient)
            batch.Timeout = PatienceOfPlumbing;
        // Set in the same round trip, and local to its transaction: a batch outside one is a transaction of its own.
        var setTenant = _transaction is null || !_tenantSet;
        if (setTenant)
            ((Sql)$"select set_config('agency.tenant', {caller.Tenant}, true)").AddTo(batch);
        sql.AddTo(batch);
        await using var reader = await batch.ExecuteReaderAsync(cancel);
        if (setTenant)
            await reader.NextResultAsync(cancel);
        _tenantSet = _transaction is not null;
        return await read(reader);
    }

    private async Task FlushAsync(CancellationToken cancel)
    {
        if (_events.Count == 0 && _audit is null)
            return;
        await using var batch = _connection!.CreateBatch();
        if (!_tenantSet)
            ((Sql)$"select set_config('agency.tenant', {caller.Tenant}, true)").AddTo(batch);
        var trace = Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity ? activity.Id : null;
        foreach (var e in _events)
            ((Sql)$"""
                insert into platform.events (event_id, tenant_id, topic, type, subject, version, trace_parent, data)
                values ({e.Id}, {e.Tenant}, {e.Topic}, {e.Type}, {e.Subject}, {e.Version}, {trace}, {new Json(e.Data)})
                """).AddTo(batch);
        _audit?.Insert(caller, _events).AddTo(batch);
        await batch.ExecuteNonQueryAsync(cancel);
    }

    private void Tell()
    {
        foreach (var then in _afterCommit)
            then();
        _afterCommit.Clear();
        if (_events.Count == 0)
            return;
        var events = _events.ToArray();
        _events.Clear();
        foreach (var listener in listeners)
            listener.Committed(events);
    }

    private async Task CloseAsync()
    {
        if (_connection is null)
            return;
        _tenantSet = false;
        // Disposing an unfinished transaction rolls it back.
        if (_transaction is { } transaction)
        {
            _transaction = null;
            await transaction.DisposeAsync();
        }

        var connection = _connection;
        _connection = null;
        await connection.DisposeAsync();
    }
}

/// <summary>Work that needs more transactions than the one of its scope.</summary>
public static class UnitOfWorkScopes
{
    /// <summary>Runs in a scope of its own, with its own unit of work, on behalf of the same caller.</summary>
    public static async Task<T> RunAsync<T>(this IServiceScopeFactory scopes, Caller caller, Func<UnitOfWork, Task<T>> run)
    {
        await using var scope = scopes.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become(caller.Tenant, caller.Subject, caller.Scopes);
        return await run(scope.ServiceProvider.GetRequiredService<UnitOfWork>());
    }

    /// <inheritdoc cref="RunAsync{T}"/>
    public static Task RunAsync(this IServiceScopeFactory scopes, Caller caller, Func<UnitOfWork, Task> run) => scopes.RunAsync(caller, async work =>
    {
        await run(work);
        return true;
    });
}
