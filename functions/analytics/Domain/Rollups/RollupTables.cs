using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// The rollups of an organisation, changed in the transaction that <paramref name="work"/> is in and under its <see cref="LockAsync"/>.
/// All but sessions is sums and sets, so the order of batches does not matter; sessions and who is new are worked out from what is there.
/// </summary>
/// <param name="work">The transaction.</param>
/// <param name="scratch">True for the copies in which they are built anew.</param>
public sealed class RollupTables(UnitOfWork work, bool scratch = false)
{
    private readonly Sql _schema = scratch ? (Sql)$"pg_temp" : $"analytics";

    /// <summary>
    /// Lets one transaction at a time count events of the organisation or take them out of the counts, until it ends. So each of them finds
    /// what the one before has left, and knows of every event whether it is counted.
    /// </summary>
    public static Task LockAsync(UnitOfWork work, CancellationToken cancel) => work.LockAsync("rollups", cancel);

    /// <summary>Adds events, sessions and all.</summary>
    public async Task AddAsync(Rollup rollup, CancellationToken cancel)
    {
        await AddSessionsAsync(rollup, cancel);
        await AddMembersAsync(rollup, cancel);
        await AddSumsAsync(rollup, cancel);
    }

    /// <summary>Adds, or takes away, what is but added up.</summary>
    public async Task AddSumsAsync(Rollup rollup, CancellationToken cancel)
    {
        await CountOrdersAsync(rollup, cancel);
        await CountEventsAsync(rollup, cancel);
        await AddRevenueAsync(rollup, cancel);
        await AddVisitsAsync(rollup, cancel);
    }

    /// <summary>Counts anew who was there in these hours, from the events that are counted.</summary>
    public Task RecountMembersAsync(IEnumerable<DateTime> hours, CancellationToken cancel) => new UniqueTable(work, _schema).RecountAsync([.. hours.Distinct()], cancel);

    /// <summary>Puts sessions in the place of others, and books the difference; also who of these visitors is new, and where.</summary>
    public async Task ReplaceSessionsAsync(
        Rollup rollup, IReadOnlyCollection<long> visitors, IReadOnlyCollection<(long Visitor, Session Session)> gone,
        IReadOnlyCollection<(long Visitor, Session Session)> come, CancellationToken cancel)
    {
        var before = await FirstSeenAsync(visitors, cancel);
        await WriteSessionsAsync(rollup, gone, come, cancel);
        rollup.MoveNewVisitors(before, await FirstSeenAsync(visitors, cancel));
    }

    private async Task WriteSessionsAsync(
        Rollup rollup, IReadOnlyCollection<(long Visitor, Session Session)> gone, IReadOnlyCollection<(long Visitor, Session Session)> come, CancellationToken cancel)
    {
        foreach (var (_, session) in gone)
            rollup.CountSession(session, -1);
        foreach (var (_, session) in come)
            rollup.CountSession(session, 1);
        var kept = come.Select(c => (c.Visitor, c.Session.Start)).ToHashSet();
        var deleted = gone.Where(g => !kept.Contains((g.Visitor, g.Session.Start))).ToList();
        if (deleted.Count > 0)
            await work.ExecuteAsync(
                $"""
                delete from {_schema}.sessions s
                using unnest({deleted.ConvertAll(d => d.Visitor).ToArray()}, {deleted.ConvertAll(d => d.Session.Start).ToArray()}) as gone (visitor, start)
                where s.visitor = gone.visitor and s.start = gone.start
                """,
                cancel);
        if (come.Count > 0)
            await work.ExecuteAsync(
                $"""
                insert into {_schema}.sessions (visitor, start, last, events)
                select * from unnest({come.Select(c => c.Visitor).ToArray()}, {come.Select(c => c.Session.Start).ToArray()},
                  {come.Select(c => c.Session.Last).ToArray()}, {come.Select(c => c.Session.Events).ToArray()})
                on conflict (tenant_id, visitor, start) do update set last = excluded.last, events = excluded.events
                """,
                cancel);
    }

