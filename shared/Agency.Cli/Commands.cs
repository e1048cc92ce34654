using System.CommandLine;
using System.CommandLine.Help;
using System.Globalization;
using Agency.Platform;

namespace Agency.Cli;

/// <summary>What <c>./agency</c> understands.</summary>
internal static class Commands
{
    // Longer than the host's own time for requests in flight, after which PostgreSQL is stopped too.
    private static readonly TimeSpan TimeToStop = TimeSpan.FromSeconds(90);

    /// <summary>Runs one command and returns the process's exit code. Every failure ends as a sentence on the error output.</summary>
    public static async Task<int> RunAsync(string[] args, Terminal terminal, CancellationToken cancel = default)
    {
        var parsed = Root(terminal).Parse(args.Length == 0 ? ["--help"] : args);
        if (parsed.Errors is [var wrong, ..])
        {
            var message = parsed.UnmatchedTokens is [var unknown, ..] ? $"'{unknown}' is no command or option here." : wrong.Message;
            await terminal.Error.WriteLineAsync($"agency: {message} See ./agency --help.");
            return CommandException.Usage;
        }

        try
        {
            var configuration = new InvocationConfiguration
            {
                Output = terminal.Output,
                Error = terminal.Error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = TimeToStop,
            };
            return await parsed.InvokeAsync(configuration, cancel);
        }
        catch (OperationCanceledException)
        {
            await terminal.Error.WriteLineAsync("agency: stopped before it was done.");
            return CommandException.Failed;
        }
        catch (CommandException failure)
        {
            await terminal.Error.WriteLineAsync($"agency: {failure.Message}");
            return failure.ExitCode;
        }
        catch (Exception failure)
        {
            // The process's edge: whatever went wrong, the person at the terminal gets a sentence, not a stack trace.
            await terminal.Error.WriteLineAsync($"agency: {OneLine(failure.Message)}");
            return CommandException.Failed;
        }
    }

