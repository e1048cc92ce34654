using System.Text.Json.Serialization;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// What <c>GET /analytics/live</c> tells each second. It is of the last five minutes, or of fewer where those have more than 100,000 events;
/// then it is capped.
/// </summary>
/// <param name="At">When it was so.</param>
/// <param name="Since">The first moment that counts.</param>
/// <param name="IsCapped">There were too many events to look at all of the last five minutes.</param>
/// <param name="Visitors">Different visitors with an event since then.</param>
/// <param name="LastMinute">Events in the last minute; null when that was not looked at as a whole.</param>
/// <param name="LastFiveMinutes">Events in the last five; null likewise.</param>
/// <param name="Events">The ten events of most visitors since then.</param>
/// <param name="Pages">The ten values of <c>$path</c> of most visitors since then.</param>
/// <param name="Breakdown">The ten values of most visitors since then of the property that was asked for.</param>
public sealed record LiveDto(
    DateTimeOffset At, DateTimeOffset Since, bool IsCapped, long Visitors, long? LastMinute, long? LastFiveMinutes, IReadOnlyList<LiveCount> Events, IReadOnlyList<LiveCount> Pages,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<LiveCount>? Breakdown = null);

/// <param name="Name">The event's name, or the value, cut off after 200 characters; null for events without the property.</param>
/// <param name="Visitors">Different visitors.</param>
/// <param name="Events">Events, also of nobody that is known.</param>
public sealed record LiveCount(string? Name, long Visitors, long Events);

/// <summary>What happens now, from the events themselves.</summary>
public static class Live
{
    /// <summary>Events that are looked at, at most.</summary>
    public const int MaxEvents = 100_000;

    private const int Top = 10;

    // Seconds.
    private static readonly int[] Windows = [300, 240, 180, 120, 60, 30, 20, 10, 5, 3, 2, 1];

    /// <summary>What is so at this time.</summary>
    public static async Task<LiveDto> ReadAsync(UnitOfWork work, DateTime now, ScanQuery query, CancellationToken cancel, int maxEvents = MaxEvents)
    {
        // Events are found by name, and a name is known to the rollup, which follows in a moment.
        var names = await work.QueryAsync(
            $"select distinct name from analytics.event_counts where resolution = 'hour' and start >= {now.AddDays(-1)} and start <= {now}", row => row.GetString(0), cancel);
        string[] among = [.. query.Among(names) ?? []];
        var seconds = await WindowAsync(work, among, now, maxEvents, cancel);
        var since = now.AddSeconds(-seconds);
        var by = query.Property();
        var rows = await work.QueryAsync(
            $"""
            with recent as materialized (
              select e.name, e.visitor, e.occurred_at, {new EventProperty("$path").Value} as path, {by?.Value ?? (Sql)$"null::text"} as value
              from {query.Events(among, new(since.AddMicroseconds(1), now.AddMicroseconds(1)))}
              -- Should there be more even in the shortest window.
              limit {maxEvents}
            )
            select * from (
              select 0 as list, '' as name, count(distinct visitor) as visitors, count(*) as events, count(*) filter (where occurred_at > {now.AddMinutes(-1)})
              from recent
              union all
              (select 1, name, count(distinct visitor), count(*), 0 from recent group by name order by 3 desc, 4 desc, name collate "C" limit {Top})
              union all
              (select 2, path, count(distinct visitor), count(*), 0 from recent where path is not null group by path order by 3 desc, 4 desc, path collate "C" limit {Top})
              union all
              (select 3, value, count(distinct visitor), count(*), 0 from recent where {by is not null} group by value order by 3 desc, 4 desc, value collate "C" limit {Top})
            ) as lists
            order by list, visitors desc, events desc, name collate "C"
            """,
            row => (List: row.GetInt32(0), Count: new LiveCount(row.IsDBNull(1) ? null : row.GetString(1), row.GetInt64(2), row.GetInt64(3)), LastMinute: row.GetInt64(4)),
            cancel);
        var whole = rows[0];
        return new(
            now, since, seconds < Windows[0], whole.Count.Visitors, seconds < 60 ? null : whole.LastMinute, seconds < Windows[0] ? null : whole.Count.Events,
            Of(1), Of(2), by is null ? null : Of(3));

        IReadOnlyList<LiveCount> Of(int list) => rows.FindAll(r => r.List == list).ConvertAll(r => r.Count);
    }

    /// <summary>How long ago, in seconds, the longest window begins that has no more events. No more of them than that are counted at a time.</summary>
    private static async Task<int> WindowAsync(UnitOfWork work, string[] names, DateTime now, int maxEvents, CancellationToken cancel)
    {
        foreach (var seconds in Windows)
            if (await work.QueryFirstAsync(
                $"""
                select count(*) from (
                  select from analytics.events e where e.name = any({names}) and e.occurred_at > {now.AddSeconds(-seconds)} and e.occurred_at <= {now} limit {maxEvents + 1}
                ) as seen
                """,
                row => row.GetInt64(0),
                cancel) <= maxEvents)
                return seconds;
        return Windows[^1];
    }
}
