using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Cli;
using Agency.Performance;
using Agency.Platform;
using Npgsql;
using Spectre.Console;

// Measures the platform against a bare twin in the same run: ./agency bench [analytics]. The figures are this machine's; the ratios are what counts.
if (args is ["twin", var twinPort, var twinDatabase])
{
    await Twin.RunAsync(int.Parse(twinPort, CultureInfo.InvariantCulture), twinDatabase);
    return 0;
}

if (args is not [var what, var home, var figure])
    throw new ArgumentException("What to measure, the folder for its state, and how many rounds or events.");
if (what == "analytics")
    await AnalyticsBench.RunAsync(home, long.Parse(figure, CultureInfo.InvariantCulture));
else
    await Bench.RunAsync(home, int.Parse(figure, CultureInfo.InvariantCulture));
return 0;

internal static class Bench
{
    private const int Connections = 32;
    private const int Users = 1000;
    private const int BatchSize = 100;
    private const int Batches = 600;
    private static readonly TimeSpan Round = TimeSpan.FromSeconds(3);
    private static readonly string Here = AppContext.BaseDirectory;

    public static async Task RunAsync(string home, int rounds)
    {
        Directory.CreateDirectory(home);
        Say("Starting PostgreSQL");
        var postgres = new NpgsqlConnectionStringBuilder(await PostgresServer.EnsureAsync(home, Say, CancellationToken.None)) { Database = "agency_bench" };
        await DropAsync(postgres);
        var settings = PostgresSettings.From(postgres.ConnectionString);
        await Migrator.RunAsync(settings, BuiltApps.WithMigrations, null, CancellationToken.None);
        var token = LocalIssuer.Open(home).Issue("bench", "bench", ["users:read", "users:write", "events:write"], TimeSpan.FromHours(2));

        Say("Starting the host with and without its cache, and the twin");
        await using var cached = await HostAsync(home, postgres.ConnectionString, "memory");
        await using var uncached = await HostAsync(home, postgres.ConnectionString, "none");
        await using var twin = await ServerProcess.StartAsync(
            Path.Combine(Here, "Agency.Performance.dll"), port => ["twin", port.ToString(CultureInfo.InvariantCulture), settings.Admin], _ => [], "/");
        Say($"Creating {Users} users");
        var users = await CreateUsersAsync(uncached.Port, token);

        var rows = new List<Measure>();
        await CompareReadsAsync(rows, rounds, users, token, twin, uncached, cached);
        await MeasureEventsAsync(rows, rounds, token, uncached, settings);
        rows.Add(new("idle host, all functions", "resident memory, MiB", null, cached.Memory, null));
        Print(rows);
        var file = Path.Combine(home, "bench.json");
        await File.WriteAllTextAsync(file, JsonSerializer.Serialize(rows, BenchJson.Default.ListMeasure));
        AnsiConsole.MarkupLineInterpolated($"Written to {file}. Medians of {rounds} rounds, {Connections} connections, load generator on the same machine.");
        await PostgresServer.StopAsync(home, CancellationToken.None);
    }

