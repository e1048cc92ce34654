using System.Diagnostics;
using System.Net;
using Agency.Hosting;
using Agency.Platform;
using Agency.Worker;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Agency.Cli;

/// <summary>Every function of every app in this process.</summary>
internal static class LocalHost
{
    private static readonly TimeSpan ReadyWithin = TimeSpan.FromSeconds(60);

    /// <summary>Brings the platform up, tells how to use it, and runs until told to stop.</summary>
    /// <exception cref="CommandException">It cannot start; the message says why.</exception>
    public static async Task RunAsync(Workspace workspace, Terminal terminal, CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        Directory.CreateDirectory(workspace.Home);
        using var claim = HostClaim.Take(workspace);
        if (PostgresServer.IsTaken(workspace.Port))
            throw new CommandException($"Port {workspace.Port} is in use by another program; set AGENCY_PORT to a free one.");
        try
        {
            using var host = await terminal.StepAsync("Starting Agency", say => StartAsync(workspace, say, cancel));
            await terminal.Output.WriteLineAsync(Welcome(workspace, clock.Elapsed));
            await host.WaitForShutdownAsync(cancel);
        }
        finally
        {
            await terminal.StepAsync("Stopping", async _ => await PostgresServer.StopAsync(workspace.Home, CancellationToken.None));
        }
    }

    private static async Task<IHost> StartAsync(Workspace workspace, Action<string> say, CancellationToken cancel)
    {
        var connection = await PostgresServer.EnsureAsync(workspace.Home, say, cancel);
        say("Migrating the database");
        await Migrator.RunAsync(PostgresSettings.From(connection), BuiltApps.WithMigrations, say, cancel);
        say("Starting the functions");
        var host = Build(workspace, connection);
        try
        {
            await host.StartAsync(cancel);
            await WaitUntilReadyAsync(workspace, cancel);
            return host;
        }
        catch
        {
            // What it has begun to consume by now is given back, and what clients have sent is answered.
            await host.StopAsync(CancellationToken.None);
            host.Dispose();
            throw;
        }
    }

    private static IHost Build(Workspace workspace, string connection)
    {
        var builder = FunctionsApplication.CreateBuilder([]);
        builder.ConfigureFunctionsWebApplication();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["urls"] = workspace.BaseAddress.ToString(),
            ["AGENCY_PORT"] = workspace.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            ["AGENCY_HOME"] = workspace.Home,
            [PostgresServer.ConnectionVariable] = connection,
        });
        // The only caller of a laptop is its owner, who may be measuring.
        builder.Configuration["RateLimits:Default"] ??= "100000/s";
        builder.Configuration["RateLimits:authentication"] ??= "100000/s";
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.UseFunctionApps(BuiltApps.All);
        builder.AddAgency(BuiltApps.All);
        return builder.Build();
    }

    private static async Task WaitUntilReadyAsync(Workspace workspace, CancellationToken cancel)
    {
        using var http = new HttpClient { BaseAddress = workspace.BaseAddress, Timeout = TimeSpan.FromSeconds(5) };
        for (var clock = Stopwatch.StartNew(); ;)
        {
            string trouble;
            try
            {
                using var answer = await http.GetAsync(new Uri("/health/ready", UriKind.Relative), cancel);
                if (answer.StatusCode == HttpStatusCode.OK)
                    return;
                trouble = await answer.Content.ReadAsStringAsync(cancel);
            }
            catch (TaskCanceledException slow) when (!cancel.IsCancellationRequested)
            {
                // A busy machine, or much that was left to do.
                trouble = slow.Message;
            }

            if (clock.Elapsed > ReadyWithin)
                throw new CommandException($"Agency started but is not ready: {trouble}");
            await Task.Delay(TimeSpan.FromMilliseconds(50), cancel);
        }
    }

    private static string Welcome(Workspace workspace, TimeSpan elapsed) => string.Create(
        System.Globalization.CultureInfo.InvariantCulture,
        $"""
        Agency is ready: {BuiltApps.All.Count} function apps, started in {elapsed.TotalSeconds:0.0} s.

          API      {workspace.BaseAddress}
          ready?   {workspace.BaseAddress}health/ready
          token    ./agency token
          try      curl -H "Authorization: Bearer $(./agency token)" {workspace.BaseAddress}users
          data     ./agency import <file.csv>

        Ctrl-C stops it.
        """);
}
