using Agency.Platform;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics;

/// <summary>
/// Every hour, and at the start: makes the partitions of the coming months, builds rollups anew where a migration asks for it, and drops
/// months in which nothing is left.
/// </summary>
public sealed class MaintainAnalytics(Database database, IServiceScopeFactory scopes)
{
    [Function(nameof(MaintainAnalytics))]
    public async Task Run([TimerTrigger("0 23 * * * *", RunOnStartup = true)] TimerInfo timer, CancellationToken cancel)
    {
        await QueryAsync("select analytics.add_partition(now() + make_interval(months => n)) is null from generate_series(0, 2) as n", row => row.GetBoolean(0), cancel);
        foreach (var organisation in await QueryAsync("select tenant_id from analytics.rebuilds", row => row.GetString(0), cancel))
        {
            await using var scope = scopes.CreateAsyncScope();
            scope.ServiceProvider.GetRequiredService<Caller>().Become(organisation, nameof(MaintainAnalytics));
            await RollupRebuild.RunAsync(scope.ServiceProvider.GetRequiredService<UnitOfWork>(), replace: true, null, cancel);
        }

        await QueryAsync("select analytics.drop_empty_partitions()", row => row.GetInt32(0), cancel);
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