    private static async Task CompareReadsAsync(
        List<Measure> rows, int rounds, string[] users, string token, ServerProcess twin, ServerProcess uncached, ServerProcess cached)
    {
        // Many users, so that requests at one moment do not share a read.
        ReadOnlyMemory<byte>[] Requests(string? bearer) => [.. users.Select(user => Load.Request("GET", user, bearer))];
        (string Name, ServerProcess Server, ReadOnlyMemory<byte>[] Requests)[] sides =
        [
            ("twin", twin, Requests(null)),
            ("without cache", uncached, Requests(token)),
            ("with cache", cached, Requests(token)),
        ];
        foreach (var side in sides)
            await Load.RunForAsync(side.Server.Port, Connections, Round, side.Requests, 200);
        var seen = sides.ToDictionary(s => s.Name, _ => new List<(LoadResult Load, double Cpu, double Alone)>());
        for (var round = 1; round <= rounds; round++)
        {
            Say($"GET /users/{{id}}, round {round} of {rounds}");
            foreach (var side in sides)
            {
                var before = side.Server.ProcessorTime;
                var load = await Load.RunForAsync(side.Server.Port, Connections, Round, side.Requests, 200);
                if (load.Errors > 0)
                    throw new InvalidOperationException($"{load.Errors} of {load.Requests} requests to the {side.Name} failed.");
                var cpu = (side.Server.ProcessorTime - before).TotalMicroseconds / load.Requests;
                // With nobody else in the queue, the difference to the twin is what the platform itself adds.
                var alone = await Load.RunForAsync(side.Server.Port, 1, TimeSpan.FromSeconds(1), side.Requests, 200);
                seen[side.Name].Add((load, cpu, alone.P50 * 1000));
            }
        }

        foreach (var side in sides.Skip(1))
        {
            Add("requests/s", s => s.Load.PerSecond, higherIsBetter: true);
            Add("P50, ms", s => s.Load.P50);
            Add("P95, ms", s => s.Load.P95);
            Add("processor time of the server, µs/request", s => s.Cpu);
            Add("P50 of one connection alone, µs", s => s.Alone);
            var added = Median(seen[side.Name].Zip(seen["twin"], (our, bare) => our.Alone - bare.Alone));
            rows.Add(new($"GET /users/{{id}} {side.Name}", "added to the P50 of one connection, µs", null, added, null));

            void Add(string unit, Func<(LoadResult Load, double Cpu, double Alone), double> figure, bool higherIsBetter = false)
            {
                var twins = seen["twin"].ConvertAll(s => figure(s));
                var ours = seen[side.Name].ConvertAll(s => figure(s));
                // Cost relative to the twin, round by round: above 1 the platform is dearer.
                var ratio = Median(ours.Zip(twins, (our, bare) => higherIsBetter ? bare / our : our / bare));
                rows.Add(new($"GET /users/{{id}} {side.Name}", unit, Median(twins), Median(ours), ratio));
            }
        }
    }

    private static async Task MeasureEventsAsync(List<Measure> rows, int rounds, string token, ServerProcess host, PostgresSettings settings)
    {
        await using var system = NpgsqlDataSource.Create(settings.System);
        var accepted = new List<double>();
        var rolledUp = new List<double>();
        var cpu = new List<double>();
        var p95 = new List<double>();
        for (var round = 0; round <= rounds; round++)
        {
            Say($"POST /events in batches of {BatchSize}, round {round} of {rounds} (0 warms up)");
            var requests = Enumerable.Range(0, Batches).Select(batch => Load.Request("POST", "/events", token, EventBatch(round, batch))).ToArray();
            var number = -1;
            var before = host.ProcessorTime;
            var clock = System.Diagnostics.Stopwatch.StartNew();
            var load = await Load.RunAsync(
                host.Port, 8, (_, _) => Interlocked.Increment(ref number) is var n && n < requests.Length ? requests[n] : default(ReadOnlyMemory<byte>?), 200);
            if (load.Errors > 0)
                throw new InvalidOperationException($"{load.Errors} of {load.Requests} batches failed.");
            await CatchUpAsync(system);
            if (round == 0)
                continue;
            accepted.Add(load.Requests * BatchSize / load.Seconds);
            rolledUp.Add(load.Requests * BatchSize / clock.Elapsed.TotalSeconds);
            cpu.Add((host.ProcessorTime - before).TotalMicroseconds / (load.Requests * BatchSize));
            p95.Add(load.P95);
        }

        rows.Add(new("POST /events × 100", "events/s accepted", null, Median(accepted), null));
        rows.Add(new("POST /events × 100", "events/s accepted and rolled up", null, Median(rolledUp), null));
        rows.Add(new("POST /events × 100", "P95 of a batch, ms", null, Median(p95), null));
        rows.Add(new("POST /events × 100", "processor time of the host, µs/event", null, Median(cpu), null));
    }

    /// <summary>Waits until no event lacks a position and the rollup group has read the last one.</summary>
    private static async Task CatchUpAsync(NpgsqlDataSource system)
    {
        for (var end = DateTime.UtcNow.AddMinutes(2); ;)
        {
            await using var command = system.CreateCommand("""
                select not exists (select from platform.events where position is null)
                  and (select max(position) from platform.events where topic = 'agency.analytics')
                    = (select position from embedded.consumer_offsets where group_name = 'RollUpEvents')
                """);
            if (await command.ExecuteScalarAsync() is true)
                return;
            if (DateTime.UtcNow > end)
                throw new TimeoutException("The rollups did not catch up within two minutes.");
            await Task.Delay(5);
        }
    }

