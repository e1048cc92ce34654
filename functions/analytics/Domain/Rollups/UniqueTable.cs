using Agency.Platform;

namespace Agency.Analytics;

/// <param name="Kind">See <see cref="UniqueKinds"/>.</param>
public readonly record struct UniqueKey(string Kind, string Resolution, DateTime Start);

/// <summary>The sketches of who was there in an interval; each coarser one is the union of its finer ones.</summary>
public sealed class UniqueTable(UnitOfWork work, Sql schema)
{
    /// <summary>Sketches that are read and written together: each may be as large as its registers.</summary>
    private const int AtATime = 200;

    public static readonly IReadOnlyList<string> Resolutions = [Interval.Hour, Interval.Day, Interval.Week, Interval.Month, Interval.Year];

    /// <summary>Adds members. What changes nothing is not written: a known visitor costs a read.</summary>
    public async Task UniteAsync(Dictionary<UniqueKey, Sketch> added, CancellationToken cancel)
    {
        foreach (var some in added.Chunk(AtATime).Select(chunk => chunk.ToDictionary()))
        {
            foreach (var (key, bytes) in await ReadAsync(some.Keys, cancel))
            {
                var sketch = Sketch.From(bytes);
                sketch.Unite(some[key]);
                some[key] = sketch;
                if (sketch.ToBytes().AsSpan().SequenceEqual(bytes))
                    some.Remove(key);
            }

            await WriteAsync(some, cancel);
        }
    }

    /// <summary>How many there were in a range of whole hours.</summary>
    public static async Task<long> CountAsync(UnitOfWork work, ReadCache cache, Caller caller, string kind, TimeRange range, CancellationToken cancel)
    {
        var parts = range.CoverByUniques();
        var kept = new KeptSketches(cache, caller, [kind], parts);
        return Sketch.CountUnion(await work.QueryAsync(
            $"""
            select u.resolution, u.start, u.version, u.members, case when u.version <> all({kept.Versions}) then u.sketch end
            from {parts.Rows} join analytics.uniques u on u.kind = {kind} and u.resolution = part.resolution and u.start >= part.low and u.start < part.high
            """,
            row => kept.Take(new(kind, row.GetString(0), row.GetFieldValue<DateTime>(1)), row.GetInt64(2), row.GetInt64(3), row.IsDBNull(4) ? null : row.GetFieldValue<byte[]>(4)),
            cancel));
    }

    /// <summary>
    /// Takes visitors out who were in these hours and have no event there any more, nor in any interval that holds the hour, and puts others
    /// in. The cost does not depend on how many were there: a sketch either has the visitors themselves, or those tell what its register is
    /// whose numbers begin like the number of the one who left, and of theirs there are few.
    /// </summary>
    public async Task MoveAsync(
        Dictionary<(string Kind, DateTime Hour), HashSet<long>> left, Dictionary<(string Kind, DateTime Hour), HashSet<long>> came, CancellationToken cancel)
    {
        var (less, more) = (InAllIntervals(left), InAllIntervals(came));
        // The finer ones before those that may have to be made of them.
        foreach (var resolution in Resolutions)
            foreach (var keys in less.Keys.Union(more.Keys).Where(key => key.Resolution == resolution).Chunk(AtATime))
                await MoveAsync(keys, less, more, cancel);
    }

    private async Task MoveAsync(UniqueKey[] keys, Dictionary<UniqueKey, HashSet<long>> less, Dictionary<UniqueKey, HashSet<long>> more, CancellationToken cancel)
    {
        var sketches = (await ReadAsync(keys, cancel)).ToDictionary(known => known.Key, known => Sketch.From(known.Bytes));
        var lowered = keys.Where(key => less.ContainsKey(key) && sketches.ContainsKey(key))
            .Select(key => (Key: key, Registers: sketches[key].Remove(less[key]))).Where(l => l.Registers.Count > 0).ToList();
        var others = await OthersAsync(lowered, cancel);
        foreach (var (key, registers) in lowered)
            sketches[key].Lower(registers, others[key]);
        foreach (var key in keys)
        {
            var sketch = At(sketches, key);
            // One of so few has to be what it would be if it had been made of them.
            if (less.ContainsKey(key) && sketch.MayBeExact())
                sketch = sketches[key] = await MadeAsync(key, cancel);
            foreach (var visitor in more.GetValueOrDefault(key) ?? [])
                sketch.Add(visitor);
        }

        await WriteAsync(sketches, cancel);
    }

