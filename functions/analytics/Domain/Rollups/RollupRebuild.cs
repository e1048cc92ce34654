using System.Data;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>What one table has that a rebuild of it has not, and the other way round.</summary>
/// <param name="Table">Of <c>events</c> it is those that count for somebody else than whom they name.</param>
/// <param name="Wrong">Rows that a rebuild does not make.</param>
/// <param name="Missing">Rows that a rebuild makes and the table has not.</param>
public sealed record RollupDifference(string Table, long Wrong, long Missing);

/// <summary>
/// Computes an organisation's rollups once more from the events that are counted, a day at a time, in tables of its own. Also looks whether
/// each event counts for whom it names. Ingest goes on meanwhile.
/// </summary>
public static class RollupRebuild
{
    /// <summary>The events' own <see cref="RollupDifference.Table"/>.</summary>
    public const string Events = "events";

    private static readonly (string Table, string Columns)[] Tables =
    [
        ("event_counts", "resolution, start, name, events"),
        // A sum's scale tells how it came about, not what it is.
        ("revenue", "dimension, resolution, start, currency, key, trim_scale(gross), trim_scale(refunds), orders, lines, cancelled_lines, units"),
        ("orders", "currency, order_id, hour, lines"),
        ("sessions", "visitor, start, last, events"),
        ("visits", "resolution, start, events, new_users, new_anonymous, sessions, bounces, duration"),
        ("uniques", "kind, resolution, start, members, sketch"),
    ];

    /// <summary>In a transaction of its own, on behalf of the caller's organisation.</summary>
    /// <param name="work">A unit of work that is in no transaction.</param>
    /// <param name="replace">
    /// Whether the tables get what was computed; what is tracked meanwhile is counted afterwards then. Else they are only compared, all as
    /// they are at one moment, and nobody waits.
    /// </param>
    /// <param name="progress">Told each day that is done, and how many events it had.</param>
    /// <param name="cancel">Ends it; nothing is changed.</param>
    /// <returns>The tables that differed; none when all was well.</returns>
    public static Task<IReadOnlyList<RollupDifference>> RunAsync(UnitOfWork work, bool replace, Action<DateTime, int>? progress, CancellationToken cancel) =>
        work.TransactAsync<IReadOnlyList<RollupDifference>>(
            // At each commit the counts are those of the events that are counted.
            replace ? IsolationLevel.ReadCommitted : IsolationLevel.RepeatableRead,
            async () =>
            {
                if (replace)
                    await RollupTables.LockAsync(work, cancel);
                foreach (var (table, _) in Tables)
                    await work.ExecuteAsync($"create temporary table {Name(table)} (like analytics.{Name(table)} including all) on commit drop", cancel);
                // No policy names their organisation, so that the keys, which begin with it, find nothing.
                await work.ExecuteAsync($"create index on pg_temp.sessions (visitor, start)", cancel);
                await work.ExecuteAsync($"create index on pg_temp.orders (currency, order_id, hour)", cancel);
                var misattributed = await ComputeAsync(work, replace, progress, cancel);
                var differences = new List<RollupDifference>();
                foreach (var (table, columns) in Tables)
                {
                    var (wrong, missing) = (await CountAsync(work, "analytics", "pg_temp", table, columns, cancel), await CountAsync(work, "pg_temp", "analytics", table, columns, cancel));
                    if (wrong + missing > 0)
                        differences.Add(new(table, wrong, missing));
                }

                if (replace)
                    foreach (var table in differences.Select(d => d.Table))
                        await ReplaceAsync(work, table, cancel);
                if (misattributed > 0)
                    differences.Add(new(Events, misattributed, 0));
                await work.ExecuteAsync($"delete from analytics.rebuilds where {replace}", cancel);
                return differences;
            },
            cancel);

    /// <returns>How many events counted for somebody else than whom they name.</returns>
    private static async Task<long> ComputeAsync(UnitOfWork work, bool mend, Action<DateTime, int>? progress, CancellationToken cancel)
    {
        var misattributed = 0L;
        // Their histories are moved when the log tells of them.
        var unmoved = (await work.QueryAsync($"select visitor from analytics.identities where not moved", row => row.GetInt64(0), cancel)).ToHashSet();
        // Not from the rollups, as those are in question.
        var names = await work.EventNamesAsync(new(null, null), cancel);
        var (first, last) = await work.EventTimesAsync(names, cancel);
        var tables = new RollupTables(work, scratch: true);
        for (var day = first?.Date; day <= last; day = day.Value.AddDays(1))
        {
            var range = new TimeRange(day.Value, day.Value.AddDays(1));
            await foreach (var rows in EventRows.ReadPartsAsync(work, EventRows.Counted(names, range), cancel))
            {
                var whom = await Identities.WhomAsync(work, rows.ConvertAll(r => r.Event), cancel);
                var wrong = Enumerable.Range(0, rows.Count)
                    .Where(i => whom[i].Visitor != rows[i].Visitor && !(rows[i].Visitor is { } visitor && unmoved.Contains(visitor))).ToHashSet();
                misattributed += wrong.Count;
                if (mend)
                    await Identities.AttributeAsync(work, [.. wrong.Select(i => whom[i])], cancel);
                var rollup = new Rollup();
                for (var i = 0; i < rows.Count; i++)
                    rollup.Add(rows[i].Event, mend && wrong.Contains(i) ? whom[i].Visitor : rows[i].Visitor);
                await tables.AddAsync(rollup, cancel);
                progress?.Invoke(day.Value, rows.Count);
            }
        }

        return misattributed;
    }

    private static Task<long> CountAsync(UnitOfWork work, string schema, string other, string table, string columns, CancellationToken cancel) => work.QueryFirstAsync(
        $"""
        select count(*) from (
          select {Name(columns)} from {Name(schema)}.{Name(table)} except all select {Name(columns)} from {Name(other)}.{Name(table)}) as more
        """,
        row => row.GetInt64(0),
        cancel);

    private static async Task ReplaceAsync(UnitOfWork work, string table, CancellationToken cancel)
    {
        await work.ExecuteAsync($"delete from analytics.{Name(table)}", cancel);
        // A sketch gets a version of its own, as a copy of the old one may be kept somewhere.
        if (table == "uniques")
            await work.ExecuteAsync(
                $"insert into analytics.uniques (kind, resolution, start, members, sketch) select kind, resolution, start, members, sketch from pg_temp.uniques", cancel);
        else
            await work.ExecuteAsync($"insert into analytics.{Name(table)} select * from pg_temp.{Name(table)}", cancel);
    }

    /// <summary>A name of this class's own as a part of a statement.</summary>
    private static Sql Name(string name)
    {
        var sql = new Sql(name.Length, 0);
        sql.AppendLiteral(name);
        return sql;
    }
}
