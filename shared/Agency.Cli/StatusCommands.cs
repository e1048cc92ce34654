using System.Globalization;
using Agency.Platform;
using Npgsql;

namespace Agency.Cli;

/// <summary>What runs in a home, and how to stop it.</summary>
internal static class StatusCommands
{
    // The host waits up to 30 s for requests in flight, then stops PostgreSQL, which may take as long.
    private static readonly TimeSpan StopWithin = TimeSpan.FromSeconds(90);

    public static async Task DownAsync(Workspace workspace, Terminal terminal, CancellationToken cancel)
    {
        var (host, postgres) = await terminal.StepAsync("Stopping", async say =>
        {
            var stopped = await StopHostAsync(workspace, cancel);
            say("Stopping PostgreSQL");
            return (stopped, await PostgresServer.StopAsync(workspace.Home, cancel));
        });
        await terminal.Output.WriteLineAsync(host || postgres ? "Stopped." : $"Nothing runs in {workspace.Home}.");
    }

    public static async Task<int> StatusAsync(Workspace workspace, Terminal terminal, CancellationToken cancel)
    {
        var holder = HostClaim.Holder(workspace);
        var (isReady, readiness) = holder is null ? (false, "no") : await ReadinessAsync(workspace, cancel);
        var connection = await PostgresServer.FindAsync(workspace.Home, cancel);
        terminal.Table("Agency",
        [
            ("home", workspace.Home),
            ("host", holder is null ? "stopped" : string.Create(CultureInfo.InvariantCulture, $"process {holder} on {workspace.BaseAddress}")),
            ("ready", readiness),
            ("PostgreSQL", connection is null ? "stopped" : Address(connection)),
            ("migrations", connection is null ? "unknown" : await MigrationsAsync(connection, cancel)),
        ]);
        return isReady ? 0 : CommandException.Failed;
    }

    private static async Task<bool> StopHostAsync(Workspace workspace, CancellationToken cancel)
    {
        if (HostClaim.Holder(workspace) is not { } holder)
            return false;
        if (OperatingSystem.IsWindows())
            throw new CommandException("Windows has no signal that stops the host gently; press Ctrl-C where ./agency up runs.");
        if (await Shell.RunAsync("sh", ["-c", string.Create(CultureInfo.InvariantCulture, $"kill -TERM {holder}")], null, cancel) is (not 0, var refusal))
            throw new CommandException($"Process {holder} could not be told to stop: {refusal}.");
        for (var end = DateTime.UtcNow + StopWithin; HostClaim.Holder(workspace) == holder;)
        {
            if (DateTime.UtcNow > end)
                throw new CommandException($"Process {holder} was told to stop and still runs; look at what it is doing.");
            await Task.Delay(TimeSpan.FromMilliseconds(100), cancel);
        }

        return true;
    }

    private static async Task<(bool IsReady, string Text)> ReadinessAsync(Workspace workspace, CancellationToken cancel)
    {
        using var http = new HttpClient { BaseAddress = workspace.BaseAddress, Timeout = TimeSpan.FromSeconds(5) };
        try
        {
            using var answer = await http.GetAsync(new Uri("/health/ready", UriKind.Relative), cancel);
            return answer.IsSuccessStatusCode
                ? (true, "yes")
                : (false, $"no: {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(cancel)}");
        }
        catch (Exception failure) when (failure is HttpRequestException or TaskCanceledException && !cancel.IsCancellationRequested)
        {
            return (false, $"no: {failure.Message}");
        }
    }

    private static string Address(string connection)
    {
        var server = new NpgsqlConnectionStringBuilder(connection);
        return string.Create(CultureInfo.InvariantCulture, $"{server.Host}:{server.Port}, database {server.Database}");
    }

    private static async Task<string> MigrationsAsync(string connection, CancellationToken cancel)
    {
        try
        {
            await using var source = NpgsqlDataSource.Create(connection);
            var pending = await Migrator.PendingAsync(source, Migration.In(BuiltApps.WithMigrations), cancel);
            return pending.Count == 0 ? "up to date" : string.Create(CultureInfo.InvariantCulture, $"{pending.Count} to apply: ./agency migrate");
        }
        catch (PostgresException missing) when (missing.SqlState == PostgresErrorCodes.InvalidCatalogName)
        {
            return "no database yet: ./agency migrate";
        }
    }
}
