using System.Globalization;

namespace Agency.Cli;

/// <summary>Which checkout, which state folder and which port a command works on.</summary>
/// <param name="Root">The repository's folder.</param>
/// <param name="Home">The state folder: keys, PostgreSQL, what runs. <c>AGENCY_HOME</c>, else <c>.agency</c> in the root.</param>
/// <param name="Port">The local host's port. <c>AGENCY_PORT</c>, else 7071.</param>
internal sealed record Workspace(string Root, string Home, int Port)
{
    public Uri BaseAddress { get; } = new($"http://127.0.0.1:{Port}");

    /// <exception cref="CommandException">The program is not inside a checkout, or the port is not one.</exception>
    public static Workspace FromEnvironment()
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "Directory.Packages.props")))
            root = root.Parent;
        if (root is null)
            throw new CommandException("This program runs from a checkout of Agency; start it with ./agency.");
        var home = Environment.GetEnvironmentVariable("AGENCY_HOME") is { Length: > 0 } named ? named : Path.Combine(root.FullName, ".agency");
        var port = Environment.GetEnvironmentVariable("AGENCY_PORT") is { Length: > 0 } text ? text : "7071";
        return int.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number is > 0 and < 65536
            ? new(root.FullName, Path.GetFullPath(home), number)
            : throw new CommandException($"AGENCY_PORT must be a port from 1 to 65535, not '{port}'.", CommandException.Usage);
    }
}
