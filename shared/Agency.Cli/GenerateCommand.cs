using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;

namespace Agency.Cli;

/// <summary><c>./agency generate events</c>: made-up events, through the public API or into a file.</summary>
internal static class GenerateCommand
{
    private const int EventsPerRequest = 1000;
    private const int RequestsInFlight = 4;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    /// <summary>Sends them to what runs at the workspace's address. The same again is known there and not counted twice.</summary>
    /// <exception cref="CommandException">The server cannot be reached, refuses, or stopped answering.</exception>
    public static async Task SendAsync(Workspace workspace, EventPlan plan, Terminal terminal, CancellationToken cancel)
    {
        using var api = ApiClient.Of(workspace, "generate", Patience);
        await api.RequireAsync(cancel);
        var clock = Stopwatch.StartNew();
        var (accepted, duplicates) = (0L, 0L);
        using var generator = new EventGenerator(plan);
        await terminal.ProgressAsync("Generating events", async report =>
        {
            await Parallel.ForEachAsync(
                Batches(generator),
                new ParallelOptions { MaxDegreeOfParallelism = RequestsInFlight, CancellationToken = cancel },
                async (batch, stop) =>
                {
                    using var answer = await api.PostAsync("/events", batch, null, stop);
                    if (!answer.IsSuccessStatusCode)
                        throw new CommandException($"the server refuses a batch: {await ApiClient.DescribeAsync(answer, stop)}");
                    var result = (await answer.Content.ReadFromJsonAsync(ImportJson.Default.EventsAnswer, stop))!;
                    Interlocked.Add(ref duplicates, result.Duplicates);
                    var sent = Interlocked.Add(ref accepted, result.Accepted) + Interlocked.Read(ref duplicates);
                    report((double)sent / plan.Count, string.Create(CultureInfo.InvariantCulture, $"{sent:N0} events"));
                });
            return true;
        });
        terminal.Table("Generated",
        [
            ("events accepted", accepted.ToString("N0", CultureInfo.InvariantCulture)),
            ("events already there", duplicates.ToString("N0", CultureInfo.InvariantCulture)),
            ("events/s", (plan.Count / clock.Elapsed.TotalSeconds).ToString("N0", CultureInfo.InvariantCulture)),
        ]);
    }

    /// <summary>Writes them as NDJSON.</summary>
    /// <param name="file">Made anew; <c>-</c> for the standard output.</param>
    public static async Task WriteAsync(EventPlan plan, string file, CancellationToken cancel)
    {
        await using var output = file == "-" ? Console.OpenStandardOutput() : File.Create(file);
        await using var buffered = new BufferedStream(output, 1 << 16);
        using var generator = new EventGenerator(plan);
        while (generator.NextLine() is { } line)
        {
            await buffered.WriteAsync(line, cancel);
            buffered.WriteByte((byte)'\n');
        }
    }

    private static IEnumerable<byte[]> Batches(EventGenerator generator)
    {
        while (generator.NextBatch(EventsPerRequest) is { } batch)
            yield return batch;
    }
}
