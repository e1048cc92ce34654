using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Npgsql;

namespace Agency.Cli;

/// <summary>
/// The PostgreSQL of one home folder: found or made, started, stopped. It runs detached from the process that starts it, so it outlives
/// a killed host and the next start finds it. It listens on 127.0.0.1 only, on a port chosen once, with a random password.
/// </summary>
public sealed partial class PostgresServer
{
    /// <summary>The environment variable that names a server to use instead of one of our own.</summary>
    public const string ConnectionVariable = "AGENCY_POSTGRES";

    /// <summary>The same for tests.</summary>
    public const string TestConnectionVariable = "AGENCY_TEST_POSTGRES";

    private const string Database = "agency";
    private const int StartAttempts = 10;

    // What the log says when a moment's wait, or another port, will help.
    private static readonly string[] Passing = ["shared memory block", "already exists", "could not create any TCP/IP sockets"];
    private readonly string _home;
    private readonly string _npmHome;
    private readonly bool _isDurable;
    private ServerAccount _account = null!;
    private string _folder = "";

    private PostgresServer(string home, string npmHome, bool isDurable) =>
        (_home, _npmHome, _isDurable) = (Path.GetFullPath(home), Path.GetFullPath(npmHome), isDurable);

    private string SettingsFile => Path.Combine(_home, "postgres.json");

    // Everything in here belongs to the user that the server runs as.
    private string Cluster => Path.Combine(_folder, "cluster");

    private string Data => Path.Combine(Cluster, "data");

    private string Log => Path.Combine(Cluster, "server.log");

    /// <summary>
    /// A running server: the one that <c>AGENCY_POSTGRES</c> names, else the home's own, made and started when needed.
    /// Returns an administrator's connection string; its database may not exist yet.
    /// </summary>
    /// <param name="home">The folder that holds the server's state.</param>
    /// <param name="progress">Told, in a few words, of every step that may take longer than a second.</param>
    /// <exception cref="CommandException">No server can be had; the message says why and what to do.</exception>
    public static Task<string> EnsureAsync(string home, Action<string>? progress, CancellationToken cancel) =>
        EnsureAsync(ConnectionVariable, new(home, home, isDurable: true), progress, cancel);

    /// <summary>
    /// The same for tests, below <c>test/</c> of the home or named by <c>AGENCY_TEST_POSTGRES</c>: a server that does not wait for the disk
    /// and so may lose its data with the machine's power.
    /// </summary>
    /// <inheritdoc cref="EnsureAsync(string, Action{string}?, CancellationToken)"/>
    public static Task<string> EnsureForTestsAsync(string home, Action<string>? progress, CancellationToken cancel) =>
        EnsureAsync(TestConnectionVariable, ForTests(home), progress, cancel);

    /// <summary>The connection string of this home's server when it runs, or of the one the environment names when that answers; else null.</summary>
    public static async Task<string?> FindAsync(string home, CancellationToken cancel)
    {
        if (Environment.GetEnvironmentVariable(ConnectionVariable) is { Length: > 0 } named)
            return await TryConnectAsync(Parse(ConnectionVariable, named), cancel) is null ? named : null;
        var settings = new PostgresServer(home, home, isDurable: true).ReadSettings();
        return settings is not null && await TryConnectAsync(settings.Connection(), cancel) is null ? settings.Connection() : null;
    }

    /// <summary>Stops the home's own server, ending its sessions. False when it was not running. Never touches a server named by the environment.</summary>
    public static Task<bool> StopAsync(string home, CancellationToken cancel) => new PostgresServer(home, home, isDurable: true).StopAsync(cancel);

    /// <summary>Stops the home's server for tests.</summary>
    public static Task<bool> StopForTestsAsync(string home, CancellationToken cancel) => ForTests(home).StopAsync(cancel);

    /// <summary>Stops the home's server for tests and removes all it holds.</summary>
    public static Task RemoveForTestsAsync(string home, CancellationToken cancel) => ForTests(home).RemoveAsync(cancel);

    private static PostgresServer ForTests(string home) => new(Path.Combine(home, "test"), home, isDurable: false);

    private static async Task<string> EnsureAsync(string variable, PostgresServer own, Action<string>? progress, CancellationToken cancel)
    {
        if (Environment.GetEnvironmentVariable(variable) is not { Length: > 0 } named)
            return await own.EnsureAsync(progress, cancel);
        return await TryConnectAsync(Parse(variable, named), cancel) is { } failure
            ? throw new CommandException($"The PostgreSQL that {variable} names cannot be used: {failure.Message.TrimEnd('.')}.")
            : named;
    }