    private static Dictionary<UniqueKey, HashSet<long>> InAllIntervals(Dictionary<(string Kind, DateTime Hour), HashSet<long>> byHour) => byHour
        .SelectMany(_ => Resolutions, (visitors, resolution) => (Key: new UniqueKey(visitors.Key.Kind, resolution, Interval.Floor(resolution, visitors.Key.Hour)), visitors.Value))
        .GroupBy(visitors => visitors.Key, visitors => visitors.Value)
        .ToDictionary(g => g.Key, g => g.SelectMany(visitors => visitors).ToHashSet());

    /// <summary>Who is there of those that may raise a register of a sketch.</summary>
    private async Task<ILookup<UniqueKey, long>> OthersAsync(List<(UniqueKey Key, IReadOnlySet<int> Registers)> lowered, CancellationToken cancel)
    {
        var asked = lowered.SelectMany(l => l.Registers, (l, register) => (l.Key, Visitors: Sketch.VisitorsOf(register))).ToList();
        return (asked.Count == 0 ? [] : await work.QueryAsync(
            $"""
            select asked.n, there.visitor
            from unnest({asked.ConvertAll(a => a.Visitors.First).ToArray()}, {asked.ConvertAll(a => a.Visitors.Last).ToArray()},
              {asked.ConvertAll(a => a.Key.Start).ToArray()}, {asked.ConvertAll(a => Interval.Next(a.Key.Resolution, a.Key.Start)).ToArray()},
              {asked.ConvertAll(a => UniqueKinds.CurrencyOf(a.Key.Kind)).ToArray()})
              with ordinality as asked (first, last, low, high, currency, n)
            cross join lateral (
              select distinct e.visitor from analytics.events e
              where e.visitor >= asked.first and e.visitor <= asked.last and e.occurred_at >= asked.low and e.occurred_at < asked.high
                and (asked.currency is null or e.name = {OrderLine.EventName} and e.properties ->> 'currency' = asked.currency)
                and not exists (select from analytics.pending_batches p where p.batch_id = e.batch_id)
            ) as there
            """,
            row => (asked[(int)row.GetInt64(0) - 1].Key, Visitor: row.GetInt64(1)),
            cancel))
            .Where(there => UniqueKinds.CurrencyOf(there.Key.Kind) is not null || UniqueKinds.Of(there.Visitor) == there.Key.Kind)
            .ToLookup(there => there.Key, there => there.Visitor);
    }

    /// <summary>A sketch as it is when it is made of events, or of the finer ones.</summary>
    private async Task<Sketch> MadeAsync(UniqueKey key, CancellationToken cancel) => At(
        key.Resolution == Interval.Hour ? await OfHourAsync(key.Start, cancel) : await UnionAsync(key.Resolution, key.Start, cancel), key);

    /// <summary>Counts anew who was there in these hours, from the events that are counted, and then what is made of those hours.</summary>
    public async Task RecountAsync(IReadOnlyCollection<DateTime> hours, CancellationToken cancel)
    {
        foreach (var hour in hours)
            await ReplaceAsync(Interval.Hour, hour, await OfHourAsync(hour, cancel), cancel);
        foreach (var resolution in Resolutions.Skip(1))
            foreach (var start in hours.Select(h => Interval.Floor(resolution, h)).Distinct().ToList())
                await ReplaceAsync(resolution, start, await UnionAsync(resolution, start, cancel), cancel);
    }

