using Agency.Platform;

namespace Agency.Analytics;

/// <param name="Kind">See <see cref="UniqueKinds"/>.</param>
public readonly record struct UniqueKey(string Kind, string Resolution, DateTime Start);

/// <summary>The sketches of who was there in an interval; each coarser one is the union of its finer ones.</summary>
public sealed class UniqueTable(UnitOfWork work, Sql schema)
{
    public static readonly IReadOnlyList<string> Resolutions = [Interval.Hour, Interval.Day, Interval.Week, Interval.Month, Interval.Year];

    /// <summary>Adds members. What changes nothing is not written: a known visitor costs a read.</summary>
    public async Task UniteAsync(Dictionary<UniqueKey, Sketch> added, CancellationToken cancel)
    {
        if (added.Count == 0)
            return;
        var keys = added.Keys.ToList();
        var known = (await work.QueryAsync(
            $"""
            select u.kind, u.resolution, u.start, u.sketch
            from unnest({keys.ConvertAll(k => k.Kind).ToArray()}, {keys.ConvertAll(k => k.Resolution).ToArray()}, {keys.ConvertAll(k => k.Start).ToArray()})
              as asked (kind, resolution, start)
            join {schema}.uniques u using (kind, resolution, start)
            """,
            row => (new UniqueKey(row.GetString(0), row.GetString(1), row.GetFieldValue<DateTime>(2)), row.GetFieldValue<byte[]>(3)),
            cancel)).ToDictionary();
        foreach (var (key, bytes) in known)
        {
            var sketch = Sketch.From(bytes);
            sketch.Unite(added[key]);
            added[key] = sketch;
            if (sketch.ToBytes().AsSpan().SequenceEqual(bytes))
                added.Remove(key);
        }

        await WriteAsync(added, cancel);
    }

    /// <summary>How many there were in a range of whole hours.</summary>
    public static async Task<long> CountAsync(UnitOfWork work, ReadCache cache, Caller caller, string kind, TimeRange range, CancellationToken cancel)
    {
        var parts = range.Cover(Interval.Year);
        var kept = new KeptSketches(cache, caller, [kind], parts);
        return Sketch.CountUnion(await work.QueryAsync(
            $"""
            select u.resolution, u.start, u.version, u.members, case when u.version <> all({kept.Versions}) then u.sketch end
            from {parts.Rows} join analytics.uniques u on u.kind = {kind} and u.resolution = part.resolution and u.start >= part.low and u.start < part.high
            """,
            row => kept.Take(new(kind, row.GetString(0), row.GetFieldValue<DateTime>(1)), row.GetInt64(2), row.GetInt64(3), row.IsDBNull(4) ? null : row.GetFieldValue<byte[]>(4)),
            cancel));
    }

    /// <summary>Counts anew who was there in these hours, from the events that are counted, and then what is made of those hours.</summary>
    public async Task RecountAsync(IReadOnlyCollection<DateTime> hours, CancellationToken cancel)
    {
        var sketches = new Dictionary<UniqueKey, Sketch>();
        foreach (var day in hours.GroupBy(h => h.Date))
        {
            var asked = day.ToHashSet();
            var range = new TimeRange(asked.Min(), asked.Max().AddHours(1));
            foreach (var (hour, visitor, currency) in await work.QueryAsync(
                $"""
                select distinct date_trunc('hour', e.occurred_at, 'UTC'), e.visitor, case e.name when {OrderLine.EventName} then e.properties ->> 'currency' end
                from analytics.events e
                where {await EventRows.CountedAsync(work, range, cancel)} and e.visitor is not null
                """,
                row => (row.GetFieldValue<DateTime>(0), row.GetInt64(1), row.IsDBNull(2) ? null : row.GetString(2)),
                cancel))
            {
                if (!asked.Contains(hour))
                    continue;
                At(sketches, new(UniqueKinds.Of(visitor), Interval.Hour, hour)).Add(visitor);
                if (currency is not null)
                    At(sketches, new(UniqueKinds.Customer(currency), Interval.Hour, hour)).Add(visitor);
            }
        }

        await ReplaceAsync(Interval.Hour, hours, sketches, cancel);
        foreach (var (resolution, finer) in (IEnumerable<(string, string)>)[
            (Interval.Day, Interval.Hour), (Interval.Week, Interval.Day), (Interval.Month, Interval.Day), (Interval.Year, Interval.Month)])
            foreach (var start in hours.Select(h => Interval.Floor(resolution, h)).Distinct().ToList())
                await ReplaceAsync(resolution, [start], await UnionAsync(resolution, start, finer, cancel), cancel);
    }

    private async Task<Dictionary<UniqueKey, Sketch>> UnionAsync(string resolution, DateTime start, string finer, CancellationToken cancel)
    {
        var union = new Dictionary<UniqueKey, Sketch>();
        foreach (var (kind, bytes) in await work.QueryAsync(
            $"""
            select kind, sketch from {schema}.uniques
            where kind in (select distinct kind from {schema}.uniques) and resolution = {finer} and start >= {start} and start < {Interval.Next(resolution, start)}
            """,
            row => (row.GetString(0), row.GetFieldValue<byte[]>(1)),
            cancel))
            At(union, new(kind, resolution, start)).Unite(Sketch.From(bytes));
        return union;
    }

    private async Task ReplaceAsync(string resolution, IReadOnlyCollection<DateTime> starts, Dictionary<UniqueKey, Sketch> sketches, CancellationToken cancel)
    {
        await work.ExecuteAsync($"delete from {schema}.uniques where resolution = {resolution} and start = any({starts.ToArray()})", cancel);
        await WriteAsync(sketches, cancel);
    }

    private async Task WriteAsync(Dictionary<UniqueKey, Sketch> sketches, CancellationToken cancel)
    {
        var rows = sketches.ToList();
        if (rows.Count > 0)
            await work.ExecuteAsync(
                $"""
                insert into {schema}.uniques (kind, resolution, start, members, sketch)
                select * from unnest({rows.ConvertAll(r => r.Key.Kind).ToArray()}, {rows.ConvertAll(r => r.Key.Resolution).ToArray()},
                  {rows.ConvertAll(r => r.Key.Start).ToArray()}, {rows.ConvertAll(r => r.Value.Count()).ToArray()}, {rows.ConvertAll(r => r.Value.ToBytes()).ToArray()})
                on conflict (tenant_id, kind, resolution, start) do update set members = excluded.members, sketch = excluded.sketch, version = default
                """,
                cancel);
    }

    internal static Sketch At(Dictionary<UniqueKey, Sketch> sketches, UniqueKey key)
    {
        if (!sketches.TryGetValue(key, out var sketch))
            sketches.Add(key, sketch = new());
        return sketch;
    }
}