    private static string Parse(string variable, string connection)
    {
        try
        {
            return new NpgsqlConnectionStringBuilder(connection) is { Host: not null, Database: not null } parsed
                ? parsed.ConnectionString
                : throw new CommandException($"{variable} needs at least Host=...;Database=...;Username=... .");
        }
        catch (Exception wrong) when (wrong is ArgumentException or FormatException or KeyNotFoundException)
        {
            throw new CommandException($"{variable} is not a connection string: {wrong.Message.TrimEnd('.')}.");
        }
    }

    private async Task<string> EnsureAsync(Action<string>? progress, CancellationToken cancel)
    {
        Directory.CreateDirectory(_home);
        await using var turn = await WaitForTurnAsync(progress, cancel);
        var settings = ReadSettings();
        // The quick way first: a second start usually finds the server running.
        if (settings is not null && await TryConnectAsync(settings.Connection(), cancel) is null)
            return settings.Connection();

        _account ??= await ServerAccount.FindAsync(cancel);
        _folder = await FolderAsync(_home, progress, cancel);
        var binaries = await PostgresBinaries.FindAsync(
            _account, Path.Combine(await FolderAsync(_npmHome, null, cancel), "npm"), Major(), progress, cancel);
        // A home that was removed took its data with it, also the part that could not lie inside.
        if (settings is null && Directory.Exists(Data) && !Data.StartsWith(_home, StringComparison.Ordinal))
        {
            await StopAsync(binaries, cancel);
            Directory.Delete(Cluster, recursive: true);
        }

        if (!Directory.Exists(Data))
            settings = await CreateAsync(binaries, progress, cancel);
        else if (settings is null)
            throw new CommandException($"{SettingsFile} is gone, and with it the password of {Data}; remove that folder to start anew.");
        return (await StartAsync(binaries, settings!, progress, cancel)).Connection();
    }

    private int? Major() =>
        File.Exists(Path.Combine(Data, "PG_VERSION"))
            ? int.Parse(File.ReadAllText(Path.Combine(Data, "PG_VERSION")).Trim().Split('.')[0], CultureInfo.InvariantCulture)
            : null;

