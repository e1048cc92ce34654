namespace Agency.Cli.Tests;

public sealed class TestReportTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("agency-report-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Lines_count_as_run_when_any_project_ran_them()
    {
        Source("shared/A/A.cs");
        Source("functions/users/B/B.cs");
        var first = Report("1", _root + "/", ("shared/A/A.cs", [(1, 1), (2, 0), (3, 0)]), ("functions/users/B/B.cs", [(1, 0)]));
        var second = Report("2", Path.Combine(_root, "shared") + "/", ("A/A.cs", [(2, 5), (3, 0), (4, 0)]));
        var coverage = LineCoverage.Read(_root, [first, second]);
        Assert.Equal((2, 4), coverage.Below("shared"));
        Assert.Equal((0, 1), coverage.Below("functions"));
        Assert.Equal((2, 5), coverage.Below("shared", "functions"));
        Assert.Equal([("shared/A/A.cs", 2, 4), ("functions/users/B/B.cs", 1, 1)], coverage.Worst(10, "shared", "functions"));
    }

    [Fact]
    public void Generated_files_and_files_from_elsewhere_do_not_count()
    {
        Source("shared/A/obj/Release/X.cs");
        Source("shared/A/Y.g.cs");
        Source("tests/T.cs");
        var report = Report("1", _root + "/", ("shared/A/obj/Release/X.cs", [(1, 1)]), ("shared/A/Y.g.cs", [(1, 1)]), ("tests/T.cs", [(1, 1)]), ("gone.cs", [(1, 1)]));
        Assert.Equal((0, 0), LineCoverage.Read(_root, [report]).Below("shared", "functions"));
    }

    [Fact]
    public void Results_of_all_projects_are_summed_and_skips_say_why()
    {
        var results = TestResults.Read([Trx("a", ("T.One", "Passed"), ("T.Two", "NotExecuted")), Trx("b", ("U.One", "Passed"), ("U.Two", "Failed"))]);
        Assert.Equal("2 passed, 1 failed, 1 skipped", results.ToString());
        Assert.Equal([("T.Two", "because of the weather")], results.Skips);
    }

    [Fact]
    public void A_broken_report_gets_a_sentence()
    {
        var file = Source("broken.xml");
        Assert.Contains(file, Assert.Throws<CommandException>(() => TestResults.Read([file])).Message, StringComparison.Ordinal);
        Assert.Contains(file, Assert.Throws<CommandException>(() => LineCoverage.Read(_root, [file])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_last_line_of_a_good_run_counts_the_tests()
    {
        Source("shared/A.cs");
        Report("1", _root + "/", ("shared/A.cs", [(1, 1)]));
        Trx("a", ("T.One", "Passed"), ("T.Two", "NotExecuted"));
        var terminal = new Captured();
        Assert.Equal(0, TestCommand.Conclude(_root, _root, 0, measureCoverage: true, isWhole: true, terminal.Terminal));
        Assert.Equal("1 passed, 0 failed, 1 skipped", terminal.OutputLines[^1]);
        Assert.Contains("Skipped T.Two: because of the weather", terminal.OutputLines);
        Assert.Contains("Line coverage of together: 100.0 % (1 of 1 lines)", terminal.OutputLines);
    }

    [Fact]
    public void Too_little_coverage_fails_a_whole_run_and_names_the_files()
    {
        Source("shared/A.cs");
        Report("1", _root + "/", ("shared/A.cs", [(1, 1), (2, 0)]));
        Trx("a", ("T.One", "Passed"));
        var terminal = new Captured();
        Assert.Equal(1, TestCommand.Conclude(_root, _root, 0, measureCoverage: true, isWhole: true, terminal.Terminal));
        Assert.Contains("shared/A.cs", terminal.Error, StringComparison.Ordinal);
        Assert.Equal("1 passed, 0 failed, 0 skipped", terminal.OutputLines[^1]);
        Assert.Equal(0, TestCommand.Conclude(_root, _root, 0, measureCoverage: true, isWhole: false, new Captured().Terminal));
        Assert.Equal(0, TestCommand.Conclude(_root, _root, 0, measureCoverage: false, isWhole: true, new Captured().Terminal));
    }

    [Fact]
    public void A_run_that_failed_without_a_failed_test_still_fails()
    {
        Trx("a", ("T.One", "Passed"));
        var terminal = new Captured();
        Assert.Equal(1, TestCommand.Conclude(_root, _root, 1, measureCoverage: false, isWhole: true, terminal.Terminal));
        Assert.Contains("without a failed test", terminal.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_failed_test_is_named_at_the_end_with_what_it_says()
    {
        Trx("a", ("T.One", "Passed"), ("T.Two", "Failed"));
        var terminal = new Captured();
        Assert.Equal(1, TestCommand.Conclude(_root, _root, 1, measureCoverage: false, isWhole: true, terminal.Terminal));
        Assert.Contains("Failed T.Two: because of the weather", terminal.Error, StringComparison.Ordinal);
        Assert.Equal("1 passed, 1 failed, 0 skipped", terminal.OutputLines[^1]);
    }

    private string Source(string path)
    {
        var file = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, "// nothing");
        return file;
    }

    private string Report(string name, string source, params (string File, (int Number, int Hits)[] Lines)[] classes)
    {
        var file = Path.Combine(_root, name, "coverage.cobertura.xml");
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        var body = string.Concat(classes.Select(type =>
            $"<class filename=\"{type.File}\"><lines>{string.Concat(type.Lines.Select(line => $"<line number=\"{line.Number}\" hits=\"{line.Hits}\" />"))}</lines></class>"));
        File.WriteAllText(file, $"<coverage><sources><source>{source}</source></sources><packages><package><classes>{body}</classes></package></packages></coverage>");
        return file;
    }

    private string Trx(string name, params (string Test, string Outcome)[] results)
    {
        var file = Path.Combine(_root, name + ".trx");
        var body = string.Concat(results.Select(result =>
            $"<UnitTestResult testName=\"{result.Test}\" outcome=\"{result.Outcome}\"><Output><ErrorInfo><Message>because of the weather</Message></ErrorInfo></Output></UnitTestResult>"));
        File.WriteAllText(file, $"<TestRun xmlns=\"http://microsoft.com/schemas/VisualStudio/TeamTest/2010\"><Results>{body}</Results></TestRun>");
        return file;
    }
}
