using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <param name="Seconds">After so many the stream ends. A client that wants more asks again, as browsers do by themselves.</param>
public sealed record LiveAnalyticsQuery([Range(1, 3600), DefaultValue(300)] int Seconds);

/// <summary>
/// GET /analytics/live: what happens now, as server-sent events named live, one each second. Read it with <c>curl -N</c> or <c>fetch</c>: the
/// EventSource of browsers cannot send a token.
/// </summary>
public sealed class GetLiveAnalytics(Broadcasts broadcasts, Caller caller)
{
    private const int Top = 10;

    [Function(nameof(GetLiveAnalytics)), RequireScope("analytics:read")]
    [Operation(Query = typeof(LiveAnalyticsQuery), Answer = typeof(LiveDto), MediaType = Broadcasts.MediaType, IsStream = true, Problems = [503])]
    public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "analytics/live")] HttpRequest http)
    {
        var query = new LiveAnalyticsQuery(QueryParameters.Of(http).Integer("seconds", 1, 3600, 300));
        return broadcasts.Listen(http, caller, "live", TimeSpan.FromSeconds(query.Seconds), async (work, cancel) =>
            JsonSerializer.SerializeToUtf8Bytes(await ReadAsync(work, DateTime.UtcNow, cancel), AnalyticsJson.Default.LiveDto));
    }

    /// <summary>What is so at this time.</summary>
    public static async Task<LiveDto> ReadAsync(UnitOfWork work, DateTime now, CancellationToken cancel)
    {
        // Events are found by name, and a name is known to the rollup, which follows in a moment.
        var rows = await work.QueryAsync(
            $"""
            with recent as materialized (
              select name, visitor, occurred_at, left(properties ->> '$path', {EventProperty.MaxValue}) as path
              from analytics.events
              where occurred_at > {now.AddMinutes(-5)} and occurred_at <= {now}
                and name = any(array(select distinct name from analytics.event_counts where resolution = 'hour' and start >= {now.AddDays(-1)} and start <= {now}))
            )
            select * from (
              select 0 as list, '' as name, count(distinct visitor) as visitors, count(*) as events, count(*) filter (where occurred_at > {now.AddMinutes(-1)})
              from recent
              union all
              (select 1, name, count(distinct visitor), count(*), 0 from recent group by name order by 3 desc, 4 desc, name collate "C" limit {Top})
              union all
              (select 2, path, count(distinct visitor), count(*), 0 from recent where path is not null group by path order by 3 desc, 4 desc, path collate "C" limit {Top})
            ) as lists
            order by list, visitors desc, events desc, name collate "C"
            """,
            row => (List: row.GetInt32(0), Count: new LiveCount(row.GetString(1), row.GetInt64(2), row.GetInt64(3)), LastMinute: row.GetInt64(4)),
            cancel);
        var whole = rows[0];
        return new(now, whole.Count.Visitors, whole.LastMinute, whole.Count.Events, Of(1), Of(2));

        IReadOnlyList<LiveCount> Of(int list) => rows.FindAll(r => r.List == list).ConvertAll(r => r.Count);
    }
}
