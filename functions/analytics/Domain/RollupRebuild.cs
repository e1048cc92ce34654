using Agency.Platform;

namespace Agency.Analytics;

/// <summary>What one table has that a rebuild of it has not, and the other way round.</summary>
/// <param name="Wrong">Rows that a rebuild does not make.</param>
/// <param name="Missing">Rows that a rebuild makes and the table has not.</param>
public sealed record RollupDifference(string Table, long Wrong, long Missing);

/// <summary>
/// Computes an organisation's rollups once more from the events that are counted, a day at a time, in tables of its own. Ingest goes on
/// meanwhile; what it brings is counted afterwards.
/// </summary>
public static class RollupRebuild
{
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
    /// <param name="replace">Whether the tables get what was computed; else they are only compared.</param>
    /// <param name="progress">Told each day that is done, and how many events it had.</param>
    /// <param name="cancel">Ends it; nothing is changed.</param>
    /// <returns>The tables that differed; none when all was well.</returns>
    public static Task<IReadOnlyList<RollupDifference>> RunAsync(UnitOfWork work, bool replace, Action<DateTime, int>? progress, CancellationToken cancel) =>
        work.TransactAsync<IReadOnlyList<RollupDifference>>(
            async () =>
            {
                await RollupTables.LockAsync(work, cancel);
                foreach (var (table, _) in Tables)
                    await work.ExecuteAsync($"create temporary table {Name(table)} (like analytics.{Name(table)} including all) on commit drop", cancel);
                await ComputeAsync(work, progress, cancel);
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
                await work.ExecuteAsync($"delete from analytics.rebuilds where {replace}", cancel);
                return differences;
            },
            cancel);

    private static async Task ComputeAsync(UnitOfWork work, Action<DateTime, int>? progress, CancellationToken cancel)
    {
        // Not from the rollups, as those are in question.
        var names = await work.EventNamesAsync(new(null, null), cancel);
        var (first, last) = await work.EventTimesAsync(names, cancel);
        var tables = new RollupTables(work, scratch: true);
        for (var day = first?.Date; day <= last; day = day.Value.AddDays(1))
        {
            var rollup = new Rollup();
            var rows = await EventRows.ReadAsync(work, EventRows.Counted(names, new(day.Value, day.Value.AddDays(1))), cancel);
            foreach (var row in rows)
                rollup.Add(row.Event, row.Visitor);
            await tables.AddAsync(rollup, cancel);
            if (rows.Count > 0)
                progress?.Invoke(day.Value, rows.Count);
        }
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