    private async Task<Dictionary<UniqueKey, Sketch>> OfHourAsync(DateTime hour, CancellationToken cancel)
    {
        var sketches = new Dictionary<UniqueKey, Sketch>();
        foreach (var (visitor, currency) in await work.QueryAsync(
            $"""
            select distinct e.visitor, case e.name when {OrderLine.EventName} then e.properties ->> 'currency' end
            from analytics.events e
            where {await EventRows.CountedAsync(work, new(hour, hour.AddHours(1)), cancel)} and e.visitor is not null
            """,
            row => (row.GetInt64(0), row.IsDBNull(1) ? null : row.GetString(1)),
            cancel))
        {
            At(sketches, new(UniqueKinds.Of(visitor), Interval.Hour, hour)).Add(visitor);
            if (currency is not null)
                At(sketches, new(UniqueKinds.Customer(currency), Interval.Hour, hour)).Add(visitor);
        }

        return sketches;
    }

    private async Task<Dictionary<UniqueKey, Sketch>> UnionAsync(string resolution, DateTime start, CancellationToken cancel)
    {
        var union = new Dictionary<UniqueKey, Sketch>();
        var finer = resolution switch { Interval.Day => Interval.Hour, Interval.Year => Interval.Month, _ => Interval.Day };
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

    private Task<List<(UniqueKey Key, byte[] Bytes)>> ReadAsync(IReadOnlyCollection<UniqueKey> keys, CancellationToken cancel) => work.QueryAsync(
        $"""
        select u.kind, u.resolution, u.start, u.sketch
        from unnest({keys.Select(k => k.Kind).ToArray()}, {keys.Select(k => k.Resolution).ToArray()}, {keys.Select(k => k.Start).ToArray()})
          as asked (kind, resolution, start)
        join {schema}.uniques u using (kind, resolution, start)
        """,
        row => (new UniqueKey(row.GetString(0), row.GetString(1), row.GetFieldValue<DateTime>(2)), row.GetFieldValue<byte[]>(3)),
        cancel);

    private async Task ReplaceAsync(string resolution, DateTime start, Dictionary<UniqueKey, Sketch> sketches, CancellationToken cancel)
    {
        await work.ExecuteAsync($"delete from {schema}.uniques where resolution = {resolution} and start = {start}", cancel);
        await WriteAsync(sketches, cancel);
    }

    /// <summary>Those without members are deleted.</summary>
    private async Task WriteAsync(Dictionary<UniqueKey, Sketch> sketches, CancellationToken cancel)
    {
        var counted = sketches.Select(s => (s.Key, Members: s.Value.Count(), Bytes: s.Value.ToBytes())).ToList();
        var (rows, empty) = (counted.FindAll(s => s.Members > 0), counted.FindAll(s => s.Members == 0));
        if (empty.Count > 0)
            await work.ExecuteAsync(
                $"""
                delete from {schema}.uniques u
                using unnest({empty.ConvertAll(e => e.Key.Kind).ToArray()}, {empty.ConvertAll(e => e.Key.Resolution).ToArray()}, {empty.ConvertAll(e => e.Key.Start).ToArray()})
                  as empty (kind, resolution, start)
                where u.kind = empty.kind and u.resolution = empty.resolution and u.start = empty.start
                """,
                cancel);
        if (rows.Count > 0)
            await work.ExecuteAsync(
                $"""
                insert into {schema}.uniques (kind, resolution, start, members, sketch)
                select * from unnest({rows.ConvertAll(r => r.Key.Kind).ToArray()}, {rows.ConvertAll(r => r.Key.Resolution).ToArray()},
                  {rows.ConvertAll(r => r.Key.Start).ToArray()}, {rows.ConvertAll(r => r.Members).ToArray()}, {rows.ConvertAll(r => r.Bytes).ToArray()})
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
