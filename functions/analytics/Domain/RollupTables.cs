using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// Adds a <see cref="Rollup"/> to the tables, with one statement for each and its keys sorted, so that two batches lock the rows they
/// share in the same order. All of it is sums, minima and sets of bits: the order of batches does not matter.
/// </summary>
public static class RollupTables
{
    /// <summary>In the transaction that <paramref name="work"/> is in. Adds to the rollup what the orders seen before make of its revenue.</summary>
    public static async Task AddAsync(this UnitOfWork work, Rollup rollup, CancellationToken cancel)
    {
        await CountEventsAsync(rollup, work, cancel);
        await SeeVisitorsAsync(rollup, work, cancel);
        await CountOrdersAsync(rollup, work, cancel);
        await AddRevenueAsync(rollup, work, cancel);
    }

    private static Task CountEventsAsync(Rollup rollup, UnitOfWork work, CancellationToken cancel)
    {
        var rows = rollup.Counts.ToList();
        rows.Sort((a, b) => Rollup.Compare(a.Key, b.Key));
        return rows.Count == 0 ? Task.CompletedTask : work.ExecuteAsync(
            $"""
            insert into analytics.event_counts as kept (resolution, start, name, events)
            select * from unnest({rows.ConvertAll(r => r.Key.Resolution).ToArray()}, {rows.ConvertAll(r => r.Key.Start).ToArray()},
              {rows.ConvertAll(r => r.Key.Name).ToArray()}, {rows.ConvertAll(r => r.Value).ToArray()})
            on conflict (tenant_id, resolution, start, name) do update set events = kept.events + excluded.events
            """,
            cancel);
    }

    /// <summary>Most visitors are known already: those are left out by a read, since an upsert that changes nothing would still lock and log the row.</summary>
    private static async Task SeeVisitorsAsync(Rollup rollup, UnitOfWork work, CancellationToken cancel)
    {
        if (rollup.FirstSeen.Count == 0)
            return;
        var visitors = rollup.FirstSeen.ToList();
        visitors.Sort((a, b) => Rollup.Compare(a.Key, b.Key));
        await work.ExecuteAsync(
            $"""
            insert into analytics.visitors as kept (anonymous, visitor_id, first_seen)
            select seen.*
            from unnest({visitors.ConvertAll(v => v.Key.Anonymous).ToArray()}, {visitors.ConvertAll(v => v.Key.Id).ToArray()},
              {visitors.ConvertAll(v => v.Value).ToArray()}) as seen (anonymous, visitor_id, first_seen)
            where not exists (select from analytics.visitors v
              where v.anonymous = seen.anonymous and v.visitor_id = seen.visitor_id and v.first_seen <= seen.first_seen)
            on conflict (tenant_id, anonymous, visitor_id) do update set first_seen = least(kept.first_seen, excluded.first_seen)
            """,
            cancel);
        var days = rollup.Hours.ToList();
        days.Sort((a, b) => a.Key.Day.CompareTo(b.Key.Day) is var c and not 0 ? c : Rollup.Compare(a.Key.Visitor, b.Key.Visitor));
        await work.ExecuteAsync(
            $"""
            insert into analytics.visitor_days as kept (day, anonymous, visitor_id, hours)
            select seen.*
            from unnest({days.ConvertAll(d => d.Key.Day).ToArray()}, {days.ConvertAll(d => d.Key.Visitor.Anonymous).ToArray()},
              {days.ConvertAll(d => d.Key.Visitor.Id).ToArray()}, {days.ConvertAll(d => d.Value).ToArray()}) as seen (day, anonymous, visitor_id, hours)
            where not exists (select from analytics.visitor_days d
              where d.day = seen.day and d.anonymous = seen.anonymous and d.visitor_id = seen.visitor_id and d.hours & seen.hours = seen.hours)
            on conflict (tenant_id, day, anonymous, visitor_id) do update set hours = kept.hours | excluded.hours
            """,
            cancel);
    }

    /// <summary>An order that is new is counted in the hour of its first line; one of which an earlier line has come moves there.</summary>
    private static async Task CountOrdersAsync(Rollup rollup, UnitOfWork work, CancellationToken cancel)
    {
        if (rollup.Orders.Count == 0)
            return;
        var orders = rollup.Orders.ToList();
        orders.Sort((a, b) => Rollup.Compare(a.Key, b.Key));
        var (currencies, ids, hours) = (orders.ConvertAll(o => o.Key.Currency).ToArray(), orders.ConvertAll(o => o.Key.Id).ToArray(), orders.ConvertAll(o => o.Value).ToArray());
        var added = await work.QueryAsync(
            $"""
            insert into analytics.orders (currency, order_id, hour) select * from unnest({currencies}, {ids}, {hours})
            on conflict do nothing
            returning currency, hour
            """,
            row => (Currency: row.GetString(0), Hour: row.GetFieldValue<DateTime>(1)),
            cancel);
        foreach (var (currency, hour) in added)
            rollup.CountOrder(currency, hour, 1);
        if (added.Count == orders.Count)
            return;
        // The statement after the insert sees also what another batch has just committed, so each order is counted by one of them.
        foreach (var (currency, from, to) in await work.QueryAsync(
            $"""
            with moved as (
              select o.currency, o.order_id, o.hour as old_hour, line.hour as new_hour
              from analytics.orders o
              join unnest({currencies}, {ids}, {hours}) as line (currency, order_id, hour) using (currency, order_id)
              where line.hour < o.hour
              order by o.currency collate "C", o.order_id collate "C"
              for update of o
            )
            update analytics.orders o set hour = moved.new_hour
            from moved
            where o.currency = moved.currency and o.order_id = moved.order_id
            returning o.currency, moved.old_hour, moved.new_hour
            """,
            row => (row.GetString(0), row.GetFieldValue<DateTime>(1), row.GetFieldValue<DateTime>(2)),
            cancel))
        {
            rollup.CountOrder(currency, from, -1);
            rollup.CountOrder(currency, to, 1);
        }
    }

    private static Task AddRevenueAsync(Rollup rollup, UnitOfWork work, CancellationToken cancel)
    {
        var rows = rollup.Revenue.ToList();
        rows.Sort((a, b) => Rollup.Compare(a.Key, b.Key));
        return rows.Count == 0 ? Task.CompletedTask : work.ExecuteAsync(
            $"""
            insert into analytics.revenue as kept
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
    }
}
