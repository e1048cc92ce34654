using Agency.Platform;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Agency.Analytics;

/// <summary>
/// Every hour, and at the start: makes the partitions of the coming months, builds rollups anew where a migration asks for it, removes what
/// is older than its organisation keeps events, and drops months in which nothing is left.
/// </summary>
public sealed class MaintainAnalytics(Database database, IServiceScopeFactory scopes, ILogger<MaintainAnalytics> log)
{
    [Function(nameof(MaintainAnalytics))]
    public async Task Run([TimerTrigger("0 23 * * * *", RunOnStartup = true)] TimerInfo timer, CancellationToken cancel)
    {
        await QueryAsync("select analytics.add_partition(now() + make_interval(months => n)) is null from generate_series(0, 2) as n", row => row.GetBoolean(0), cancel);
        foreach (var organisation in await QueryAsync("select tenant_id from analytics.rebuilds", row => row.GetString(0), cancel))
            await TryAsync(organisation, caller => scopes.RunAsync(caller, work => RollupRebuild.RunAsync(work, replace: true, null, cancel)), cancel);
        foreach (var (organisation, days) in await QueryAsync(
            "select tenant_id, retention_days from analytics.config where retention_days is not null", row => (row.GetString(0), row.GetInt32(1)), cancel))
            await TryAsync(
                organisation,
                caller => EventPurge.RunAsync(scopes, caller, new(null, null, null, AnalyticsConfig.OldestOf(days, DateTime.UtcNow.Date)), null, cancel),
                cancel);
        await QueryAsync("select analytics.drop_empty_partitions()", row => row.GetInt32(0), cancel);
    }

    /// <summary>What fails for one organisation is tried again in an hour, and keeps no other waiting.</summary>
    private async Task TryAsync(string organisation, Func<Caller, Task> maintain, CancellationToken cancel)
    {
        try
        {
            await maintain(Caller.Of(organisation, nameof(MaintainAnalytics)));
        }
        catch (Exception failure) when (!cancel.IsCancellationRequested)
        {
            MaintainAnalyticsLog.Failed(log, failure, organisation);
        }
    }

    /// <summary>Of all organisations, so on the system role.</summary>
    private async Task<List<T>> QueryAsync<T>(string sql, Func<Npgsql.NpgsqlDataReader, T> map, CancellationToken cancel)
    {
        var rows = new List<T>();
        await using var command = database.System.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync(cancel);
        while (await reader.ReadAsync(cancel))
            rows.Add(map(reader));
        return rows;
    }
}

internal static partial class MaintainAnalyticsLog
{
    [LoggerMessage(Level = LogLevel.Error, Message = "The analytics of {Organisation} could not be maintained; it is tried again in an hour.")]
    public static partial void Failed(ILogger log, Exception failure, string organisation);
}
