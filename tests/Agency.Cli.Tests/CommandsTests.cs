using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Microsoft.IdentityModel.JsonWebTokens;

namespace Agency.Cli.Tests;

[Collection(Surroundings.Name)]
public sealed class CommandsTests : IAsyncLifetime
{
    private readonly TestHome _home = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync() => await _home.DisposeAsync();

    [Theory]
    [InlineData("frobnicate", "'frobnicate' is no command")]
    [InlineData("up now", "'now' is no command")]
    [InlineData("import", "argument missing")]
    [InlineData("token --lifetime soon", "'soon' is no length of time")]
    [InlineData("test --filter", "argument missing")]
    [InlineData("test --fuzz soon", "'soon' is no length of time")]
    [InlineData("test --seed 1", "--seed goes with --fuzz")]
    [InlineData("bench --rounds many", "many")]
    public async Task Wrong_usage_gets_a_sentence(string arguments, string sentence)
    {
        var (exit, terminal) = await RunAsync(arguments);
        Assert.Equal(2, exit);
        Assert.Contains(sentence, terminal.Error, StringComparison.Ordinal);
        Assert.Single(terminal.Error.Trim().Split('\n'));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("70000")]
    [InlineData("http")]
    public async Task A_port_that_is_none_gets_a_sentence(string port)
    {
        Environment.SetEnvironmentVariable("AGENCY_PORT", port);
        var (exit, terminal) = await RunAsync("status");
        Assert.Equal((2, $"agency: AGENCY_PORT must be a port from 1 to 65535, not '{port}'."), (exit, terminal.Error.Trim()));
    }

