using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json.Nodes;

namespace Agency.Conformance.Tests;

/// <summary>A headless Chromium with one page, driven through its DevTools protocol.</summary>
internal sealed class Browser : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Process _process;
    private readonly string _profile;
    private readonly ClientWebSocket _socket = new();
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonNode>> _waiting = new();
    private readonly CancellationTokenSource _closed = new();
    private string? _session;
    private int _count;
    private Task _reading = Task.CompletedTask;

    private Browser(Process process, string profile)
    {
        _process = process;
        _profile = profile;
    }

    /// <summary>Addresses that the page has asked for.</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>What the page complained about: exceptions, errors on its console, violations of its security policy.</summary>
    public ConcurrentQueue<string> Complaints { get; } = new();

    /// <summary>The program, or null when this machine has none.</summary>
    public static string? Program { get; } =
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .SelectMany(folder => new[] { "chromium", "chromium-browser", "google-chrome" }.Select(name => Path.Combine(folder, name)))
            .FirstOrDefault(File.Exists);

    public static async Task<Browser> StartAsync()
    {
        var profile = Directory.CreateTempSubdirectory("agency-browser-").FullName;
        var start = new ProcessStartInfo(Program!) { RedirectStandardError = true, RedirectStandardOutput = true };
        // As root, which is what containers and build machines are, its sandbox does not start.
        foreach (var argument in new[]
        {
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-extensions",
            "--disable-component-update", "--disable-sync", "--window-size=1280,1600", "--remote-debugging-port=0", $"--user-data-dir={profile}", "about:blank",
        })
            start.ArgumentList.Add(argument);
        var process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        var browser = new Browser(process, profile);
        await browser.ConnectAsync();
        return browser;
    }

    /// <summary>Shows a page and waits until the expression is true in it.</summary>
    public async Task OpenAsync(Uri address, string until)
    {
        await CallAsync("Page.navigate", new() { ["url"] = address.ToString() });
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Patience; await Task.Delay(100))
            if (await EvaluateAsync(until) is JsonValue value && value.TryGetValue<bool>(out var holds) && holds)
                return;
        throw new TimeoutException($"The page does not come to: {until}. It complains: {string.Join("; ", Complaints)}");
    }

    public async Task<JsonNode?> EvaluateAsync(string expression)
    {
        var answer = await CallAsync("Runtime.evaluate", new() { ["expression"] = expression, ["returnByValue"] = true, ["awaitPromise"] = true });
        return answer["result"]?["value"];
    }

    /// <summary>A picture of the page, PNG.</summary>
    public async Task<byte[]> ScreenshotAsync() => Convert.FromBase64String((string)(await CallAsync("Page.captureScreenshot", []))["data"]!);

    public async ValueTask DisposeAsync()
    {
        await _closed.CancelAsync();
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        await _reading;
        _socket.Dispose();
        _process.Dispose();
        Directory.Delete(_profile, recursive: true);
    }

    private async Task ConnectAsync()
    {
        const string Announcement = "DevTools listening on ";
        var announced = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        _process.ErrorDataReceived += (_, line) =>
        {
            if (line.Data?.StartsWith(Announcement, StringComparison.Ordinal) == true)
                announced.TrySetResult(line.Data[Announcement.Length..]);
        };
        _process.BeginErrorReadLine();
        await _socket.ConnectAsync(new(await announced.Task.WaitAsync(Patience)), CancellationToken.None);
        _reading = ReadAsync();
        var target = await CallAsync("Target.createTarget", new() { ["url"] = "about:blank" });
        var attached = await CallAsync("Target.attachToTarget", new() { ["targetId"] = (string)target["targetId"]!, ["flatten"] = true });
        _session = (string)attached["sessionId"]!;
        foreach (var domain in new[] { "Page", "Network", "Runtime", "Log" })
            await CallAsync($"{domain}.enable", []);
    }

    private async Task<JsonNode> CallAsync(string method, JsonObject parameters)
    {
        var id = Interlocked.Increment(ref _count);
        var done = _waiting[id] = new(TaskCreationOptions.RunContinuationsAsynchronously);
        var message = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters };
        if (_session is not null)
            message["sessionId"] = _session;
        await _socket.SendAsync(World.Json(message), WebSocketMessageType.Text, endOfMessage: true, CancellationToken.None);
        var answer = await done.Task.WaitAsync(Patience);
        return answer["result"] ?? throw new InvalidOperationException($"{method}: {answer.ToJsonString()}");
    }

    private async Task ReadAsync()
    {
        var buffer = new byte[64 * 1024];
        using var message = new MemoryStream();
        try
        {
            while (true)
            {
                var part = await _socket.ReceiveAsync(buffer.AsMemory(), _closed.Token);
                message.Write(buffer, 0, part.Count);
                if (!part.EndOfMessage)
                    continue;
                var node = JsonNode.Parse(message.ToArray())!;
                message.SetLength(0);
                if ((int?)node["id"] is { } id && _waiting.TryRemove(id, out var done))
                    done.SetResult(node);
                else
                    Note((string?)node["method"], node["params"]);
            }
        }
        catch (Exception ended) when (ended is OperationCanceledException or WebSocketException)
        {
            // The browser is closed.
        }
    }

    private void Note(string? method, JsonNode? says)
    {
        switch (method)
        {
            case "Network.requestWillBeSent":
                Requests.Enqueue((string)says!["request"]!["url"]!);
                break;
            case "Runtime.exceptionThrown":
                Complaints.Enqueue(says!["exceptionDetails"]!.ToJsonString());
                break;
            case "Log.entryAdded" when (string?)says!["entry"]!["level"] == "error":
                Complaints.Enqueue((string)says["entry"]!["text"]!);
                break;
        }
    }
}
