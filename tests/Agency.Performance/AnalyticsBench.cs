using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Cli;
using Agency.Platform;
using Npgsql;
using Spectre.Console;

namespace Agency.Performance;

/// <summary>
/// Analytics at two sizes in one run: how fast events are taken in and counted, how long answers take as history grows, and how far the
/// estimates of who was there are from exact counts.
/// </summary>
internal static class AnalyticsBench
{
    private const long Small = 100_000;
    private const int BatchSize = 1000;
    private const int Connections = 4;
    private const int Days = 365;
    /// <summary>Rounds that do not count: the first answers pay for the compilers of .NET and the planner of PostgreSQL.</summary>
    private const int WarmUp = 200;
    /// <summary>The same for questions that take longer.</summary>
    private const int ScanWarmUp = 20;

    private static readonly DateTime From = new(2025, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    // Rollups alone answer these, so that their cost does not grow.
    private static readonly (string Name, Func<DateTime, string> Path)[] Rollups =
    [
        ("users, 30 days by day", day => $"/analytics/users?interval=day&from={day:yyyy-MM-dd}&to={day.AddDays(30):yyyy-MM-dd}"),
        ("users, a year by month", _ => $"/analytics/users?interval=month&from={From:yyyy-MM-dd}&to={From.AddDays(Days):yyyy-MM-dd}"),
        ("revenue, 30 days by day", day => $"/analytics/revenue?interval=day&from={day:yyyy-MM-dd}&to={day.AddDays(30):yyyy-MM-dd}"),
        ("revenue, a year by country", _ => $"/analytics/revenue?interval=week&by=country&from={From:yyyy-MM-dd}&to={From.AddDays(Days):yyyy-MM-dd}"),
        ("events, 30 days by day", day => $"/analytics/events?interval=day&event=page-view&from={day:yyyy-MM-dd}&to={day.AddDays(30):yyyy-MM-dd}"),
    ];

    // These read the events of their time.
    private static readonly (string Name, Func<DateTime, string> Path)[] Scans =
    [
        ("funnel, 4 steps, 30 days", day => $"/analytics/funnels?steps=page-view,product-view,add-to-cart,checkout&from={day:yyyy-MM-dd}&to={day.AddDays(30):yyyy-MM-dd}"),
    ];

    public static async Task RunAsync(string home, long large)
    {
        Directory.CreateDirectory(home);
        Bench.Say("Starting PostgreSQL");
        var server = await PostgresServer.EnsureAsync(home, Bench.Say, CancellationToken.None);
        await using var small = await SizeAsync(home, server, Small);
        await using var big = await SizeAsync(home, server, large);
        var rows = new List<AnalyticsMeasure>();
        foreach (var (name, figure) in new (string, Func<Size, double>)[]
        {
            ("ingest, events/s taken in", s => s.Taken),
            ("ingest, events/s counted too", s => s.Counted),
            ("ingest, events waiting to be counted, at most", s => s.MostWaiting),
            ("ingest, seconds to count the last of them", s => s.CatchUp),
            ("ingest, processor time of the host, µs/event", s => s.Processor),
        })
            rows.Add(new(name, figure(small), figure(big), null));
        // Of one age, so that only the history differs.
        await small.RestartAsync();
        await big.RestartAsync();
        // A P95 wants many answers; those of a scan take longer.
        await AskAsync(rows, Rollups, WarmUp, 600, small, big);
        await AskAsync(rows, Scans, ScanWarmUp, 40, small, big);
        await CompareUniquesAsync(rows, small, big);
        Print(rows, large);
        var file = Path.Combine(home, "analytics.json");
        await File.WriteAllTextAsync(file, JsonSerializer.Serialize(rows, AnalyticsBenchJson.Default.ListAnalyticsMeasure));
        AnsiConsole.MarkupLineInterpolated($"Written to {file}. Answers one after the other; load generator, host and PostgreSQL on the same machine.");
        await PostgresServer.StopAsync(home, CancellationToken.None);
    }

    private static async Task<Size> SizeAsync(string home, string server, long count)
    {
        var postgres = new NpgsqlConnectionStringBuilder(server) { Database = string.Create(CultureInfo.InvariantCulture, $"agency_bench_{count}") };
        await Bench.DropAsync(postgres);
        var settings = PostgresSettings.From(postgres.ConnectionString);
        await Migrator.RunAsync(settings, BuiltApps.WithMigrations, null, CancellationToken.None);
        var token = LocalIssuer.Open(home).Issue("bench", "bench", ["events:write", "analytics:read"], TimeSpan.FromHours(4));
        var size = new Size(() => Bench.HostAsync(home, postgres.ConnectionString, "memory", postgres.Database), NpgsqlDataSource.Create(settings.Admin), token);
        await size.RestartAsync();
        await IngestAsync(size, new(count, Seed: 1, From, Days));
        await size.RunAsync("vacuum (analyze)");
        await size.RunAsync("checkpoint");
        return size;
    }

    private static async Task IngestAsync(Size size, EventPlan plan)
    {
        using var generator = new EventGenerator(plan);
        var gate = new Lock();
        var sent = 0L;
        using var watching = new CancellationTokenSource();
        var watch = WatchAsync();
        var before = size.Host.ProcessorTime;
        var clock = Stopwatch.StartNew();
        var load = await Load.RunAsync(
            size.Host.Port,
            Connections,
            (_, _) =>
            {
                lock (gate)
                {
                    var batch = generator.NextBatch(BatchSize);
                    Interlocked.Add(ref sent, BatchSize);
                    return batch is null ? default(ReadOnlyMemory<byte>?) : Load.Request("POST", "/events", size.Token, batch);
                }
            },
            200);
        if (load.Errors > 0)
            throw new InvalidOperationException($"{load.Errors} of {load.Requests} batches failed.");
        var taken = clock.Elapsed.TotalSeconds;
        while (await size.WaitingAsync() > 0)
            await Task.Delay(5);
        var counted = clock.Elapsed.TotalSeconds;
        await watching.CancelAsync();
        await watch;
        (size.Taken, size.Counted, size.CatchUp) = (plan.Count / taken, plan.Count / counted, counted - taken);
        size.Processor = (size.Host.ProcessorTime - before).TotalMicroseconds / plan.Count;

        async Task WatchAsync()
        {
            var (last, since) = (0L, Stopwatch.StartNew());
            while (!watching.IsCancellationRequested)
            {
                await Task.Delay(500);
                var waiting = await size.WaitingAsync() * BatchSize;
                size.MostWaiting = Math.Max(size.MostWaiting, waiting);
                if (since.Elapsed < TimeSpan.FromSeconds(10))
                    continue;
                var now = Math.Min(Interlocked.Read(ref sent), plan.Count);
                Bench.Say(string.Create(CultureInfo.InvariantCulture,
                    $"{now:N0} of {plan.Count:N0} events, {(now - last) / since.Elapsed.TotalSeconds:N0}/s, {waiting:N0} waiting to be counted"));
                (last, since) = (now, Stopwatch.StartNew());
            }
        }
    }

    private static async Task AskAsync(List<AnalyticsMeasure> rows, (string Name, Func<DateTime, string> Path)[] questions, int warmUp, int rounds, Size small, Size big)
    {
        foreach (var (name, path) in questions)
        {
            var (smalls, bigs) = (new List<double>(), new List<double>());
            var random = new Random(1);
            for (var round = -warmUp; round < rounds; round++)
            {
                // Both sizes in turn, so that what else the machine does hits both.
                var question = path(From.AddDays(random.Next(Days - 45)));
                var (one, other) = (await small.AskAsync(question), await big.AskAsync(question));
                if (round < 0)
                    continue;
                smalls.Add(one.Milliseconds);
                bigs.Add(other.Milliseconds);
            }

            rows.Add(new(name + ", P50 ms", Bench.Median(smalls), Bench.Median(bigs), Bench.Median(bigs) / Bench.Median(smalls)));
            rows.Add(new(name + ", P95 ms", P95(smalls), P95(bigs), P95(bigs) / P95(smalls)));
        }
    }

    /// <summary>The largest relative error over the year, its months and its days.</summary>
    private static async Task CompareUniquesAsync(List<AnalyticsMeasure> rows, Size small, Size big)
    {
        var errors = new List<double>();
        foreach (var size in (Size[])[small, big])
        {
            var worst = 0.0;
            foreach (var interval in (string[])["day", "month"])
            {
                var answer = (await size.AskAsync($"/analytics/users?interval={interval}&from={From:yyyy-MM-dd}&to={From.AddDays(Days):yyyy-MM-dd}")).Answer;
                foreach (var point in answer.GetProperty("series").EnumerateArray())
                {
                    var start = point.GetProperty("start").GetDateTime();
                    worst = Math.Max(worst, await ErrorAsync(size, point, start, interval == "day" ? start.AddDays(1) : start.AddMonths(1)));
                }

                worst = Math.Max(worst, await ErrorAsync(size, answer.GetProperty("totals"), From, From.AddDays(Days)));
            }

            errors.Add(worst * 100);
        }

        rows.Add(new("uniques, largest error against exact counts, %", errors[0], errors[1], null));

        static async Task<double> ErrorAsync(Size size, JsonElement counts, DateTime from, DateTime to)
        {
            var worst = 0.0;
            foreach (var (name, kind) in new[] { ("active", 0), ("anonymous", 1) })
            {
                var exact = await size.ScalarAsync($"""
                    select count(distinct visitor) from analytics.events
                    where visitor & 1 = {kind} and occurred_at >= '{from:yyyy-MM-dd}Z' and occurred_at < '{to:yyyy-MM-dd}Z'
                    """);
                if (exact > 0)
                    worst = Math.Max(worst, Math.Abs(counts.GetProperty(name).GetInt64() - exact) / (double)exact);
            }

            return worst;
        }
    }

    /// <summary>The median over parts of the answers, as what else the machine does for a moment hits many that follow each other.</summary>
    private static double P95(List<double> values) => Bench.Median(values.Chunk(values.Count / Math.Max(values.Count / 100, 1))
        .Select(part => part.Order().ElementAt((int)(part.Length * 0.95))));

    private static void Print(List<AnalyticsMeasure> rows, long large)
    {
        var table = new Table().AddColumns("what", Small.ToString("N0", CultureInfo.InvariantCulture), large.ToString("N0", CultureInfo.InvariantCulture), "ratio");
        foreach (var column in table.Columns.Skip(1))
            column.RightAligned();
        foreach (var row in rows)
            table.AddRow(row.What, Bench.Number(row.Small), Bench.Number(row.Large), Bench.Number(row.Ratio));
        AnsiConsole.Write(table);
    }

    /// <summary>A database with so many events, and the host in front of it.</summary>
    private sealed class Size(Func<Task<ServerProcess>> start, NpgsqlDataSource database, string token) : IAsyncDisposable
    {
        private HttpClient? _http;
        private ServerProcess? _host;

        public ServerProcess Host => _host ?? throw new InvalidOperationException("The host has not been started.");

        public string Token { get; } = token;

        public double Taken { get; set; }

        public double Counted { get; set; }

        public double MostWaiting { get; set; }

        public double CatchUp { get; set; }

        public double Processor { get; set; }

        public async Task RestartAsync()
        {
            await StopAsync();
            _host = await start();
            _http = new()
            {
                BaseAddress = new Uri(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{_host.Port}")),
                DefaultRequestHeaders = { Authorization = new("Bearer", Token) },
            };
        }

        public Task<long> WaitingAsync() => ScalarAsync("select count(*) from analytics.pending_batches");

        public async Task<(double Milliseconds, JsonElement Answer)> AskAsync(string path)
        {
            var clock = Stopwatch.StartNew();
            using var answer = await _http!.GetAsync(new Uri(path, UriKind.Relative));
            var body = await answer.Content.ReadAsByteArrayAsync();
            var time = clock.Elapsed.TotalMilliseconds;
            return answer.IsSuccessStatusCode ? (time, JsonDocument.Parse(body).RootElement)
                : throw new InvalidOperationException($"{path}: {(int)answer.StatusCode} {System.Text.Encoding.UTF8.GetString(body)}");
        }

        public async Task<long> ScalarAsync(string sql)
        {
            await using var command = database.CreateCommand(sql);
            command.CommandTimeout = 600;
            return (long)(await command.ExecuteScalarAsync())!;
        }

        public async Task RunAsync(string sql)
        {
            await using var command = database.CreateCommand(sql);
            command.CommandTimeout = 600;
            await command.ExecuteNonQueryAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await StopAsync();
            await database.DisposeAsync();
        }

        private async Task StopAsync()
        {
            _http?.Dispose();
            if (_host is not null)
                await _host.DisposeAsync();
        }
    }
}

/// <summary>One figure at both sizes; the ratio where it is to stay flat.</summary>
internal sealed record AnalyticsMeasure(string What, double Small, double Large, double? Ratio);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, WriteIndented = true)]
[JsonSerializable(typeof(List<AnalyticsMeasure>))]
internal sealed partial class AnalyticsBenchJson : JsonSerializerContext;