    /// <summary>When each of these was first there; who never was is left out.</summary>
    private async Task<Dictionary<long, DateTime>> FirstSeenAsync(IReadOnlyCollection<long> visitors, CancellationToken cancel) => visitors.Count == 0 ? [] : (await work.QueryAsync(
        $"""
        select visitor, first.start from unnest({visitors.ToArray()}) as visitor
        cross join lateral (select start from {_schema}.sessions s where s.visitor = visitor.visitor order by start limit 1) as first
        """,
        row => (row.GetInt64(0), row.GetFieldValue<DateTime>(1)),
        cancel)).ToDictionary();

    /// <summary>Of each visitor the session that began last before a time, as it may reach into it, and those that begin in it.</summary>
    public async Task<ILookup<long, Session>> SessionsAsync(IReadOnlyCollection<(long Visitor, DateTime Low, DateTime High)> asked, CancellationToken cancel) =>
        (await work.QueryAsync(
            $"""
            select asked.visitor, near.start, near.last, near.events
            from unnest({asked.Select(a => a.Visitor).ToArray()}, {asked.Select(a => a.Low).ToArray()}, {asked.Select(a => a.High).ToArray()}) as asked (visitor, low, high)
            cross join lateral (
              (select start, last, events from {_schema}.sessions s where s.visitor = asked.visitor and s.start <= asked.low order by start desc limit 1)
              union all
              (select start, last, events from {_schema}.sessions s where s.visitor = asked.visitor and s.start > asked.low and s.start < asked.high order by start)
            ) as near
            """,
            row => (Visitor: row.GetInt64(0), Session: new Session(row.GetFieldValue<DateTime>(1), row.GetFieldValue<DateTime>(2), row.GetInt64(3))),
            cancel)).ToLookup(row => row.Visitor, row => row.Session);

    private async Task AddSessionsAsync(Rollup rollup, CancellationToken cancel)
    {
        if (rollup.Times.Count == 0)
            return;
        var visitors = rollup.Times.OrderBy(v => v.Key).ToList();
        visitors.ForEach(v => v.Value.Sort());
        var known = await SessionsAsync([.. visitors.Select(v => (v.Key, v.Value[0] - Session.Silence, v.Value[^1] + Session.Silence))], cancel);
        // Only of those who are not known to have been there before it has to be asked whether they come back later.
        var before = await FirstSeenAsync([.. visitors.Where(v => !known.Contains(v.Key)).Select(v => v.Key)], cancel);
        var after = new Dictionary<long, DateTime>(visitors.Count);
        var (gone, come) = (new List<(long, Session)>(), new List<(long, Session)>(visitors.Count));
        foreach (var (visitor, times) in visitors)
        {
            var old = known[visitor].ToList();
            var joined = Session.Join(old.Concat(times.Select(Session.Of)));
            gone.AddRange(old.Except(joined).Select(session => (visitor, session)));
            come.AddRange(joined.Except(old).Select(session => (visitor, session)));
            if (old.Count > 0)
                before[visitor] = old.Min(s => s.Start);
            after[visitor] = before.TryGetValue(visitor, out var first) && first <= times[0] ? first : times[0];
        }

        await WriteSessionsAsync(rollup, gone, come, cancel);
        rollup.MoveNewVisitors(before, after);
    }

    private async Task AddMembersAsync(Rollup rollup, CancellationToken cancel)
    {
        var sketches = new Dictionary<UniqueKey, Sketch>();
        foreach (var ((kind, hour), members) in rollup.Members)
            foreach (var resolution in UniqueTable.Resolutions)
            {
                var sketch = UniqueTable.At(sketches, new(kind, resolution, Interval.Floor(resolution, hour)));
                foreach (var member in members)
                    sketch.Add(member);
            }

        await new UniqueTable(work, _schema).UniteAsync(sketches, cancel);
    }

