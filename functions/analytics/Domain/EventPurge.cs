using System.Text.Json;
using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics;

/// <summary>Which events are to go. What is null does not matter; something is given.</summary>
/// <param name="Visitors">All numbers of one person.</param>
/// <param name="Event">The events' name.</param>
/// <param name="From">The first moment.</param>
/// <param name="To">The first moment after it.</param>
public sealed record PurgeCriteria(long[]? Visitors, string? Event, DateTime? From, DateTime? To)
{
    /// <summary>Of a purge that was asked for; null when there is none of this id.</summary>
    public static Task<PurgeCriteria?> FindAsync(UnitOfWork work, Guid id, CancellationToken cancel) => work.QueryFirstAsync(
        $"select visitors, event, from_time, to_time from analytics.purges where id = {id}",
        row => new PurgeCriteria(
            row.IsDBNull(0) ? null : row.GetFieldValue<long[]>(0), row.IsDBNull(1) ? null : row.GetString(1),
            row.GetFieldValue<DateTime?>(2), row.GetFieldValue<DateTime?>(3)),
        cancel);

    /// <summary>As a condition on <c>analytics.events e</c>, made anew for each statement.</summary>
    public Sql Condition => $"""
        {(Visitors is null ? (Sql)$"true" : $"e.visitor = any({Visitors})")} and {(Event is null ? (Sql)$"true" : $"e.name = {Event}")}
        and {(From is null ? (Sql)$"true" : $"e.occurred_at >= {From}")} and {(To is null ? (Sql)$"true" : $"e.occurred_at < {To}")}
        """;
}

/// <summary>Takes events out of their table, the rollups, the log and what was queued of it, all in one transaction and under the organisation's lock.</summary>
public static class EventPurge
{
    /// <summary>
    /// Removes all of them, the events of a day in a transaction of their own: a process that dies leaves the days that are done, and to run
    /// it again does the others. What is tracked meanwhile may stay.
    /// </summary>
    /// <param name="scopes">Gives each transaction a scope of its own.</param>
    /// <param name="caller">On whose behalf.</param>
    /// <param name="removed">Called in each transaction with the number of events that it removes; may be null.</param>
    public static async Task RunAsync(
        IServiceScopeFactory scopes, Caller caller, PurgeCriteria criteria, Func<UnitOfWork, int, Task>? removed, CancellationToken cancel)
    {
        // First what is not counted yet: what is counted meanwhile is found by its day then.
        await InTransactionAsync(work => RemovePendingAsync(work, criteria, cancel));
        foreach (var day in await scopes.RunAsync(caller, work => DaysAsync(work, criteria, cancel)))
            await InTransactionAsync(work => RemoveAsync(work, criteria, day, cancel));

        Task<bool> InTransactionAsync(Func<UnitOfWork, Task<int>> remove) => scopes.RunAsync(caller, work => work.TransactAsync(
            async () =>
            {
                await RollupTables.LockAsync(work, cancel);
                var events = await remove(work);
                if (removed is not null)
                    await removed(work, events);
                return true;
            },
            cancel));
    }

    /// <summary>The days, UTC, that have events which are counted and may be meant.</summary>
    private static Task<List<DateTime>> DaysAsync(UnitOfWork work, PurgeCriteria criteria, CancellationToken cancel) => work.QueryAsync(
        criteria.Visitors is { } visitors
            ? (Sql)$"""
                select distinct day from analytics.sessions,
                  generate_series(date_trunc('day', start, 'UTC'), last, interval '1 day') as day
                where visitor = any({visitors}) and ({criteria.From} is null or day > {criteria.From}::timestamptz - interval '1 day') and ({criteria.To} is null or day < {criteria.To})
                order by day
                """
            : $"""
                select distinct start from analytics.event_counts
                where resolution = 'day' and ({criteria.Event} is null or name = {criteria.Event})
                  and ({criteria.From} is null or start > {criteria.From}::timestamptz - interval '1 day') and ({criteria.To} is null or start < {criteria.To})
                order by start
                """,
        row => row.GetFieldValue<DateTime>(0),
        cancel);

