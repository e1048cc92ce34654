using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Agency.Architecture.Tests;

/// <summary>The rules of the house, read from the files themselves, so that a new app is held to them by existing.</summary>
public sealed partial class HouseTests
{
    private const int MaxFiles = 3;
    private const int MaxLines = 110;

    private static readonly string Root = FindRoot();

    public static TheoryData<string> Apps => [.. Directory.GetDirectories(Path.Combine(Root, "functions"))
        .SelectMany(Directory.GetDirectories)
        .Where(folder => Path.GetFileName(folder) != "Domain" && Directory.GetFiles(folder, "*.csproj").Length > 0)
        .Select(folder => Path.GetRelativePath(Root, folder))];

    public static TheoryData<string> Projects => [.. new[] { "functions", "shared", "tests" }
        .SelectMany(folder => Directory.GetFiles(Path.Combine(Root, folder), "*.csproj", SearchOption.AllDirectories))
        .Select(file => Path.GetRelativePath(Root, file))];

    [Theory]
    [MemberData(nameof(Apps))]
    public void An_app_is_small_and_named_once(string app)
    {
        var name = Path.GetFileName(app);
        var sources = Sources(app);
        Assert.True(File.Exists(Path.Combine(Root, app, name + ".csproj")), "The project is named like its folder.");
        Assert.True(File.Exists(Path.Combine(Root, app, name + ".cs")), "The slice is named like its folder.");
        Assert.InRange(Directory.GetFiles(Path.Combine(Root, app)).Length, 2, MaxFiles);
        Assert.InRange(sources.Sum(file => File.ReadAllLines(file).Length), 1, MaxLines);
        Assert.Single(File.ReadAllLines(Path.Combine(Root, app, name + ".csproj")), line => line.Length > 0);

        var text = string.Join('\n', sources.Select(File.ReadAllText));
        Assert.Equal([name], FunctionName().Matches(text).Select(m => m.Groups[1].Value));
        Assert.Matches($@"public sealed class {name}\b", text);
    }

    [Theory]
    [MemberData(nameof(Apps))]
    public void An_http_app_says_who_may_call_it(string app)
    {
        var text = string.Join('\n', Sources(app).Select(File.ReadAllText));
        if (text.Contains("[HttpTrigger", StringComparison.Ordinal))
            Assert.Matches(@"RequireScope\(""[a-z-]+:[a-z]+""\)|AllowAnonymous", text);
    }

    [Theory]
    [MemberData(nameof(Apps))]
    public void No_source_depends_on_which_build_it_is(string app) =>
        Assert.All(Sources(app), file => Assert.DoesNotContain("#if", File.ReadAllText(file), StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(Projects))]
    public void Arrows_point_one_way(string project)
    {
        var references = References(project);
        if (project.StartsWith("functions", StringComparison.Ordinal))
        {
            // What an app refers to is said once, in functions/Directory.Build.targets.
            Assert.Empty(references);
            return;
        }

        var name = Path.GetFileNameWithoutExtension(project);
        string[] allowed = name switch
        {
            "Agency.Worker" => [],
            "Agency.Platform" => ["Agency.Worker"],
            "Agency.Embedded" => ["Agency.Platform"],
            _ when name.StartsWith("Agency.Engines.", StringComparison.Ordinal) => ["Agency.Platform"],
            "Agency.Hosting" => ["Agency.Platform", "Agency.Embedded", .. references.Where(r => r.StartsWith("Agency.Engines.", StringComparison.Ordinal))],
            // The command line hosts the apps, and brings what the domains need into the database.
            "Agency.Cli" => ["Agency.Hosting", "@(Domain)", "@(FunctionApp)"],
            _ when project.StartsWith("tests", StringComparison.Ordinal) => references,
            _ => [],
        };
        Assert.Subset(allowed.ToHashSet(), references.ToHashSet());
    }

    [Fact]
    public void The_targets_give_an_app_its_domain_and_the_composition_root_only()
    {
        var targets = XDocument.Load(Path.Combine(Root, "functions", "Directory.Build.targets"));
        var app = targets.Descendants("ItemGroup").Where(g => ((string?)g.Attribute("Condition"))?.Contains("IsDomain)' != 'true'", StringComparison.Ordinal) == true);
        Assert.Equal(
            ["$(MSBuildProjectDirectory)/../Domain/*.csproj", "$(RepositoryRoot)shared/Agency.Hosting/Agency.Hosting.csproj"],
            app.Descendants("ProjectReference").Select(r => (string)r.Attribute("Include")!));
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void The_solution_lists_every_project(string project) =>
        Assert.Contains(project.Replace('/', '\\'), File.ReadAllText(Path.Combine(Root, "Agency.Functions.sln")), StringComparison.Ordinal);

    [Fact]
    public void Only_the_composition_root_and_tests_name_an_engine()
    {
        var offenders = Directory.GetFiles(Root, "*.cs", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(Root, file))
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
            .Where(file => file.StartsWith("functions", StringComparison.Ordinal) || file.StartsWith("shared/Agency.Platform", StringComparison.Ordinal))
            .Where(file => EngineUse().IsMatch(File.ReadAllText(Path.Combine(Root, file))));
        Assert.Empty(offenders);
    }

    private static string[] Sources(string app) => Directory.GetFiles(Path.Combine(Root, app), "*.cs");

    private static string[] References(string project) =>
        [.. XDocument.Load(Path.Combine(Root, project)).Descendants("ProjectReference")
            .Select(r => Path.GetFileNameWithoutExtension(((string)r.Attribute("Include")!).Replace('\\', '/')))];

    private static string FindRoot([CallerFilePath] string file = "")
    {
        var folder = Path.GetDirectoryName(file)!;
        while (!File.Exists(Path.Combine(folder, "global.json")))
            folder = Path.GetDirectoryName(folder) ?? throw new DirectoryNotFoundException("The repository's root is not above " + file);
        return folder;
    }

    [GeneratedRegex(@"\[Function\(nameof\((\w+)\)")]
    private static partial Regex FunctionName();

    [GeneratedRegex(@"\bAgency\.(Embedded|Engines)\b")]
    private static partial Regex EngineUse();
}