    /// <summary>An order counts in the hour of its first line, so it moves when an earlier one comes, or when that goes.</summary>
    private async Task CountOrdersAsync(Rollup rollup, CancellationToken cancel)
    {
        if (rollup.Orders.Count == 0)
            return;
        var ids = rollup.Orders.Keys.Select(k => k.Order).Distinct().ToList();
        var before = await FirstHoursAsync(ids, cancel);
        var lines = rollup.Orders.ToList();
        await work.ExecuteAsync(
            $"""
            insert into {_schema}.orders as kept (currency, order_id, hour, lines)
            select * from unnest({lines.ConvertAll(l => l.Key.Order.Currency).ToArray()}, {lines.ConvertAll(l => l.Key.Order.Id).ToArray()},
              {lines.ConvertAll(l => l.Key.Hour).ToArray()}, {lines.ConvertAll(l => l.Value).ToArray()})
            on conflict (tenant_id, currency, order_id, hour) do update set lines = kept.lines + excluded.lines
            """,
            cancel);
        Dictionary<Rollup.OrderKey, DateTime> after;
        if (lines.Exists(l => l.Value < 0))
        {
            await work.ExecuteAsync(
                $"""
                delete from {_schema}.orders o
                using unnest({ids.ConvertAll(o => o.Currency).ToArray()}, {ids.ConvertAll(o => o.Id).ToArray()}) as asked (currency, order_id)
                where o.currency = asked.currency and o.order_id = asked.order_id and o.lines = 0
                """,
                cancel);
            after = await FirstHoursAsync(ids, cancel);
        }
        else
        {
            after = lines.Select(l => (Order: l.Key.Order, Hour: l.Key.Hour)).Concat(before.Select(b => (Order: b.Key, Hour: b.Value)))
                .GroupBy(l => l.Order).ToDictionary(g => g.Key, g => g.Min(l => l.Hour));
        }

        foreach (var order in ids)
        {
            var (was, has) = (before.TryGetValue(order, out var old), after.TryGetValue(order, out var now));
            if (was && !(has && old == now))
                rollup.CountOrder(order.Currency, old, -1);
            if (has && !(was && old == now))
                rollup.CountOrder(order.Currency, now, 1);
        }
    }

    private async Task<Dictionary<Rollup.OrderKey, DateTime>> FirstHoursAsync(List<Rollup.OrderKey> orders, CancellationToken cancel) => (await work.QueryAsync(
        $"""
        select asked.currency, asked.order_id, first.hour
        from unnest({orders.ConvertAll(o => o.Currency).ToArray()}, {orders.ConvertAll(o => o.Id).ToArray()}) as asked (currency, order_id)
        cross join lateral (
          select hour from {_schema}.orders o where o.currency = asked.currency and o.order_id = asked.order_id order by hour limit 1) as first
        """,
        row => (new Rollup.OrderKey(row.GetString(0), row.GetString(1)), row.GetFieldValue<DateTime>(2)),
        cancel)).ToDictionary();

    private async Task CountEventsAsync(Rollup rollup, CancellationToken cancel)
    {
        var rows = rollup.Counts();
        if (rows.Count == 0)
            return;
        await work.ExecuteAsync(
            $"""
            insert into {_schema}.event_counts as kept (resolution, start, name, events)
            select * from unnest({rows.ConvertAll(r => r.Key.Resolution).ToArray()}, {rows.ConvertAll(r => r.Key.Start).ToArray()},
              {rows.ConvertAll(r => r.Key.Name).ToArray()}, {rows.ConvertAll(r => r.Value).ToArray()})
            on conflict (tenant_id, resolution, start, name) do update set events = kept.events + excluded.events
            """,
            cancel);
        if (rows.Exists(r => r.Value < 0))
            await work.ExecuteAsync($"delete from {_schema}.event_counts where {Touched(rows.Select(r => (r.Key.Resolution, r.Key.Start)))} and events = 0", cancel);
    }

