namespace Agency.EndToEnd.Tests;

/// <summary>What must hold once every consumer has caught up, whatever was killed and when. Each query answers the offenders.</summary>
internal static class EveryEvent
{
    private static readonly (string Fact, string Sql)[] Facts =
    [
        ("positions have no gap", """
            select 'events ' || count(*) || ', last position ' || max(position) || ', head ' || (select position from platform.log_head)
            from platform.events
            having count(*) <> max(position) or count(position) <> count(*) or max(position) <> (select position from platform.log_head)
            """),
        ("the events of a subject are in version order, none missing", """
            select tenant_id || ' ' || topic || ' ' || subject || ' ' || version || ' is number ' || n
            from (select *, row_number() over (partition by tenant_id, topic, subject order by position) as n from platform.events) as e
            where version <> n
            """),
        ("no group missed an event", $"""
            select g.group_name || ' ' || e.event_id
            from {Platform.Deliveries}
            where not exists (select from platform.inbox i where i.group_name = g.group_name and i.event_id = e.event_id)
            """),
        ("no group had what is no event", """
            select group_name || ' ' || event_id from platform.inbox i
            where not exists (select from platform.events e where e.event_id = i.event_id and e.tenant_id = i.tenant_id)
            """),
        ("nothing is parked", "select group_name || ' ' || event_id || ' ' || coalesce(error, '') from platform.parked"),
        ("a user has an event for each version", """
            select u.id || ' ' || u.version from users.users u
            where u.version <> (select count(*) from platform.events e where e.tenant_id = u.tenant_id and e.topic = 'agency.users' and e.subject = u.id::text)
            """),
        ("a created user is there", """
            select e.tenant_id || ' ' || e.subject from platform.events e
            where e.type = 'agency.users.user-created.v1' and not exists (select from users.users u where u.tenant_id = e.tenant_id and u.id::text = e.subject)
              and not exists (select from platform.events d where d.tenant_id = e.tenant_id and d.subject = e.subject and d.type = 'agency.users.user-deleted.v1')
            """),
        ("the graph has the last version of each user", """
            select u.id || ' ' || u.version from users.users u
            left join embedded.graph_nodes n on n.tenant_id = u.tenant_id and n.graph = 'users' and n.id = u.id::text and n.version = u.version and n.name = u.name
            where n.id is null
            """),
        ("the search index has the last version of each user", """
            select u.id || ' ' || u.version from users.users u
            left join embedded.search_documents d on d.tenant_id = u.tenant_id and d.index_name = 'users' and d.id = u.id::text and d.version = u.version
            where d.id is null or d.content ->> 'name' <> u.name
            """),
        ("each new user is onboarded once", """
            select e.tenant_id || ' ' || e.subject || ' ' || count(s.id) from platform.events e
            left join embedded.sagas s on s.tenant_id = e.tenant_id and s.id = 'user-onboarding-' || e.subject
            where e.type = 'agency.users.user-created.v1' group by e.tenant_id, e.subject having count(s.id) <> 1
            """),
        ("no message is sent twice", "select user_id || ' ' || template from users.messages group by user_id, template having count(*) > 1"),
        ("an accepted message is tracked once", """
            select coalesce(e.tenant_id || ' ' || e.message_id, m.tenant_id || ' ' || m.digest) || ' ' || count(*)
            from analytics.events e full join analytics.message_ids m on m.tenant_id = e.tenant_id and m.digest = analytics.digest_of(e.message_id)
            group by e.tenant_id, e.message_id, m.tenant_id, m.digest having count(e.message_id) <> 1 or count(m.digest) <> 1
            """),
        ("the counts are those of the raw events", """
            select coalesce(raw.tenant_id, sums.tenant_id) || ' ' || coalesce(raw.name, sums.name) || ' raw ' || coalesce(raw.n, 0) || ' rolled up ' || coalesce(sums.n, 0)
            from (select tenant_id, name, date_trunc('hour', occurred_at, 'UTC') as start, count(*) as n from analytics.events group by 1, 2, 3) as raw
            full join (select tenant_id, name, start, events as n from analytics.event_counts where resolution = 'hour') as sums
              on sums.tenant_id = raw.tenant_id and sums.name = raw.name and sums.start = raw.start
            where raw.n is distinct from sums.n
            """),
        ("the revenue is that of the raw events", """
            select coalesce(raw.tenant_id, sums.tenant_id) || ' raw ' || coalesce(raw.lines, 0) || ' rolled up ' || coalesce(sums.lines, 0)
            from (
              select tenant_id, date_trunc('hour', occurred_at, 'UTC') as start, count(*) as lines, sum((properties ->> 'quantity')::bigint) as units,
                sum((properties ->> 'quantity')::numeric * (properties ->> 'unitPrice')::numeric) as net
              from analytics.events where name = 'order-line' group by 1, 2) as raw
            full join (
              select tenant_id, start, lines, units, gross - refunds as net from analytics.revenue where dimension = 'all' and resolution = 'hour') as sums
              on sums.tenant_id = raw.tenant_id and sums.start = raw.start
            where (raw.lines, raw.units, raw.net) is distinct from (sums.lines, sums.units, sums.net)
            """),
    ];

    /// <summary>Waits for the consumers, then compares their effects with the log and the raw rows.</summary>
    public static async Task HasItsEffectOnceAsync(this Platform platform)
    {
        await platform.CaughtUpAsync();
        var wrong = new List<string>();
        foreach (var (fact, sql) in Facts)
            if (await platform.LinesAsync(sql) is { Count: > 0 } offenders)
                wrong.Add($"Not true that {fact}: {offenders.Count}, such as {string.Join("; ", offenders.Take(3))}");
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }
}