    /// <summary>
    /// Where the server's files are: inside the home, unless the user that the server runs as may not enter it (a home below /root).
    /// Then a folder that goes with this home, of /var/lib, as root is who asks; what lies in /var/tmp is swept away after a month.
    /// </summary>
    private async Task<string> FolderAsync(string home, Action<string>? progress, CancellationToken cancel)
    {
        Directory.CreateDirectory(home);
        if (await _account.CanEnterAsync(home, cancel))
            return Path.Combine(home, "postgres");
        var key = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(home)))[..16];
        var folder = $"/var/lib/agency/{key}";
        progress?.Invoke($"The user {_account.User} may not enter {home}, so PostgreSQL's files are in {folder}");
        Directory.CreateDirectory(folder);
        await Shell.RunAsync("chmod", ["755", "/var/lib/agency", folder], null, cancel);
        return folder;
    }

    private async Task<Settings> CreateAsync(PostgresBinaries binaries, Action<string>? progress, CancellationToken cancel)
    {
        progress?.Invoke($"Creating a PostgreSQL {binaries.Major} database cluster");
        var fresh = Data + ".new";
        if (Directory.Exists(fresh))
            Directory.Delete(fresh, recursive: true);
        Directory.CreateDirectory(Cluster);
        var settings = new Settings(FreePort(), RandomNumberGenerator.GetHexString(32, lowercase: true));
        var password = Path.Combine(Cluster, "password");
        await WritePrivateAsync(password, settings.Password, cancel);
        await _account.OwnAsync(Cluster, cancel);
        // The builtin locale sorts the same on every machine and never changes under an index; older servers get its nearest kin.
        string[] locale = binaries.Major >= 17
            ? ["--locale-provider=builtin", "--locale=C.UTF-8", "--lc-collate=C", "--lc-ctype=C", "--lc-messages=C"]
            : ["--locale=C", OperatingSystem.IsMacOS() ? "--lc-ctype=UTF-8" : "--lc-ctype=C.UTF-8"];
        var (exit, output) = await _account.RunAsync(
            Cluster,
            binaries.Program("initdb"),
            ["-D", fresh, "-U", "postgres", "-E", "UTF8", .. locale, "-A", "scram-sha-256", $"--pwfile={password}", .. _isDurable ? [] : (string[])["-N"]],
            cancel);
        File.Delete(password);
        if (exit != 0)
            throw new CommandException($"PostgreSQL could not create its files in {fresh}: {output}");
        await File.AppendAllTextAsync(Path.Combine(fresh, "postgresql.conf"), "\ninclude '../agency.conf'\n", cancel);
        await WritePrivateAsync(SettingsFile, JsonSerializer.Serialize(settings, CliJson.Default.Settings), cancel);
        // Last, so that a half-made cluster is never taken for a whole one.
        Directory.Move(fresh, Data);
        return settings;
    }

    private async Task<Settings> StartAsync(PostgresBinaries binaries, Settings settings, Action<string>? progress, CancellationToken cancel)
    {
        progress?.Invoke($"Starting PostgreSQL {binaries.Major}");
        for (var attempt = 1; ; attempt++)
        {
            DisownDeadServer();
            if (IsTaken(settings.Port))
            {
                settings = settings with { Port = FreePort() };
                await WritePrivateAsync(SettingsFile, JsonSerializer.Serialize(settings, CliJson.Default.Settings), cancel);
            }

            await File.WriteAllTextAsync(Path.Combine(Cluster, "agency.conf"), Configuration(settings.Port), cancel);
            await _account.OwnAsync(Path.Combine(Cluster, "agency.conf"), cancel);
            var from = File.Exists(Log) ? new FileInfo(Log).Length : 0;
            // pg_ctl starts a session of its own: neither Ctrl-C nor a killed host reaches the server.
            var (exit, output) = await _account.RunAsync(Cluster, binaries.Program("pg_ctl"), ["start", "-D", Data, "-l", Log, "-w", "-t", "120"], cancel);
            if (await TryConnectAsync(settings.Connection(), cancel) is not { } failure)
                return settings;
            var log = await ReadLogAsync(from, cancel);
            // After a crash the dead server's children need a moment to notice, and hold its shared memory until then.
            if (attempt < StartAttempts && Passing.Any(text => log.Contains(text, StringComparison.Ordinal)))
                await Task.Delay(TimeSpan.FromMilliseconds(500), cancel);
            else
                throw new CommandException($"PostgreSQL did not start: {(exit == 0 ? failure.Message : log.Length > 0 ? log : output)} (log: {Log})");
        }
    }

    /// <summary>
    /// The pid file of a dead server may hold a number that another program has since been given, or that a zombie keeps where nobody
    /// reaps: PostgreSQL would not start, and a stop would hit a stranger. Such a number becomes one that nobody has; the rest of the
    /// file stays, as PostgreSQL finds by it whether children of the dead server still hold its memory.
    /// </summary>
    private void DisownDeadServer()
    {
        var file = Path.Combine(Data, "postmaster.pid");
        if (!File.Exists(file))
            return;
        var lines = File.ReadAllLines(file);
        if (lines is [var first, ..] && int.TryParse(first, CultureInfo.InvariantCulture, out var id) && IsNoServer(id))
            File.WriteAllLines(file, [int.MaxValue.ToString(CultureInfo.InvariantCulture), .. lines[1..]]);
    }

    private static bool IsNoServer(int id)
    {
        try
        {
            using var process = System.Diagnostics.Process.GetProcessById(id);
            var status = $"/proc/{id}/status";
            return !process.ProcessName.StartsWith("postgres", StringComparison.Ordinal)
                || (File.Exists(status) && File.ReadLines(status).Any(line => line.StartsWith("State:\tZ", StringComparison.Ordinal)));
        }
        catch (Exception gone) when (gone is ArgumentException or InvalidOperationException or IOException)
        {
            // It ended: PostgreSQL sees that for itself.
            return false;
        }
    }

    private async Task<bool> StopAsync(CancellationToken cancel)
    {
        if (!Directory.Exists(_home) || ReadSettings() is null)
            return false;
        await using var turn = await WaitForTurnAsync(null, cancel);
        _account ??= await ServerAccount.FindAsync(cancel);
        _folder = await FolderAsync(_home, null, cancel);
        if (!File.Exists(Path.Combine(Data, "postmaster.pid")))
            return false;
        var binaries = await PostgresBinaries.FindAsync(
            _account, Path.Combine(await FolderAsync(_npmHome, null, cancel), "npm"), Major(), null, cancel);
        return await StopAsync(binaries, cancel);
    }

    private async Task RemoveAsync(CancellationToken cancel)
    {
        await StopAsync(cancel);
        _account ??= await ServerAccount.FindAsync(cancel);
        _folder = await FolderAsync(_home, null, cancel);
        if (Directory.Exists(_folder))
            Directory.Delete(_folder, recursive: true);
        File.Delete(SettingsFile);
    }

    private async Task<bool> StopAsync(PostgresBinaries binaries, CancellationToken cancel)
    {
        DisownDeadServer();
        var (exit, _) = await _account.RunAsync(Cluster, binaries.Program("pg_ctl"), ["stop", "-D", Data, "-m", "fast", "-w", "-t", "60"], cancel);
        return exit == 0;
    }

    private string Configuration(int port)
    {
        // Of the container, where there is one. The indexes that new events touch at random should be in memory.
        var memory = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        return
        $"""
        # Written anew at every start.
        listen_addresses = '127.0.0.1'
        port = {port}
        unix_socket_directories = ''
        max_connections = {(_isDurable ? 200 : 1000)}
        shared_buffers = {Mebibytes(memory / 8, 128, 2048)}MB
        effective_cache_size = {Mebibytes(memory / 2, 512, 16384)}MB
        random_page_cost = 1.1
        jit = off
        # Parallel workers want more shared memory than a container may have, and its queries are short.
        max_parallel_workers_per_gather = 0
        wal_compression = on
        min_wal_size = 256MB
        max_wal_size = 4GB
        checkpoint_timeout = 15min
        fsync = {(_isDurable ? "on" : "off")}
        synchronous_commit = {(_isDurable ? "on" : "off")}
        full_page_writes = {(_isDurable ? "on" : "off")}
        timezone = 'UTC'
        log_timezone = 'UTC'
        log_checkpoints = off

        """;

        static int Mebibytes(long bytes, int least, int most) => (int)Math.Clamp(bytes >> 20, least, most);
    }

    private async Task<string> ReadLogAsync(long from, CancellationToken cancel)
    {
        if (!File.Exists(Log))
            return "";
        await using var stream = new FileStream(Log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        stream.Seek(from, SeekOrigin.Begin);
        using var reader = new StreamReader(stream);
        return string.Join(' ', (await reader.ReadToEndAsync(cancel)).Split('\n').Where(line => line.Contains("FATAL", StringComparison.Ordinal)));
    }

    /// <summary>Two processes of one home must not create or start its server at once.</summary>
    private async Task<FileStream> WaitForTurnAsync(Action<string>? progress, CancellationToken cancel)
    {
        for (var isTold = false; ; isTold = true)
        {
            if (FileLock.TryTake(Path.Combine(_home, "postgres.lock")) is { } turn)
                return turn;
            if (!isTold)
                progress?.Invoke("Waiting for another command that starts or stops this PostgreSQL");
            await Task.Delay(TimeSpan.FromMilliseconds(100), cancel);
        }
    }

    /// <summary>Null when the server answers this user, also when the database does not exist yet; else why not.</summary>
    private static async Task<NpgsqlException?> TryConnectAsync(string connectionString, CancellationToken cancel)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false };
        for (var end = DateTime.UtcNow.AddMinutes(2); ;)
        {
            try
            {
                await using var connection = new NpgsqlConnection(settings.ConnectionString);
                await connection.OpenAsync(cancel);
                return null;
            }
            catch (PostgresException missing) when (missing.SqlState == PostgresErrorCodes.InvalidCatalogName)
            {
                return null;
            }
            catch (PostgresException starting) when (starting.SqlState == PostgresErrorCodes.CannotConnectNow && DateTime.UtcNow < end)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), cancel);
            }
            catch (NpgsqlException failure)
            {
                return failure;
            }
        }
    }

    // Below the range from which systems give out ports for outgoing connections, so that it is still free at the next start.
    private static int FreePort() =>
        Enumerable.Range(0, 1000).Select(_ => RandomNumberGenerator.GetInt32(15000, 30000)).First(port => !IsTaken(port));

    /// <summary>True when something listens on this port of 127.0.0.1 or may not share it.</summary>
    internal static bool IsTaken(int port)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Loopback, port);
            listener.Start();
            return false;
        }
        catch (SocketException)
        {
            return true;
        }
    }

    private Settings? ReadSettings() =>
        File.Exists(SettingsFile) ? JsonSerializer.Deserialize(File.ReadAllText(SettingsFile), CliJson.Default.Settings) : null;

    private static async Task WritePrivateAsync(string file, string text, CancellationToken cancel)
    {
        File.Delete(file);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        await using var stream = new FileStream(file, options);
        await stream.WriteAsync(Encoding.UTF8.GetBytes(text), cancel);
    }

    /// <summary>What must be remembered of a server to find it again.</summary>
    internal sealed record Settings(int Port, string Password)
    {
        public string Connection() => $"Host=127.0.0.1;Port={Port};Database={Database};Username=postgres;Password={Password}";
    }
}

[JsonSerializable(typeof(PostgresServer.Settings))]
internal sealed partial class CliJson : JsonSerializerContext;