    [Fact]
    public async Task No_arguments_show_the_commands()
    {
        var (exit, terminal) = await RunAsync("");
        Assert.Equal(0, exit);
        foreach (var command in new[] { "up", "down", "status", "token", "migrate", "import", "test" })
            Assert.Contains($"  {command} ", terminal.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_file_or_an_absent_server_gets_a_sentence()
    {
        var (exit, terminal) = await RunAsync("import nowhere.csv");
        Assert.Equal(1, exit);
        Assert.Contains("There is no file", terminal.Error, StringComparison.Ordinal);
        var file = Path.Combine(_home.Folder, "a.csv");
        await File.WriteAllTextAsync(file, "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n");
        (exit, terminal) = await RunAsync($"import {file}");
        Assert.Equal((1, $"agency: Nothing answers at http://127.0.0.1:{_home.Port}/; start Agency with ./agency up."), (exit, terminal.Error.Trim()));
    }

    [Fact]
    public async Task A_token_stands_alone_on_the_output()
    {
        var (exit, terminal) = await RunAsync("token --org acme --subject me --scopes users:read,events:write --lifetime 30m");
        Assert.Equal((0, ""), (exit, terminal.Error));
        var token = new JsonWebToken(terminal.Output.Trim());
        Assert.Equal(("me", "acme", "users:read events:write"), (token.Subject, token.GetClaim("org_id").Value, token.GetClaim("scope").Value));
        Assert.Equal(TimeSpan.FromMinutes(30), token.ValidTo - token.ValidFrom);
        (_, terminal) = await RunAsync("token");
        Assert.Contains("users:write", new JsonWebToken(terminal.Output.Trim()).GetClaim("scope").Value, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nothing_that_runs_is_told_as_such()
    {
        var (exit, terminal) = await RunAsync("status");
        Assert.Equal(1, exit);
        Assert.Contains("stopped", terminal.Output, StringComparison.Ordinal);
        (exit, terminal) = await RunAsync("down");
        Assert.Equal((0, $"Nothing runs in {_home.Folder}."), (exit, terminal.Output.Trim()));
    }

    [Fact]
    public async Task A_home_that_cannot_be_one_gets_a_sentence()
    {
        Environment.SetEnvironmentVariable("AGENCY_HOME", Path.Combine(_home.Folder, "file", "home"));
        await File.WriteAllTextAsync(Path.Combine(_home.Folder, "file"), "");
        var (exit, terminal) = await RunAsync("token");
        Assert.Equal(1, exit);
        Assert.StartsWith("agency: ", terminal.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", terminal.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_in_use_gets_a_sentence_before_anything_starts()
    {
        using var stranger = new TcpListener(IPAddress.Loopback, _home.Port);
        stranger.Start();
        var (exit, terminal) = await RunAsync("up");
        Assert.Equal(1, exit);
        Assert.Contains($"Port {_home.Port} is in use", terminal.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(_home.Folder, "postgres")));
    }

    [Fact]
    public async Task The_platform_comes_up_tells_how_to_use_it_and_stops_with_its_server()
    {
        using var stop = new CancellationTokenSource();
        var terminal = new Captured();
        var up = Commands.RunAsync(["up"], terminal.Terminal, stop.Token);
        await WaitForAsync(() => terminal.Output.Contains("Ctrl-C stops it", StringComparison.Ordinal), up);
        Assert.Contains($"http://127.0.0.1:{_home.Port}/", terminal.Output, StringComparison.Ordinal);

        var (exit, status) = await RunAsync("status");
        Assert.Equal(0, exit);
        Assert.Contains("up to date", status.Output, StringComparison.Ordinal);
        var (second, refusal) = await RunAsync("up");
        Assert.Equal(1, second);
        Assert.Contains("already runs", refusal.Error, StringComparison.Ordinal);
        var (_, migrated) = await RunAsync("migrate");
        Assert.Contains("up to date", migrated.Output, StringComparison.Ordinal);

        var file = Path.Combine(_home.Folder, "shop.csv");
        await File.WriteAllTextAsync(
            file,
            """
            InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
            536365,85123A,"HOLDER, WHITE",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
            536365,85123A,"HOLDER, WHITE",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
            C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,0.0,EIRE
            """);
        var (first, imported) = await RunAsync($"import {file}");
        Assert.True(first == 0, imported.Error);
        Assert.Matches("users created +│ 1 ", imported.Output);
        Assert.Matches("lines accepted +│ 3 ", imported.Output);
        var (again, repeated) = await RunAsync($"import {file}");
        Assert.True(again == 0, repeated.Error);
        Assert.Matches("users already there +│ 1 ", repeated.Output);
        Assert.Matches("lines already there +│ 3 ", repeated.Output);

        await stop.CancelAsync();
        Assert.Equal(0, await up);
        Assert.Null(await PostgresServer.FindAsync(_home.Folder, CancellationToken.None));
    }

    [Fact]
    public async Task Down_stops_a_host_of_another_process_and_its_server()
    {
        using var host = Process.Start(new ProcessStartInfo("dotnet", [typeof(Commands).Assembly.Location, "up"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        host.BeginErrorReadLine();
        string? line;
        do
            line = await host.StandardOutput.ReadLineAsync();
        while (line is not null && !line.Contains("Ctrl-C", StringComparison.Ordinal));
        var (exit, terminal) = await RunAsync("down");
        Assert.Equal((0, "Stopped."), (exit, terminal.Output.Trim()));
        await host.WaitForExitAsync();
        Assert.Equal(0, host.ExitCode);
        Assert.Null(await PostgresServer.FindAsync(_home.Folder, CancellationToken.None));
    }

    [Fact]
    public async Task An_empty_server_gets_its_database_by_migrate()
    {
        var connection = await PostgresServer.EnsureAsync(_home.Folder, null, CancellationToken.None);
        Assert.NotEmpty(connection);
        var (_, before) = await RunAsync("status");
        Assert.Contains("no database yet", before.Output, StringComparison.Ordinal);
        var (exit, terminal) = await RunAsync("migrate");
        Assert.Equal(0, exit);
        Assert.StartsWith("Applied ", terminal.Output, StringComparison.Ordinal);
        var (_, after) = await RunAsync("status");
        Assert.Contains("up to date", after.Output, StringComparison.Ordinal);
    }

    private static async Task<(int Exit, Captured Terminal)> RunAsync(string arguments)
    {
        var terminal = new Captured();
        return (await Commands.RunAsync(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries), terminal.Terminal), terminal);
    }

    private static async Task WaitForAsync(Func<bool> condition, Task<int> running)
    {
        for (var clock = Stopwatch.StartNew(); !condition() && !running.IsCompleted && clock.Elapsed < TimeSpan.FromMinutes(5);)
            await Task.Delay(50);
        Assert.True(condition(), running.IsCompleted ? "The command ended before its time." : "It has not come about.");
    }
}
