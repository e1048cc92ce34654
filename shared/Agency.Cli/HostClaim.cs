using System.Globalization;

namespace Agency.Cli;

/// <summary>
/// One home runs one host. The claim is a locked file; a second file tells the process's number.
/// </summary>
internal sealed class HostClaim : IDisposable
{
    private readonly FileStream _lock;

    private HostClaim(FileStream held) => _lock = held;

    /// <exception cref="CommandException">Another process holds it.</exception>
    public static HostClaim Take(Workspace workspace)
    {
        var held = TryLock(workspace);
        // A status command looks at the lock by taking it for a moment.
        for (var attempt = 0; held is null && attempt < 5; attempt++, held = TryLock(workspace))
            Thread.Sleep(50);
        if (held is null)
            throw new CommandException(
                $"Agency already runs in {workspace.Home} (process {Holder(workspace)}); stop it with ./agency down, or set AGENCY_HOME and AGENCY_PORT to run another.");
        File.WriteAllText(PidFile(workspace), Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
        return new(held);
    }

    /// <summary>The number of the process that runs this home's host, or null when none does.</summary>
    public static int? Holder(Workspace workspace)
    {
        if (!Directory.Exists(workspace.Home))
            return null;
        using var held = TryLock(workspace);
        return held is null && File.Exists(PidFile(workspace)) && int.TryParse(File.ReadAllText(PidFile(workspace)), CultureInfo.InvariantCulture, out var id)
            ? id
            : null;
    }

    public void Dispose() => _lock.Dispose();

    private static string PidFile(Workspace workspace) => Path.Combine(workspace.Home, "host.pid");

    private static FileStream? TryLock(Workspace workspace) => FileLock.TryTake(Path.Combine(workspace.Home, "host.lock"));
}
