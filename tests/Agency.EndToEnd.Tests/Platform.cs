using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Reflection;
using System.Text;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;
using Npgsql;

namespace Agency.EndToEnd.Tests;

/// <summary>What a command did.</summary>
public sealed record Ran(int ExitCode, string Output, string Error);

/// <summary>The command line as a process of its own, with everything it prints.</summary>
public sealed class CommandProcess : IDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();

    private CommandProcess(Process process) => _process = process;

    public int Id => _process.Id;

    public bool IsRunning => !_process.HasExited;

    public string Output => Read(_output);

    public string Error => Read(_error);

    public static CommandProcess Start(IReadOnlyDictionary<string, string?> environment, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Agency.Cli.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        var process = new CommandProcess(new() { StartInfo = start });
        process._process.OutputDataReceived += (_, line) => Add(process._output, line.Data);
        process._process.ErrorDataReceived += (_, line) => Add(process._error, line.Data);
        process._process.Start();
        process._process.BeginOutputReadLine();
        process._process.BeginErrorReadLine();
        return process;
    }

    public async Task<Ran> EndAsync(TimeSpan? within = null)
    {
        using var timeout = new CancellationTokenSource(within ?? TimeSpan.FromSeconds(120));
        try
        {
            await _process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"The command did not end.\n{Output}\n{Error}");
        }

        return new(_process.ExitCode, Output, Error);
    }

    /// <summary>SIGKILL: no code of the process runs any more.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    /// <param name="signal">Its name without SIG.</param>
    public async Task SignalAsync(string signal)
    {
        using var kill = Process.Start("kill", ["-" + signal, Id.ToString(CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync();
    }

    public void Dispose()
    {
        if (IsRunning)
            _process.Kill();
        _process.Dispose();
    }

    private static void Add(StringBuilder text, string? line)
    {
        if (line is not null)
            lock (text)
                text.AppendLine(line);
    }

    private static string Read(StringBuilder text)
    {
        lock (text)
            return text.ToString();
    }
}

/// <summary>A home, a port and a database of their own, and the host that <c>up</c> runs there.</summary>
public sealed class Platform : IAsyncLifetime
{
    // Below the ports that a system hands out by itself, so that none is taken while its host is down.
    private const int FirstPort = 7500;
    private const int Ports = 100;
    private static int _lastPort = Random.Shared.Next(Ports);
    private readonly string _database = $"e2e_{Guid.NewGuid():N}"[..20];
    private readonly string _connection;
    private readonly ConcurrentBag<string> _log = [];
    private readonly ConcurrentBag<string> _tokens = [];
    private LocalIssuer? _issuer;
    private CommandProcess? _host;

    public Platform() => _connection = new NpgsqlConnectionStringBuilder(TestDatabase.Server) { Database = _database, MaxPoolSize = 30, Timeout = 60 }.ConnectionString;

    public string Home { get; } = Directory.CreateTempSubdirectory("agency-e2e-").FullName;

    public int Port { get; } = FreePort();

    public Uri Address => new(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{Port}"));

    public CommandProcess Host => _host ?? throw new InvalidOperationException("The host was never started.");

    /// <summary>The owner's way in, past row-level security.</summary>
    public NpgsqlDataSource Database { get; private set; } = null!;

    public PostgresSettings Settings => PostgresSettings.From(_connection);

    /// <summary>All that the hosts and commands of this platform have printed.</summary>
    public string Log => string.Concat(_log) + _host?.Output + _host?.Error;

    /// <summary>Every token that was handed out here.</summary>
    public IReadOnlyCollection<string> Tokens => _tokens;

    public IReadOnlyDictionary<string, string?> Environment => new Dictionary<string, string?>
    {
        ["AGENCY_HOME"] = Home,
        ["AGENCY_PORT"] = Port.ToString(CultureInfo.InvariantCulture),
        ["AGENCY_POSTGRES"] = _connection,
        ["AGENCY_TOKEN"] = null,
    };

    public async Task InitializeAsync()
    {
        await UpAsync();
        Database = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(_connection) { MaxPoolSize = 5, ApplicationName = "test" });
    }

    public async Task DisposeAsync()
    {
        if (_host is { IsRunning: true })
            await _host.KillAsync();
        _host?.Dispose();
        if (Database is not null)
            await Database.DisposeAsync();
        await using (var server = NpgsqlDataSource.Create(TestDatabase.Server))
        {
            foreach (var sql in new[]
            {
                $"drop database if exists {_database} with (force)",
                $"drop role if exists {_database}_app, {_database}_system",
            })
            {
                await using var command = server.CreateCommand(sql);
                await command.ExecuteNonQueryAsync();
            }
        }

        Directory.Delete(Home, recursive: true);
    }

    /// <summary>Starts the host and waits until it says that it is ready.</summary>
    public async Task UpAsync()
    {
        if (_host is not null)
        {
            _log.Add(_host.Output + _host.Error);
            _host.Dispose();
        }

        _host = CommandProcess.Start(Environment, "up");
        for (var clock = Stopwatch.StartNew(); !_host.Output.Contains("Ctrl-C stops it", StringComparison.Ordinal);)
        {
            Assert.True(_host.IsRunning && clock.Elapsed < TimeSpan.FromSeconds(120), $"The host does not start.\n{_host.Output}\n{_host.Error}");
            await Task.Delay(20);
        }
    }

    /// <summary>Starts the host where the test before has failed and left none.</summary>
    public Task StayUpAsync() => Host.IsRunning ? Task.CompletedTask : UpAsync();

    /// <summary>kill -9, then up again.</summary>
    public async Task CrashAndUpAsync()
    {
        await Host.KillAsync();
        await UpAsync();
    }

    /// <summary>Runs another command of this home to its end.</summary>
    public async Task<Ran> RunAsync(string? token, params IEnumerable<string> arguments)
    {
        using var command = Start(token, arguments);
        var ran = await command.EndAsync();
        _log.Add(ran.Output + ran.Error);
        return ran;
    }

    /// <summary>Starts another command of this home.</summary>
    /// <param name="token">In AGENCY_TOKEN.</param>
    public CommandProcess Start(string? token, params IEnumerable<string> arguments) =>
        CommandProcess.Start(new Dictionary<string, string?>(Environment) { ["AGENCY_TOKEN"] = token }, arguments);

    /// <summary>A token for everything that this build can do.</summary>
    public string Token(string organisation)
    {
        var token = (_issuer ??= LocalIssuer.Open(Home)).Issue(organisation, "tester", Functions.Scopes, TimeSpan.FromHours(1));
        _tokens.Add(token);
        return token;
    }

    public HttpClient Client(string organisation)
    {
        var client = new HttpClient { BaseAddress = Address, Timeout = TimeSpan.FromSeconds(60) };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token(organisation));
        return client;
    }

    public async Task<T> ScalarAsync<T>(string sql)
    {
        await using var command = Database.CreateCommand(sql);
        return (T)(await command.ExecuteScalarAsync())!;
    }

    public async Task ExecuteAsync(string sql)
    {
        await using var command = Database.CreateCommand(sql);
        await command.ExecuteNonQueryAsync();
    }

    public async Task<List<string>> LinesAsync(string sql)
    {
        await using var command = Database.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var lines = new List<string>();
        while (await reader.ReadAsync())
            lines.Add(reader.GetString(0));
        return lines;
    }

    /// <summary>Waits until the database has no work of a killed host left.</summary>
    public Task GoneAsync() => HttpTesting.EventuallyAsync(
        () => ScalarAsync<long>($"select count(*) from pg_stat_activity where datname = '{_database}' and usename in ('{_database}_app', '{_database}_system')"),
        sessions => sessions == 0);

    /// <summary>Ends the statements that a killed host has left behind, as a crash of the machine would.</summary>
    public Task TerminateSessionsAsync() => ExecuteAsync(
        $"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{_database}' and usename in ('{_database}_app', '{_database}_system')");

    /// <summary>Every consumer group of this build and the topic it reads, found as the host finds them.</summary>
    public static IReadOnlyList<(string Group, string Topic)> ConsumerGroups { get; } =
    [
        .. Functions.Of<KafkaTriggerAttribute>().Select(f => (f.Trigger.ConsumerGroup ?? f.Name, f.Trigger.Topic)),
    ];

    /// <summary>For a from clause: the rows (g, e) of each consumer group and the events that are for it.</summary>
    public static string Deliveries =>
        "(values " + string.Join(", ", ConsumerGroups.Select(g => $"('{g.Group}', '{g.Topic}')"))
        // As the log has it, a topic that begins with ^ is a regular expression.
        + ") as g (group_name, topic) join platform.events e on e.topic = g.topic or (g.topic like '^%' and e.topic ~ g.topic)";

    /// <summary>The same, of events after the group's offset only.</summary>
    public static string Unread =>
        $"{Deliveries} left join embedded.consumer_offsets o on o.group_name = g.group_name and o.topic = g.topic and o.position >= e.position";

    /// <summary>Waits until every consumer group has read all there is.</summary>
    public Task CaughtUpAsync() => HttpTesting.EventuallyAsync(
        () => ScalarAsync<long>($"""
            select (select count(*) from platform.events where position is null) + (select count(*) from platform.parked where state <> 'dead')
              + (select count(*) from {Unread} where o.position is null)
            """),
        behind => behind == 0,
        TimeSpan.FromSeconds(60));

    /// <summary>A digest of every row that an organisation has in these schemas.</summary>
    public async Task<string> SnapshotAsync(string organisation, params IEnumerable<string> schemas)
    {
        var tables = await LinesAsync($"""
            select c.oid::regclass::text
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where a.attname = 'tenant_id' and c.relkind in ('r', 'p') and n.nspname in ({string.Join(", ", schemas.Select(s => $"'{s}'"))})
            order by 1
            """);
        Assert.NotEmpty(tables);
        return string.Join('\n', await LinesAsync(string.Join(" union all ", tables.Select(table =>
            $"select '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' order by t::text)), '') from {table} t where tenant_id = '{organisation}'"))));
    }

    private static int FreePort()
    {
        while (true)
        {
            var port = FirstPort + (Interlocked.Increment(ref _lastPort) % Ports);
            using var listener = new TcpListener(System.Net.IPAddress.Loopback, port);
            try
            {
                listener.Start();
                return port;
            }
            catch (SocketException)
            {
                // Somebody has it; the next, then.
            }
        }
    }
}

/// <summary>The functions of this build, from the list that the command line carries.</summary>
internal static class Functions
{
    private static readonly MethodInfo[] Methods =
    [
        .. Assembly.Load("Agency.Cli").GetCustomAttributes<AssemblyMetadataAttribute>()
            .Single(list => list.Key == "FunctionApps").Value!.Split(';')
            .Select(Assembly.Load)
            .SelectMany(app => app.GetExportedTypes())
            .SelectMany(type => type.GetMethods())
            .Where(method => method.IsDefined(typeof(FunctionAttribute))),
    ];

    /// <summary>Every scope that some function asks for.</summary>
    public static IReadOnlyList<string> Scopes { get; } = [.. Methods.Select(method => method.GetCustomAttribute<RequireScopeAttribute>()?.Scope).OfType<string>().Distinct()];

    /// <summary>Every function with such a trigger.</summary>
    public static IEnumerable<(string Name, T Trigger)> Of<T>()
        where T : Attribute => Methods
            .SelectMany(
                method => method.GetParameters(),
                (method, parameter) => (method.GetCustomAttribute<FunctionAttribute>()!.Name, Trigger: parameter.GetCustomAttribute<T>()))
            .Where(f => f.Trigger is not null)
            .Select(f => (f.Name, f.Trigger!));
}
