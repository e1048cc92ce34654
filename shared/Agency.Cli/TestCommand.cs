using System.Globalization;

namespace Agency.Cli;

/// <summary>Runs every test project on a PostgreSQL of the tests' own, and measures which lines they run.</summary>
internal static class TestCommand
{
    private const double LeastCoverage = 0.90;
    private const int WorstFiles = 10;
    private static readonly string[] Covered = ["shared", "functions"];

    /// <summary>Returns 0 when all passed and enough lines ran, else 1. The last line of the output counts the tests.</summary>
    public static Task<int> RunAsync(Workspace workspace, string? filter, bool measureCoverage, Terminal terminal, CancellationToken cancel) =>
        RunAsync(workspace, "*.Tests", filter, measureCoverage, [], terminal, cancel);

    /// <summary>Sends random requests to every route instead. A server error or a hang is a failure, printed with its request.</summary>
    /// <param name="seed">Where they start; the run prints it.</param>
    public static Task<int> FuzzAsync(Workspace workspace, TimeSpan time, int? seed, Terminal terminal, CancellationToken cancel) => RunAsync(
        workspace, "Agency.Conformance.Tests", "FullyQualifiedName~FuzzTests", measureCoverage: false,
        new() { ["AGENCY_FUZZ"] = time.ToString("c"), ["AGENCY_FUZZ_SEED"] = seed?.ToString(CultureInfo.InvariantCulture) ?? "" },
        terminal, cancel);

    /// <param name="projects">Names of folders below tests, with *.</param>
    private static async Task<int> RunAsync(
        Workspace workspace, string projects, string? filter, bool measureCoverage, Dictionary<string, string> environment, Terminal terminal,
        CancellationToken cancel)
    {
        var home = Path.Combine(workspace.Home, "test");
        var results = Path.Combine(home, "results");
        Directory.CreateDirectory(home);
        using var claim = FileLock.TryTake(Path.Combine(home, "run.lock"))
            ?? throw new CommandException($"Another ./agency test runs in {workspace.Home}; wait for it, or set AGENCY_HOME to another folder.");
        if (Directory.Exists(results))
            Directory.Delete(results, recursive: true);
        Directory.CreateDirectory(results);
        try
        {
            var connection = await terminal.StepAsync("Preparing PostgreSQL for the tests", async say =>
            {
                // A server that does not wait for the disk is not worth keeping: each run begins with a new one.
                await PostgresServer.RemoveForTestsAsync(workspace.Home, cancel);
                return await PostgresServer.EnsureForTestsAsync(workspace.Home, say, cancel);
            });
            var exit = await Shell.RunDotnetAsync(
                workspace.Root, ["build", "Agency.Functions.sln", "-c", "Release", "-nodeReuse:false", "-nologo", "-clp:ErrorsOnly"], [], cancel);
            if (exit == 0)
                // As many at a time as there are processors: much of a test is waiting, for a server, a timer or a process that is to die.
                await Parallel.ForEachAsync(
                    Directory.GetDirectories(Path.Combine(workspace.Root, "tests"), projects).Order(StringComparer.Ordinal),
                    new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = cancel },
                    async (project, stop) =>
                    {
                        var one = await Shell.RunDotnetAsync(
                            workspace.Root, Arguments(project, results, filter, measureCoverage),
                            new(environment) { [PostgresServer.TestConnectionVariable] = connection }, stop);
                        if (one != 0)
                            Interlocked.Exchange(ref exit, one);
                    });
            return Conclude(workspace.Root, results, exit, measureCoverage, isWhole: filter is null, terminal);
        }
        finally
        {
            await PostgresServer.StopForTestsAsync(workspace.Home, CancellationToken.None);
        }
    }

    private static List<string> Arguments(string project, string results, string? filter, bool measureCoverage)
    {
        List<string> arguments = ["test", project, "-c", "Release", "--no-build", "--nologo", "--logger", "trx", "--logger", "console;verbosity=normal"];
        // Those of one second have the same name.
        arguments.AddRange(["--results-directory", Path.Combine(results, Path.GetFileName(project))]);
        if (filter is not null)
            arguments.AddRange(["--filter", filter]);
        if (measureCoverage)
            arguments.AddRange(["--collect", "XPlat Code Coverage"]);
        return arguments;
    }

    /// <summary>Reads what the run left in <paramref name="results"/> and prints the verdict.</summary>
    internal static int Conclude(string root, string results, int exit, bool measureCoverage, bool isWhole, Terminal terminal)
    {
        var tests = TestResults.Read(Directory.EnumerateFiles(results, "*.trx", SearchOption.AllDirectories));
        foreach (var (test, reason) in tests.Skips)
            terminal.Output.WriteLine($"Skipped {test}: {reason}");
        var isCovered = !measureCoverage || PrintCoverage(root, results, isWhole, terminal);
        // Their own words may stand thousands of lines above.
        foreach (var (test, reason) in tests.Failures)
            terminal.Error.WriteLine($"Failed {test}: {reason}");
        if (exit != 0 && tests.Failures.Count == 0)
            terminal.Error.WriteLine("agency: dotnet failed without a failed test; its own message is above.");
        else if (tests.Count == 0)
            terminal.Error.WriteLine("agency: no test ran.");
        terminal.Output.WriteLine(tests.ToString());
        return exit == 0 && tests.Failures.Count == 0 && tests.Count > 0 && isCovered ? 0 : CommandException.Failed;
    }

    private static bool PrintCoverage(string root, string results, bool isWhole, Terminal terminal)
    {
        var coverage = LineCoverage.Read(root, Directory.EnumerateFiles(results, "coverage.cobertura.xml", SearchOption.AllDirectories));
        foreach (var folder in Covered)
            terminal.Output.WriteLine(Describe($"{folder}/", coverage.Below(folder)));
        var together = coverage.Below(Covered);
        terminal.Output.WriteLine(Describe("together", together));
        if (!isWhole || Share(together) >= LeastCoverage)
            return true;
        terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"agency: line coverage is below {LeastCoverage:P0}. Most lines without a test:"));
        foreach (var (file, missed, lines) in coverage.Worst(WorstFiles, Covered))
            terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {missed,5} of {lines,5}  {file}"));
        return false;
    }

    private static string Describe(string name, (int Hit, int Lines) count) =>
        string.Create(CultureInfo.InvariantCulture, $"Line coverage of {name}: {Share(count) * 100:0.0} % ({count.Hit} of {count.Lines} lines)");

    private static double Share((int Hit, int Lines) count) => count.Lines == 0 ? 0 : (double)count.Hit / count.Lines;
}