    /// <summary>Removes what is kept and not yet counted. <see cref="PendingEvents"/> will find that it is gone.</summary>
    /// <returns>How many events.</returns>
    private static async Task<int> RemovePendingAsync(UnitOfWork work, PurgeCriteria criteria, CancellationToken cancel)
    {
        var pending = await work.QueryAsync(
            $"select batch_id, first_at, last_at from analytics.pending_batches",
            row => (Batch: row.GetGuid(0), First: row.GetFieldValue<DateTime>(1), Last: row.GetFieldValue<DateTime>(2)),
            cancel);
        var removed = 0;
        foreach (var (batch, first, last) in pending)
        {
            var rows = await EventRows.DeleteAsync(
                work, $"e.occurred_at >= {first} and e.occurred_at <= {last} and e.batch_id = {batch} and {criteria.Condition}", cancel);
            if (rows.Count == 0)
                continue;
            await work.ExecuteAsync($"update analytics.pending_batches set purged = true where batch_id = {batch}", cancel);
            await ForgetAsync(work, rows, cancel);
            removed += rows.Count;
        }

        return removed;
    }

    /// <summary>Removes what is counted of one day, and counts what is left.</summary>
    /// <returns>How many events.</returns>
    private static async Task<int> RemoveAsync(UnitOfWork work, PurgeCriteria criteria, DateTime day, CancellationToken cancel)
    {
        var rows = await EventRows.DeleteAsync(work, $"{await EventRows.CountedAsync(work, new(day, day.AddDays(1)), cancel)} and {criteria.Condition}", cancel);
        if (rows.Count == 0)
            return 0;
        var rollup = new Rollup(-1);
        foreach (var row in rows)
            rollup.Add(row.Event, row.Visitor);
        var tables = new RollupTables(work);
        await RemoveFromSessionsAsync(work, tables, rollup, cancel);
        await tables.AddSumsAsync(rollup, cancel);
        await tables.RecountMembersAsync(rows.Select(r => Interval.Floor(Interval.Hour, r.Event.Time.UtcDateTime)), cancel);
        await ForgetAsync(work, rows, cancel);
        return rows.Count;
    }

    /// <summary>The sessions that lost events are made again of what they have left; one may fall apart.</summary>
    private static async Task RemoveFromSessionsAsync(UnitOfWork work, RollupTables tables, Rollup rollup, CancellationToken cancel)
    {
        if (rollup.Times.Count == 0)
            return;
        var near = await tables.SessionsAsync([.. rollup.Times.Select(t => (t.Key, t.Value.Min(), t.Value.Max().AddMicroseconds(1)))], cancel);
        var hit = near.SelectMany(s => s.Where(session => rollup.Times[s.Key].Exists(t => t >= session.Start && t <= session.Last)), (s, session) => (Visitor: s.Key, Session: session)).ToList();
        var visitors = rollup.Times.Keys.ToArray();
        var range = new TimeRange(hit.Min(h => h.Session.Start), hit.Max(h => h.Session.Last).AddMicroseconds(1));
        var left = (await work.QueryAsync(
            $"select e.visitor, e.occurred_at from analytics.events e where {await EventRows.CountedAsync(work, range, cancel)} and e.visitor = any({visitors})",
            row => (Visitor: row.GetInt64(0), Time: row.GetFieldValue<DateTime>(1)),
            cancel)).ToLookup(row => row.Visitor, row => row.Time);
        var made = hit.SelectMany(
            h => Session.Join(left[h.Visitor].Where(t => t >= h.Session.Start && t <= h.Session.Last).Select(Session.Of)), (h, session) => (h.Visitor, session)).ToList();
        await tables.ReplaceSessionsAsync(rollup, visitors, hit, made, cancel);
    }

    /// <summary>Also their message ids, so that they may be sent again, and the log's copies.</summary>
    private static async Task ForgetAsync(UnitOfWork work, List<EventRow> rows, CancellationToken cancel)
    {
        var messages = rows.Select(r => r.Event.MessageId).ToHashSet();
        await work.ExecuteAsync($"delete from analytics.message_ids where message_id = any({messages.ToArray()})", cancel);
        await work.ExecuteAsync($"delete from analytics.violations where message_id = any({messages.ToArray()})", cancel);
        await EventRedaction.RedactAsync(
            work, AnalyticsTopic.Name, [.. rows.Select(r => r.Batch.ToString()).Distinct()],
            data => JsonSerializer.SerializeToUtf8Bytes(
                new([.. EventReader.ReadTracked(data).Where(e => !messages.Contains(e.MessageId))]), AnalyticsJson.Default.EventTrackedEvent),
            cancel);
    }
}
