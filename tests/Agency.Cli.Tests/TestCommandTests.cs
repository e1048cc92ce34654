namespace Agency.Cli.Tests;

[Collection(Surroundings.Name)]
public sealed class TestCommandTests
{
    [Fact]
    public async Task A_solution_that_does_not_build_fails_the_run_and_the_count_still_comes_last()
    {
        await using var home = new TestHome();
        var workspace = home.Workspace with { Root = home.Folder };
        var terminal = new Captured();
        Assert.Equal(1, await TestCommand.RunAsync(workspace, "Name=Nothing", measureCoverage: true, terminal.Terminal, CancellationToken.None));
        Assert.Contains("failed without a failed test", terminal.Error, StringComparison.Ordinal);
        Assert.Equal("0 passed, 0 failed, 0 skipped", terminal.OutputLines[^1]);
        Assert.False(await PostgresServer.StopForTestsAsync(home.Folder, CancellationToken.None));
    }

    [Fact]
    public async Task Two_runs_in_one_home_do_not_meet()
    {
        await using var home = new TestHome();
        Directory.CreateDirectory(Path.Combine(home.Folder, "test"));
        using var other = FileLock.TryTake(Path.Combine(home.Folder, "test", "run.lock"));
        var failure = await Assert.ThrowsAsync<CommandException>(() =>
            TestCommand.RunAsync(home.Workspace, null, measureCoverage: false, new Captured().Terminal, CancellationToken.None));
        Assert.Contains("Another ./agency test runs", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_without_tests_fails()
    {
        var folder = Directory.CreateTempSubdirectory("agency-report-").FullName;
        var terminal = new Captured();
        Assert.Equal(1, TestCommand.Conclude(folder, folder, 0, measureCoverage: false, isWhole: false, terminal.Terminal));
        Assert.Contains("no test ran", terminal.Error, StringComparison.Ordinal);
        Directory.Delete(folder);
    }
}
