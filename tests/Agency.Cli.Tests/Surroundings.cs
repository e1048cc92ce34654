using System.Net;
using System.Net.Sockets;

namespace Agency.Cli.Tests;

/// <summary>Environment variables are the process's: what sets them runs one after the other.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Surroundings
{
    public const string Name = "surroundings";
}

/// <summary>A home folder and a free port of one test's own, set in the environment until disposed.</summary>
internal sealed class TestHome : IAsyncDisposable
{
    private static readonly string[] Variables =
        ["AGENCY_HOME", "AGENCY_PORT", "AGENCY_TOKEN", PostgresServer.ConnectionVariable, PostgresServer.TestConnectionVariable];

    private readonly Dictionary<string, string?> _before = Variables.ToDictionary(name => name, Environment.GetEnvironmentVariable);

    /// <param name="isOpen">Whether other users may enter the folder, as PostgreSQL's must when the tests run as root.</param>
    public TestHome(bool isOpen = true)
    {
        Folder = Directory.CreateTempSubdirectory("agency-home-").FullName;
        if (isOpen && !OperatingSystem.IsWindows())
            File.SetUnixFileMode(Folder, (UnixFileMode)0b111_101_101);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        Port = ((IPEndPoint)listener.LocalEndpoint).Port;
        foreach (var name in Variables)
            Environment.SetEnvironmentVariable(name, null);
        Environment.SetEnvironmentVariable("AGENCY_HOME", Folder);
        Environment.SetEnvironmentVariable("AGENCY_PORT", Port.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    public string Folder { get; }

    public int Port { get; }

    public Workspace Workspace => Workspace.FromEnvironment();

    public async ValueTask DisposeAsync()
    {
        foreach (var (name, value) in _before)
            Environment.SetEnvironmentVariable(name, value);
        await PostgresServer.StopAsync(Folder, CancellationToken.None);
        await PostgresServer.RemoveForTestsAsync(Folder, CancellationToken.None);
        Directory.Delete(Folder, recursive: true);
    }
}