    private async Task AddRevenueAsync(Rollup rollup, CancellationToken cancel)
    {
        var rows = rollup.Revenue();
        if (rows.Count == 0)
            return;
        await work.ExecuteAsync(
            $"""
            insert into {_schema}.revenue as kept
              (dimension, resolution, start, currency, key, gross, refunds, orders, lines, cancelled_lines, units)
            select * from unnest({rows.ConvertAll(r => r.Key.Dimension).ToArray()}, {rows.ConvertAll(r => r.Key.Resolution).ToArray()},
              {rows.ConvertAll(r => r.Key.Start).ToArray()}, {rows.ConvertAll(r => r.Key.Currency).ToArray()}, {rows.ConvertAll(r => r.Key.Key).ToArray()},
              {rows.ConvertAll(r => r.Value.Gross).ToArray()}, {rows.ConvertAll(r => r.Value.Refunds).ToArray()}, {rows.ConvertAll(r => r.Value.Orders).ToArray()},
              {rows.ConvertAll(r => r.Value.Lines).ToArray()}, {rows.ConvertAll(r => r.Value.CancelledLines).ToArray()}, {rows.ConvertAll(r => r.Value.Units).ToArray()})
            on conflict (tenant_id, dimension, resolution, start, currency, key) do update set
              gross = kept.gross + excluded.gross, refunds = kept.refunds + excluded.refunds, orders = kept.orders + excluded.orders,
              lines = kept.lines + excluded.lines, cancelled_lines = kept.cancelled_lines + excluded.cancelled_lines, units = kept.units + excluded.units
            """,
            cancel);
        if (rows.Exists(r => r.Value.Lines < 0))
            await work.ExecuteAsync($"delete from {_schema}.revenue where {Touched(rows.Select(r => (r.Key.Resolution, r.Key.Start)))} and lines = 0", cancel);
    }

    private async Task AddVisitsAsync(Rollup rollup, CancellationToken cancel)
    {
        var rows = rollup.Visits();
        if (rows.Count == 0)
            return;
        await work.ExecuteAsync(
            $"""
            insert into {_schema}.visits as kept (resolution, start, events, new_users, new_anonymous, sessions, bounces, duration)
            select * from unnest({rows.ConvertAll(r => r.Key.Resolution).ToArray()}, {rows.ConvertAll(r => r.Key.Start).ToArray()},
              {rows.ConvertAll(r => r.Value.Events).ToArray()}, {rows.ConvertAll(r => r.Value.NewUsers).ToArray()}, {rows.ConvertAll(r => r.Value.NewAnonymous).ToArray()},
              {rows.ConvertAll(r => r.Value.Sessions).ToArray()}, {rows.ConvertAll(r => r.Value.Bounces).ToArray()}, {rows.ConvertAll(r => r.Value.Duration).ToArray()})
            on conflict (tenant_id, resolution, start) do update set
              events = kept.events + excluded.events, new_users = kept.new_users + excluded.new_users,
              new_anonymous = kept.new_anonymous + excluded.new_anonymous, sessions = kept.sessions + excluded.sessions, bounces = kept.bounces + excluded.bounces, duration = kept.duration + excluded.duration
            """,
            cancel);
        if (rows.Exists(r => r.Value.Events < 0))
            await work.ExecuteAsync($"delete from {_schema}.visits where {Touched(rows.Select(r => (r.Key.Resolution, r.Key.Start)))} and events = 0", cancel);
    }

    /// <summary>The rows of these intervals and a few beside them, as a condition: a look at all there are would grow with history.</summary>
    private static Sql Touched(IEnumerable<(string Resolution, DateTime Start)> intervals) => intervals.Distinct().ToList() is var keys
        ? $"resolution = any({keys.Select(k => k.Resolution).Distinct().ToArray()}) and start = any({keys.Select(k => k.Start).Distinct().ToArray()})"
        : Sql.Empty;
}
