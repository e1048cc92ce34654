using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Runtime.CompilerServices;

namespace Agency.Cli;

/// <summary>
/// Sends a file of invoice lines through the public API: each customer becomes a user, each line an <c>order-line</c> event.
/// Message ids are stable, so the server drops what it already has and an import may be run again at any time.
/// </summary>
internal sealed class Importer : IDisposable
{
    private const int LinesPerRequest = 500;
    private const int RequestsInFlight = 3;
    private const int UsersInFlight = 8;
    private const int MostReported = 100;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly ApiClient _api;
    private readonly SemaphoreSlim _userSlots = new(UsersInFlight);
    private readonly ConcurrentDictionary<string, Lazy<Task>> _users = new();
    private readonly ConcurrentBag<(int Line, string Reason)> _refused = [];
    private int _read, _usersCreated, _usersKnown, _usersRefused, _accepted, _duplicates;

    private Importer(ApiClient api) => _api = api;

    private int Sent => _accepted + _duplicates;

    /// <summary>Returns 0 when every line is on the server, 3 when some were refused.</summary>
    /// <exception cref="CommandException">The file cannot be read, the server not reached, or it stopped answering.</exception>
    public static Task<int> RunAsync(Workspace workspace, FileInfo file, Terminal terminal, CancellationToken cancel) =>
        RunAsync(workspace, file, terminal, Patience, cancel);

    internal static async Task<int> RunAsync(Workspace workspace, FileInfo file, Terminal terminal, TimeSpan patience, CancellationToken cancel)
    {
        if (!file.Exists)
            throw new CommandException($"There is no file {file.FullName}.");
        using var api = ApiClient.Of(workspace, "import", patience);
        using var importer = new Importer(api);
        await using var stream = file.OpenRead();
        using var text = new StreamReader(stream, Utf8OrLatin1.Encoding, detectEncodingFromByteOrderMarks: true);
        var lines = await OnlineRetail.OpenAsync(text, cancel);
        await api.RequireAsync(cancel);
        var clock = Stopwatch.StartNew();
        try
        {
            await terminal.ProgressAsync($"Importing {file.Name}", async report =>
            {
                await importer.SendAsync(lines, () => report((double)stream.Position / Math.Max(stream.Length, 1), importer.Describe()), cancel);
                return true;
            });
        }
        catch (Exception stopped) when (stopped is CommandException or OperationCanceledException)
        {
            importer.Report(terminal);
            var reason = stopped is CommandException ? stopped.Message : "it was interrupted";
            throw new CommandException(string.Create(
                CultureInfo.InvariantCulture, $"The import stopped after {importer.Sent} lines: {reason}. Run it again: what is already there is not counted twice."));
        }

        importer.Report(terminal);
        importer.Summarise(terminal, clock.Elapsed);
        return importer._refused.IsEmpty && importer._usersRefused == 0 ? 0 : CommandException.Partly;
    }

    public void Dispose() => _userSlots.Dispose();

    private Task SendAsync(OnlineRetail lines, Action report, CancellationToken cancel) => Parallel.ForEachAsync(
        BatchesAsync(lines, cancel),
        new ParallelOptions { MaxDegreeOfParallelism = RequestsInFlight, CancellationToken = cancel },
        async (batch, stop) =>
        {
            // A user first, so that no event waits for the user it is about.
            await Task.WhenAll(batch.Select(line => line.Customer).OfType<string>().Distinct().Select(customer => _users[customer].Value));
            await SendAsync(batch, stop);
            lock (_refused)
                report();
        });

    private async IAsyncEnumerable<List<InvoiceLine>> BatchesAsync(OnlineRetail lines, [EnumeratorCancellation] CancellationToken cancel)
    {
        var batch = new List<InvoiceLine>(LinesPerRequest);
        while (await lines.ReadAsync(cancel) is var (line, number, error))
        {
            _read++;
            if (line is null)
            {
                _refused.Add((number, error!));
                continue;
            }

            // The first line that names a customer tells the customer's country.
            if (line.Customer is { } customer)
                _users.TryAdd(customer, new Lazy<Task>(() => CreateUserAsync(customer, line, cancel)));
            batch.Add(line);
            if (batch.Count < LinesPerRequest)
                continue;
            yield return batch;
            batch = new(LinesPerRequest);
        }

        if (batch.Count > 0)
            yield return batch;
    }

    private async Task CreateUserAsync(string customer, InvoiceLine line, CancellationToken cancel)
    {
        await _userSlots.WaitAsync(cancel);
        try
        {
            // One key for all attempts: a user whose answer got lost is not a second user.
            using var answer = await _api.PostAsync(
                "/users", NewUser.Of(customer, line.Country), ImportJson.Default.NewUser, Guid.NewGuid().ToString("N"), cancel);
            if (answer.IsSuccessStatusCode)
                Interlocked.Increment(ref _usersCreated);
            else if (answer.StatusCode == HttpStatusCode.Conflict)
                Interlocked.Increment(ref _usersKnown);
            else
            {
                Interlocked.Increment(ref _usersRefused);
                _refused.Add((line.Line, $"user {customer}: {await ApiClient.DescribeAsync(answer, cancel)}"));
            }
        }
        finally
        {
            _userSlots.Release();
        }
    }

    private async Task SendAsync(List<InvoiceLine> batch, CancellationToken cancel)
    {
        using var answer = await _api.PostAsync(
            "/events", batch.ConvertAll(OrderLineEvent.Of), ImportJson.Default.IReadOnlyListOrderLineEvent, null, cancel);
        if (!answer.IsSuccessStatusCode)
        {
            var reason = await ApiClient.DescribeAsync(answer, cancel);
            foreach (var line in batch)
                _refused.Add((line.Line, reason));
            return;
        }

        var result = await answer.Content.ReadFromJsonAsync(ImportJson.Default.EventsAnswer, cancel)
            ?? throw new CommandException("the server's answer to a batch is empty");
        Interlocked.Add(ref _accepted, result.Accepted);
        Interlocked.Add(ref _duplicates, result.Duplicates);
        foreach (var item in result.Items ?? [])
            if (item.Status == "rejected")
                _refused.Add((batch[item.Index].Line, item.Error ?? "refused"));
    }

    private string Describe() => string.Create(CultureInfo.InvariantCulture, $"{Sent} lines sent, {_usersCreated + _usersKnown} users");

    private void Report(Terminal terminal)
    {
        foreach (var (line, reason) in _refused.OrderBy(refused => refused.Line).Take(MostReported))
            terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"line {line}: {reason}"));
        if (_refused.Count > MostReported)
            terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"... and {_refused.Count - MostReported} more"));
    }

    private void Summarise(Terminal terminal, TimeSpan elapsed) => terminal.Table("Imported",
    [
        ("users created", Number(_usersCreated)),
        ("users already there", Number(_usersKnown)),
        ("users refused", Number(_usersRefused)),
        ("lines read", Number(_read)),
        ("lines accepted", Number(_accepted)),
        ("lines already there", Number(_duplicates)),
        ("lines refused", Number(_refused.Count - _usersRefused)),
        ("elapsed", string.Create(CultureInfo.InvariantCulture, $"{elapsed.TotalSeconds:0.0} s")),
    ]);

    private static string Number(int count) => count.ToString("N0", CultureInfo.InvariantCulture);
}