    private static byte[] EventBatch(int round, int batch)
    {
        var random = new Random((round * 100_000) + batch);
        var text = new StringBuilder("[");
        for (var i = 0; i < BatchSize; i++)
        {
            var time = new DateTime(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc).AddSeconds(random.Next(86400 * 30));
            text.Append(CultureInfo.InvariantCulture, $$$"""
                {{{(i == 0 ? "" : ",")}}}{"messageId":"b{{{round}}}-{{{batch}}}-{{{i}}}","event":"order-line","userId":"u{{{Zipf(random, 5000)}}}","time":"{{{time:O}}}","properties":{"orderId":"o{{{random.Next(20000)}}}","productId":"p{{{Zipf(random, 1000)}}}","product":"A product","quantity":{{{random.Next(1, 10)}}},"unitPrice":{{{random.Next(100, 9999) / 100.0m}}},"currency":"GBP","country":"GB","cancelled":false}}
                """);
        }

        return Encoding.UTF8.GetBytes(text.Append(']').ToString());
    }

    private static int Zipf(Random random, int n) => (int)Math.Pow(n, random.NextDouble());

    internal static Task<ServerProcess> HostAsync(string home, string connectionString, string cache, string? name = null) => ServerProcess.StartAsync(
        Path.Combine(Here, "Agency.Cli.dll"),
        _ => ["up"],
        port => new()
        {
            ["AGENCY_POSTGRES"] = connectionString,
            ["AGENCY_PORT"] = port.ToString(CultureInfo.InvariantCulture),
            // A home of its own, with the issuer's key of ours.
            ["AGENCY_HOME"] = Copy(home, name ?? cache),
            ["Engines__Cache"] = cache,
        },
        "/health/ready");

    private static string Copy(string home, string name)
    {
        var keys = Directory.CreateDirectory(Path.Combine(home, name, "keys"));
        File.Copy(Path.Combine(home, "keys", "issuer.pem"), Path.Combine(keys.FullName, "issuer.pem"), overwrite: true);
        return Path.Combine(home, name);
    }

    private static async Task<string[]> CreateUsersAsync(int port, string token)
    {
        using var http = new HttpClient { BaseAddress = new Uri(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}")) };
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        var users = new string[Users];
        await Parallel.ForAsync(0, Users, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (i, cancel) =>
        {
            var json = $$"""{"email":"bench-{{i}}@example.com","name":"Bench {{i}}","country":"GB","tags":["a","b"]}""";
            using var body = new StringContent(json, Encoding.UTF8, "application/json");
            var answer = await http.PostAsync(new Uri("/users", UriKind.Relative), body, cancel);
            answer.EnsureSuccessStatusCode();
            users[i] = answer.Headers.Location!.ToString();
        });
        return users;
    }

    internal static async Task DropAsync(NpgsqlConnectionStringBuilder database)
    {
        await using var server = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(database.ConnectionString) { Database = "postgres" });
        await using var command = server.CreateCommand($"drop database if exists {database.Database} with (force)");
        await command.ExecuteNonQueryAsync();
    }

    private static void Print(List<Measure> rows)
    {
        var table = new Table().AddColumns("what", "unit", "bare twin", "Agency", "cost / twin");
        foreach (var column in table.Columns.Skip(2))
            column.RightAligned();
        foreach (var row in rows)
            table.AddRow(row.What, row.Unit, Number(row.Twin), Number(row.Ours), Number(row.Ratio));
        AnsiConsole.Write(table);
    }

    internal static string Number(double? value) => value is not { } v ? "" : v.ToString(v >= 1000 ? "N0" : v >= 100 ? "F0" : "F2", CultureInfo.InvariantCulture);

    internal static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    internal static void Say(string text) => AnsiConsole.MarkupLineInterpolated($"[grey]{text}[/]");
}

/// <summary>One figure: a median over rounds. The ratio is the median of the rounds' own ratios, above 1 when we cost more than the twin.</summary>
internal sealed record Measure(string What, string Unit, double? Twin, double Ours, double? Ratio);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, WriteIndented = true)]
[JsonSerializable(typeof(List<Measure>))]
internal sealed partial class BenchJson : JsonSerializerContext;
