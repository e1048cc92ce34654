using System.Globalization;
using Agency.Analytics;
using Agency.Platform;

namespace Agency.Cli;

/// <summary><c>./agency analytics rebuild</c>.</summary>
internal static class RebuildCommand
{
    /// <returns>0; or 1 when anything differs and was not to be mended.</returns>
    /// <exception cref="CommandException">No database runs here.</exception>
    public static async Task<int> RunAsync(Workspace workspace, string? organisation, bool verify, Terminal terminal, CancellationToken cancel)
    {
        var connection = await PostgresServer.FindAsync(workspace.Home, cancel)
            ?? throw new CommandException("No database runs here; start Agency with ./agency up.");
        await using var database = new Database(PostgresSettings.From(connection));
        var differs = false;
        foreach (var tenant in organisation is null ? await OrganisationsAsync(database, cancel) : [organisation])
        {
            await using var work = new UnitOfWork(database, Caller.Of(tenant, "rebuild"), []);
            var events = 0L;
            var differences = await terminal.ProgressAsync($"Counting the events of {tenant}", report => RollupRebuild.RunAsync(
                work,
                replace: !verify,
                (day, count) => report(0, string.Create(CultureInfo.InvariantCulture, $"{day:yyyy-MM-dd}, {events += count:N0} events")),
                cancel));
            foreach (var (table, wrong, missing) in differences)
            {
                var difference = table == RollupRebuild.Events
                    ? string.Create(CultureInfo.InvariantCulture, $"{wrong} events count for somebody else than whom they name")
                    : string.Create(CultureInfo.InvariantCulture, $"{table} has {wrong} rows that the events do not give, and lacks {missing}");
                await terminal.Output.WriteLineAsync($"{tenant}: {difference}{(verify ? "." : "; mended.")}");
            }

            await terminal.Output.WriteLineAsync(string.Create(
                CultureInfo.InvariantCulture, $"{tenant}: {events:N0} events, {(differences.Count == 0 ? "every rollup is as they give it." : $"{differences.Count} tables differed.")}"));
            differs |= differences.Count > 0;
        }

        return verify && differs ? CommandException.Failed : 0;
    }

    private static async Task<List<string>> OrganisationsAsync(Database database, CancellationToken cancel)
    {
        var organisations = new List<string>();
        await using var command = database.System.CreateCommand("select tenant_id from analytics.event_counts union select tenant_id from analytics.events order by 1");
        await using var reader = await command.ExecuteReaderAsync(cancel);
        while (await reader.ReadAsync(cancel))
            organisations.Add(reader.GetString(0));
        return organisations;
    }
}
