using System.Text.Json.Nodes;
using Agency.Testing;
using Npgsql;

namespace Agency.Analytics.Tests;

/// <summary>An event as analytics.events has it.</summary>
internal sealed record RawEvent(string Name, DateTime Time, string? User = null, string? Anonymous = null, JsonObject? Properties = null, string Organisation = "acme");

/// <summary>Events put into the tables directly, with what scans look up elsewhere, worked out in SQL: counts, first sessions, earlier orders, currencies.</summary>
internal static class RawEvents
{
    public static async Task AddRawAsync(this TestDatabase database, IReadOnlyList<RawEvent> events)
    {
        await using var source = NpgsqlDataSource.Create(database.Settings.Admin);
        await using var insert = source.CreateCommand(
            "select analytics.add_partition(month) from (select distinct date_trunc('month', t, 'UTC') as month from unnest($1) as t) as months");
        insert.Parameters.Add(new() { Value = events.Select(e => e.Time).ToArray() });
        await insert.ExecuteNonQueryAsync();
        insert.CommandText = """
            insert into analytics.events (tenant_id, message_id, name, user_id, anonymous_id, visitor, occurred_at, batch_id, properties)
            select organisation, gen_random_uuid()::text, name, user_id, anonymous_id,
              coalesce(analytics.visitor_of(user_id, false), analytics.visitor_of(anonymous_id, true)), at, gen_random_uuid(), properties::jsonb
            from unnest($1, $2, $3, $4, $5, $6) as sent (at, organisation, name, user_id, anonymous_id, properties)
            """;
        insert.Parameters.Add(new() { Value = events.Select(e => e.Organisation).ToArray() });
        insert.Parameters.Add(new() { Value = events.Select(e => e.Name).ToArray() });
        insert.Parameters.Add(new() { Value = events.Select(e => e.User).ToArray() });
        insert.Parameters.Add(new() { Value = events.Select(e => e.Anonymous).ToArray() });
        insert.Parameters.Add(new() { Value = events.Select(e => e.Properties?.ToJsonString() ?? "{}").ToArray() });
        await insert.ExecuteNonQueryAsync();
        await database.RunAsync("""
            truncate analytics.event_counts;
            insert into analytics.event_counts (tenant_id, resolution, start, name, events)
            select tenant_id, resolution, date_trunc(resolution, occurred_at, 'UTC'), name, count(*)
            from analytics.events cross join unnest(array['hour', 'day', 'month']) as resolution
            group by 1, 2, 3, 4;
            truncate analytics.visits;
            insert into analytics.visits (tenant_id, resolution, start, events, new_users, sessions, bounces, duration)
            select tenant_id, resolution, start, sum(events), 0, 0, 0, 0 from analytics.event_counts group by 1, 2, 3;

            truncate analytics.sessions;
            insert into analytics.sessions (tenant_id, visitor, start, last, events)
            select tenant_id, visitor, min(at), max(at), count(*) from (
              select *, count(*) filter (where is_new) over (partition by tenant_id, visitor order by at) as n from (
                select tenant_id, visitor, occurred_at as at,
                  occurred_at - lag(occurred_at) over (partition by tenant_id, visitor order by occurred_at) >= interval '30 minutes' as is_new
                from analytics.events where visitor is not null) as marked) as numbered
            group by tenant_id, visitor, n;

            truncate analytics.orders, analytics.revenue;
            insert into analytics.orders (tenant_id, currency, order_id, hour, lines)
            select tenant_id, properties ->> 'currency', properties ->> 'orderId', date_trunc('hour', occurred_at, 'UTC'), count(*)
            from analytics.events where name = 'order-line' and properties ? 'orderId' and not (properties ->> 'cancelled')::boolean
            group by 1, 2, 3, 4;
            insert into analytics.revenue (tenant_id, dimension, resolution, start, currency, key, gross, refunds, orders, lines, cancelled_lines, units)
            select tenant_id, 'all', resolution, date_trunc(resolution, occurred_at, 'UTC'), properties ->> 'currency', '', 0, 0, 0, count(*), 0, 0
            from analytics.events cross join unnest(array['hour', 'day', 'month']) as resolution
            where name = 'order-line' and properties ? 'orderId'
            group by 1, 3, 4, 5;
            """);
    }
}
