using System.Collections.Concurrent;
using Agency.Platform;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.Embedded;

/// <summary>How sagas are worked on.</summary>
/// <param name="Concurrency">Sagas at a time in one process.</param>
/// <param name="Lease">After so long without a sign of life from its worker, another takes a saga over. Renewed at a quarter of it.</param>
/// <param name="Poll">The longest that a due saga waits to be seen when nothing in this process has told of it.</param>
public sealed record EmbeddedSagasOptions(int Concurrency, TimeSpan Lease, TimeSpan Poll)
{
    public static EmbeddedSagasOptions Default { get; } = new(8, TimeSpan.FromSeconds(4), TimeSpan.FromMilliseconds(500));
}

/// <summary>Takes due sagas of the definitions that this process has, under a lease, and keeps the leases while they are worked on.</summary>
public sealed partial class EmbeddedSagasWorker(
    Database database, SagaCatalog catalog, EmbeddedSagasRun run, EmbeddedSagasOptions options, LogSignal signals, ILogger<EmbeddedSagasWorker> log)
    : BackgroundService
{
    private static readonly TimeSpan Outage = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan GiveBack = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ShortestSleep = TimeSpan.FromMilliseconds(5);
    private readonly ConcurrentDictionary<(string Tenant, string Id, long Fence), Task> _running = new();

    // In-flight work is allowed to end: it is cancelled only when the shutdown timeout has passed.
    private readonly CancellationTokenSource _abort = new();

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await using var registration = cancellationToken.Register(_abort.Cancel);
        await base.StopAsync(cancellationToken);
        // What has been cancelled is given back. An activity that does not listen is left to its lease.
        await Task.WhenAny(Task.WhenAll(_running.Values), Task.Delay(GiveBack, CancellationToken.None));
    }

    public override void Dispose()
    {
        _abort.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (catalog.Names.Count == 0)
            return;
        using var done = new CancellationTokenSource();
        var renewing = RenewAsync(done.Token);
        var wake = signals.Register(EmbeddedSagas.Wake);
        while (!stoppingToken.IsCancellationRequested)
        {
            var sleep = options.Poll;
            try
            {
                var free = options.Concurrency - _running.Count;
                if (free > 0)
                {
                    var (claims, next) = await TakeAsync(free, stoppingToken);
                    foreach (var claim in claims)
                        Begin(claim);
                    if (claims.Count > 0 && claims.Count < free)
                        continue;
                    sleep = next;
                }

                // The end of any run wakes this loop too.
                await wake.WaitAsync(sleep, stoppingToken);
            }
            catch (OperationCanceledException)
            {
                // Stopping: the loop's condition says so.
            }
            catch (NpgsqlException failure)
            {
                LogAway(failure);
                await Task.Delay(Outage, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        await Task.WhenAll(_running.Values);
        await done.CancelAsync();
        await renewing;
    }

    private void Begin(SagaClaim claim)
    {
        var key = (claim.Tenant, claim.Id, claim.Fence);
        var start = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _running[key] = RunAsync();
        start.SetResult();

        async Task RunAsync()
        {
            await start.Task;
            try
            {
                await run.RunAsync(claim, _abort.Token);
            }
            catch (Exception failure)
            {
                // Most likely the database is away. The lease runs out, and the saga is taken again.
                LogUnmoved(failure, claim.Id, claim.Tenant);
            }
            finally
            {
                _running.TryRemove(key, out _);
                signals.Wake(EmbeddedSagas.Wake);
            }
        }
    }

    /// <summary>Takes what is due, each saga for this process alone, and says how long it is until something else will be.</summary>
    private async Task<(List<SagaClaim> Claims, TimeSpan Next)> TakeAsync(int atMost, CancellationToken cancel)
    {
        // In another order each time, so that a saga with a backlog does not keep the others waiting.
        var names = catalog.Names.ToArray();
        Random.Shared.Shuffle(names);
        await using var batch = database.System.CreateBatch();
        batch.BatchCommands.Add(new("""
            with due as (
              select taken.tenant_id, taken.id, taken.orphaned
              from unnest($1) as hosted (name)
              cross join lateral (
                select tenant_id, id, lease_until is not null as orphaned
                from embedded.sagas s
                where s.name = hosted.name and s.due_at <= now() and (s.lease_until is null or s.lease_until < now())
                order by s.due_at
                limit $2
                for update skip locked) as taken
              limit $2)
            update embedded.sagas s
            set lease_until = now() + $3, fence = s.fence + 1, attempt = s.attempt + 1, version = s.version + 1
            from due
            where s.tenant_id = due.tenant_id and s.id = due.id
            returning s.tenant_id, s.id, s.fence, s.status, s.step, s.attempt, due.orphaned, s.cancel_requested, s.ends_as, s.definition, s.input, s.data
            """)
        {
            Parameters = { new() { Value = names }, new() { Value = atMost }, new() { Value = options.Lease } },
        });
        batch.BatchCommands.Add(new("""
            select min(greatest(due_at, lease_until)) - now() from embedded.sagas where name = any($1) and due_at <= now() + $2
            """)
        {
            Parameters = { new() { Value = names }, new() { Value = options.Poll } },
        });
        var claims = new List<SagaClaim>();
        await using var reader = await batch.ExecuteReaderAsync(cancel);
        while (await reader.ReadAsync(cancel))
            claims.Add(new(
                reader.GetString(0), reader.GetString(1), reader.GetInt64(2), SagaWords.Status(reader.GetString(3)), reader.GetInt32(4),
                reader.GetInt32(5), reader.GetBoolean(6), reader.GetBoolean(7), reader.IsDBNull(8) ? null : SagaWords.Status(reader.GetString(8)),
                reader.GetFieldValue<byte[]>(9), reader.GetFieldValue<byte[]>(10), reader.GetFieldValue<byte[]>(11)));
        await reader.NextResultAsync(cancel);
        await reader.ReadAsync(cancel);
        var next = reader.IsDBNull(0) ? options.Poll : reader.GetTimeSpan(0);
        return (claims, next < ShortestSleep ? ShortestSleep : next > options.Poll ? options.Poll : next);
    }

    private async Task RenewAsync(CancellationToken done)
    {
        while (!done.IsCancellationRequested)
        {
            await Task.Delay(options.Lease / 4, done).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            var held = _running.Keys.ToList();
            if (held.Count == 0)
                continue;
            try
            {
                // A row that is locked is on its way to its next step or being told something. To wait for it here, with other rows
                // locked, could be a deadlock with an activity that signals another saga.
                await using var command = database.System.CreateCommand("""
                    update embedded.sagas s
                    set lease_until = now() + $4
                    from (
                      select k.tenant_id, k.id
                      from embedded.sagas k
                      join unnest($1, $2, $3) as held (tenant_id, id, fence)
                        on k.tenant_id = held.tenant_id and k.id = held.id and k.fence = held.fence
                      where k.lease_until is not null
                      for update of k skip locked) as mine
                    where s.tenant_id = mine.tenant_id and s.id = mine.id
                    """);
                command.Parameters.Add(new() { Value = held.ConvertAll(h => h.Tenant) });
                command.Parameters.Add(new() { Value = held.ConvertAll(h => h.Id) });
                command.Parameters.Add(new() { Value = held.ConvertAll(h => h.Fence) });
                command.Parameters.Add(new() { Value = options.Lease });
                await command.ExecuteNonQueryAsync(CancellationToken.None);
            }
            catch (NpgsqlException failure)
            {
                LogAway(failure);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The sagas' database does not answer; trying again.")]
    private partial void LogAway(Exception failure);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Saga {Saga} of {Tenant} could not be moved; it will be taken again.")]
    private partial void LogUnmoved(Exception failure, string saga, string tenant);
}
