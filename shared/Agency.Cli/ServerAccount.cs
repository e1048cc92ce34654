namespace Agency.Cli;

/// <summary>
/// The user PostgreSQL runs as. It refuses to run as root, so for root this is another user (<c>postgres</c> if there is one,
/// else <c>nobody</c>) and commands go through <c>setpriv</c> or <c>runuser</c>; for everybody else it is the caller.
/// </summary>
internal sealed class ServerAccount
{
    private readonly string[] _prefix;

    private ServerAccount(string? user, string[] prefix) => (User, _prefix) = (user, prefix);

    /// <summary>The user's name, or null when it is the caller.</summary>
    public string? User { get; }

    /// <exception cref="CommandException">The caller is root and the machine has no way to run a program as somebody else.</exception>
    public static async Task<ServerAccount> FindAsync(CancellationToken cancel)
    {
        if (OperatingSystem.IsWindows() || !Environment.IsPrivilegedProcess)
            return new(null, []);
        foreach (var user in new[] { "postgres", "nobody" })
        {
            var (uidExit, uid) = await Shell.RunAsync("id", ["-u", user], null, cancel);
            var (gidExit, gid) = await Shell.RunAsync("id", ["-g", user], null, cancel);
            if (uidExit != 0 || gidExit != 0)
                continue;
            string[][] ways =
            [
                ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--"],
                ["runuser", "-u", user, "--"],
                ["sudo", "-n", "-u", user, "--"],
            ];
            foreach (var way in ways)
                if (Shell.Find(way[0]) is not null && (await Shell.RunAsync(way[0], [.. way[1..], "true"], "/", cancel)).ExitCode == 0)
                    return new(user, way);
        }

        throw new CommandException(
            "PostgreSQL refuses to run as root, and neither setpriv, runuser nor sudo can run it as 'postgres' or 'nobody' here; "
            + "run ./agency as another user, or set AGENCY_POSTGRES to the connection string of a running server.");
    }

    /// <summary>Runs a program as this user, in <paramref name="folder"/>.</summary>
    public Task<(int ExitCode, string Output)> RunAsync(string folder, string program, IEnumerable<string> arguments, CancellationToken cancel) =>
        _prefix is [var way, .. var rest]
            ? Shell.RunAsync(way, [.. rest, program, .. arguments], folder, cancel)
            : Shell.RunAsync(program, arguments, folder, cancel);

    /// <summary>True when this user may enter the folder, thus all folders above it.</summary>
    public async Task<bool> CanEnterAsync(string folder, CancellationToken cancel) =>
        User is null || (await RunAsync("/", "test", ["-x", folder], cancel)).ExitCode == 0;

    /// <summary>Gives the folder and all it holds to this user.</summary>
    public async Task OwnAsync(string folder, CancellationToken cancel)
    {
        if (User is not null && await Shell.RunAsync("chown", ["-R", User, folder], null, cancel) is (not 0, var output))
            throw new CommandException($"The folder {folder} cannot be given to the user {User}: {output}.");
    }
}
