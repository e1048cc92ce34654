namespace Agency.Cli.Tests;

public sealed class TerminalTests
{
    [Fact]
    public async Task Steps_and_progress_are_plain_lines_when_nobody_watches()
    {
        var captured = new Captured();
        Assert.Equal(1, await captured.Terminal.StepAsync("First", say =>
        {
            say("First");
            say("Second");
            return Task.FromResult(1);
        }));
        Assert.Equal(2, await captured.Terminal.ProgressAsync("Third", async report =>
        {
            report(0.1, "too soon to tell");
            await Task.Delay(TimeSpan.FromSeconds(1.1));
            report(0.5, "half");
            return 2;
        }));
        Assert.Equal("First ...\nSecond ...\nThird ...\n 50 %  half\n", captured.Error);
        Assert.Empty(captured.Output);
    }

    [Fact]
    public async Task A_watched_step_returns_what_its_work_returns()
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var terminal = new Terminal(output, error, isInteractive: true);
        Assert.Equal(1, await terminal.StepAsync("Step [1]", say =>
        {
            say("[odd] text");
            return Task.FromResult(1);
        }));
        Assert.Equal(2, await terminal.ProgressAsync("Progress [2]", report =>
        {
            report(0.5, "[half]");
            return Task.FromResult(2);
        }));
        Assert.Empty(output.ToString());
    }
}