    private static string OneLine(string text) => string.Join(' ', text.Split((char[])['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));

    private static Command Root(Terminal terminal) => new("./agency", "Agency: the backend of an AI agency, on this machine.")
    {
        new HelpOption(),
        Command("up", "Starts PostgreSQL and every function, and runs until Ctrl-C.", (workspace, cancel) => LocalHost.RunAsync(workspace, terminal, cancel)),
        Command("down", "Stops what runs in this home.", (workspace, cancel) => StatusCommands.DownAsync(workspace, terminal, cancel)),
        StatusCommand(terminal),
        Token(terminal),
        Command("migrate", "Brings the database to what this build needs.", (workspace, cancel) => MigrateAsync(workspace, terminal, cancel)),
        Import(terminal),
        new Command("generate", "Makes up data.") { GenerateEvents(terminal) },
        new Command("analytics", "Looks after what analytics has computed.") { RebuildAnalytics(terminal) },
        Test(terminal),
        Bench(),
    };

    private static Command Command(string name, string description, Func<Workspace, CancellationToken, Task> run)
    {
        var command = new Command(name, description);
        command.SetAction((_, cancel) => run(Workspace.FromEnvironment(), cancel));
        return command;
    }

    private static Command StatusCommand(Terminal terminal)
    {
        var command = new Command("status", "Tells what runs. Exit code 0 when the platform is ready, else 1.");
        command.SetAction((_, cancel) => StatusCommands.StatusAsync(Workspace.FromEnvironment(), terminal, cancel));
        return command;
    }

    private static Command Token(Terminal terminal)
    {
        var organisation = new Option<string>("--org") { Description = "The organisation it speaks for.", DefaultValueFactory = _ => "demo" };
        var subject = new Option<string>("--subject") { Description = "Whom it names.", DefaultValueFactory = _ => "local-admin" };
        var scopes = new Option<string?>("--scopes") { Description = "What it allows, separated by spaces or commas. All there are when left out." };
        var lifetime = Duration("--lifetime", "How long it is valid, such as 30m, 8h or 7d.");
        lifetime.DefaultValueFactory = _ => TimeSpan.FromHours(8);
        var command = new Command("token", "Prints a bearer token of this home's issuer.") { organisation, subject, scopes, lifetime };
        command.SetAction(parsed => terminal.Output.WriteLine(Tokens.Issue(
            Workspace.FromEnvironment(),
            parsed.GetValue(organisation)!,
            parsed.GetValue(subject)!,
            parsed.GetValue(scopes)?.Split((char[])[' ', ','], StringSplitOptions.RemoveEmptyEntries),
            parsed.GetValue(lifetime))));
        return command;
    }

    private static Command Import(Terminal terminal)
    {
        var file = new Argument<FileInfo>("csv") { Description = "A file in the UCI Online Retail format." };
        var command = new Command("import", "Sends a shop's invoice lines through the public API. Safe to run again. Exit code 3 when lines were refused.") { file };
        command.SetAction((parsed, cancel) =>
            Importer.RunAsync(Workspace.FromEnvironment(), parsed.GetRequiredValue(file), terminal, cancel));
        return command;
    }

    private static Command GenerateEvents(Terminal terminal)
    {
        var count = new Option<long>("--count") { Description = "How many.", DefaultValueFactory = _ => 100_000 };
        var seed = new Option<int>("--seed") { Description = "Another one gives other events.", DefaultValueFactory = _ => 1 };
        var from = new Option<DateTime>("--from") { Description = "The day they begin, UTC.", DefaultValueFactory = _ => new DateTime(2025, 1, 1, 0, 0, 0, DateTimeKind.Utc) };
        var days = new Option<int>("--days") { Description = "How many days they go on.", DefaultValueFactory = _ => 365 };
        var output = new Option<string?>("--output") { Description = "Writes them to a file as NDJSON, or with - to the output, instead of sending them." };
        var command = new Command("events", "Sends a made-up shop's events through the public API; the same figures always make the same events.") { count, seed, from, days, output };
        Require(count, n => n is >= 1 and <= 1_000_000_000, "--count must be from 1 to 1,000,000,000.");
        Require(days, n => n is >= 1 and <= 3650, "--days must be from 1 to 3650.");
        Require(from, day => day.Year is >= 1970 and < 9000, "--from must be a day since 1970.");
        command.SetAction((parsed, cancel) =>
        {
            var plan = new EventPlan(
                parsed.GetValue(count), parsed.GetValue(seed), DateTime.SpecifyKind(parsed.GetValue(from).Date, DateTimeKind.Utc), parsed.GetValue(days));
            return parsed.GetValue(output) is { } file
                ? GenerateCommand.WriteAsync(plan, file, cancel)
                : GenerateCommand.SendAsync(Workspace.FromEnvironment(), plan, terminal, cancel);
        });
        return command;
    }

    private static Command RebuildAnalytics(Terminal terminal)
    {
        var verify = new Option<bool>("--verify") { Description = "Only compare; exit code 1 when anything differs." };
        var organisation = new Option<string?>("--org") { Description = "One organisation; all when left out." };
        var command = new Command("rebuild", "Computes the rollups once more from the events, and mends what differs.") { verify, organisation };
        command.SetAction((parsed, cancel) =>
            RebuildCommand.RunAsync(Workspace.FromEnvironment(), parsed.GetValue(organisation), parsed.GetValue(verify), terminal, cancel));
        return command;
    }

    private static Command Test(Terminal terminal)
    {
        var filter = new Option<string?>("--filter") { Description = "Only the tests this dotnet test filter names." };
        var noCoverage = new Option<bool>("--no-coverage") { Description = "Do not measure line coverage." };
        var fuzz = Duration("--fuzz", "Instead of the tests: random requests to every route for so long, such as 10m.");
        var seed = new Option<int?>("--seed") { Description = "Where the random requests start; another each time unless given." };
        var command = new Command("test", "Runs every test on a PostgreSQL of its own, and measures line coverage.") { filter, noCoverage, fuzz, seed };
        command.Validators.Add(result =>
        {
            if (result.GetResult(seed) is not null && result.GetResult(fuzz) is null)
                result.AddError("--seed goes with --fuzz.");
        });
        command.SetAction((parsed, cancel) => parsed.GetValue(fuzz) is { Ticks: > 0 } time
            ? TestCommand.FuzzAsync(Workspace.FromEnvironment(), time, parsed.GetValue(seed), terminal, cancel)
            : TestCommand.RunAsync(Workspace.FromEnvironment(), parsed.GetValue(filter), measureCoverage: !parsed.GetValue(noCoverage), terminal, cancel));
        return command;
    }

    private static Option<TimeSpan> Duration(string name, string description) => new(name)
    {
        Description = description,
        CustomParser = result =>
        {
            if (Durations.TryParse(result.Tokens[0].Value, out var time))
                return time;
            result.AddError($"'{result.Tokens[0].Value}' is no length of time for {name}; write 30m, 8h or 7d.");
            return default;
        },
    };

    private static void Require<T>(Option<T> option, Predicate<T> holds, string otherwise) => option.Validators.Add(result =>
    {
        if (!holds(result.GetValueOrDefault<T>()))
            result.AddError(otherwise);
    });

    private static Command Bench()
    {
        var rounds = new Option<int>("--rounds") { Description = "How often each figure is taken; the median counts.", DefaultValueFactory = _ => 5 };
        var events = new Option<long>("--events") { Description = "The larger of the two sizes.", DefaultValueFactory = _ => 10_000_000 };
        var analytics = new Command("analytics", "Measures analytics at 100,000 events and at many more: ingest, answers, and how exact they are.") { events };
        Require(events, n => n is >= 200_000 and <= 100_000_000, "--events must be from 200,000 to 100,000,000.");
        analytics.SetAction((parsed, cancel) => RunAsync("analytics", parsed.GetValue(events), cancel));
        var command = new Command("bench", "Measures the platform against a bare twin, on a PostgreSQL of its own.") { rounds, analytics };
        command.SetAction((parsed, cancel) => RunAsync("http", parsed.GetValue(rounds), cancel));
        return command;

        static Task<int> RunAsync(string what, long figure, CancellationToken cancel)
        {
            var workspace = Workspace.FromEnvironment();
            return Shell.RunDotnetAsync(
                workspace.Root,
                [
                    "run", "-c", "Release", "--project", Path.Combine("tests", "Agency.Performance"), "--",
                    what, Path.Combine(workspace.Home, "bench"), figure.ToString(CultureInfo.InvariantCulture),
                ],
                [],
                cancel);
        }
    }

    private static async Task MigrateAsync(Workspace workspace, Terminal terminal, CancellationToken cancel)
    {
        var applied = await terminal.StepAsync("Migrating the database", async say =>
        {
            var connection = await PostgresServer.EnsureAsync(workspace.Home, say, cancel);
            return await Migrator.RunAsync(PostgresSettings.From(connection), BuiltApps.WithMigrations, say, cancel);
        });
        await terminal.Output.WriteLineAsync(applied == 0
            ? "The database was up to date."
            : string.Create(CultureInfo.InvariantCulture, $"Applied {applied} migration(s)."));
    }
}
