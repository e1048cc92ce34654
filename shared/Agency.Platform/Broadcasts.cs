using System.Diagnostics;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Agency.Platform;

/// <summary>How many may listen to broadcasts.</summary>
/// <param name="MaxListeners">In this process.</param>
/// <param name="MaxOfOrganisation">Of one organisation in this process, so that no other is shut out by it.</param>
/// <param name="MaxQuestions">Different questions of one organisation, as each is computed on its own.</param>
public sealed record BroadcastOptions(int MaxListeners, int MaxOfOrganisation, int MaxQuestions)
{
    public static BroadcastOptions Default { get; } = new(1024, 128, 16);
}

/// <summary>
/// Values that change all the time, as server-sent events: each is computed once a second for as long as somebody of the organisation
/// listens, however many do. A listener who is slow misses values, but never gets an old one.
/// </summary>
public sealed partial class Broadcasts(IServiceScopeFactory scopes, IHostApplicationLifetime host, BroadcastOptions options, ILogger<Broadcasts> log)
{
    public const string MediaType = "text/event-stream";

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private readonly Dictionary<(string Tenant, string Name, string Question), Broadcast> _broadcasts = [];
    private int _listeners;

    /// <summary>A stream of the values, from the present one on, which ends by itself when the time is over or the host stops.</summary>
    /// <param name="name">What the events are called.</param>
    /// <param name="compute">The value as JSON text in one line. It gets a unit of work of its own, on behalf of the organisation.</param>
    /// <param name="length">How long the stream is.</param>
    /// <param name="question">What is asked, where that differs: with the name, it is unique for each computation.</param>
    /// <exception cref="ProblemException">503: too many listen in this process. 429: too many of this organisation do.</exception>
    public StreamedAnswer Listen(
        HttpRequest http, Caller caller, string name, TimeSpan length, Func<UnitOfWork, CancellationToken, Task<byte[]>> compute, string question = "")
    {
        var broadcast = Join((caller.Tenant, name, question), compute);
        // Also when the answer is never written.
        http.HttpContext.Response.RegisterForDispose(new Leaving(() => Leave(broadcast)));
        return new($"{MediaType}; charset=utf-8", null, (body, cancel) => WriteAsync(broadcast, length, body, cancel));
    }

    private Broadcast Join((string Tenant, string Name, string Question) key, Func<UnitOfWork, CancellationToken, Task<byte[]>> compute)
    {
        lock (_gate)
        {
            if (_listeners >= options.MaxListeners)
                throw new ProblemException(Problem.Of(503, "too-many-listeners", "Too many listen already", "Try again later.") with { RetryAfter = 30 });
            var own = _broadcasts.Values.Where(b => b.Key.Tenant == key.Tenant).ToList();
            if (own.Sum(b => b.Listeners) >= options.MaxOfOrganisation)
                throw TooMany("Too many of the organisation listen already", options.MaxOfOrganisation);
            if (!_broadcasts.TryGetValue(key, out var broadcast))
            {
                if (own.Count >= options.MaxQuestions)
                    throw TooMany("The organisation listens for too many different answers already", options.MaxQuestions);
                _broadcasts[key] = broadcast = new(key);
                _ = Task.Run(() => RunAsync(broadcast, compute));
            }

            broadcast.Listeners++;
            _listeners++;
            return broadcast;
        }

        static ProblemException TooMany(string title, int most) =>
            new(Problem.Of(429, "too-many-listeners", title, $"At most {most} at a time.") with { RetryAfter = 30 });
    }

    private void Leave(Broadcast broadcast)
    {
        lock (_gate)
        {
            _listeners--;
            if (--broadcast.Listeners > 0)
                return;
            _broadcasts.Remove(broadcast.Key);
        }

        broadcast.Dispose();
    }

    private static async Task WaitAsync(Task task, TimeSpan time, CancellationToken cancel) =>
        await task.WaitAsync(time > TimeSpan.Zero ? time : TimeSpan.Zero, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    private async Task WriteAsync(Broadcast broadcast, TimeSpan length, Stream body, CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancel, host.ApplicationStopping);
        // A client that is cut off comes back after so many milliseconds.
        await body.WriteAsync("retry: 1000\n\n"u8.ToArray(), cancel);
        await body.FlushAsync(cancel);
        Value? sent = null;
        while (!ending.IsCancellationRequested && clock.Elapsed < length)
        {
            var (value, next) = broadcast.Current;
            if (value is not null && value != sent)
            {
                sent = value;
                await body.WriteAsync(value.Event, cancel);
                await body.FlushAsync(cancel);
            }

            var left = length - clock.Elapsed;
            await WaitAsync(next, left < Heartbeat ? left : Heartbeat, ending.Token);
            if (next.IsCompleted || ending.IsCancellationRequested || clock.Elapsed >= length)
                continue;
            await body.WriteAsync(": still here\n\n"u8.ToArray(), cancel);
            await body.FlushAsync(cancel);
        }

        cancel.ThrowIfCancellationRequested();
    }

    private async Task RunAsync(Broadcast broadcast, Func<UnitOfWork, CancellationToken, Task<byte[]>> compute)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(broadcast.Ended, host.ApplicationStopping);
        while (!ending.IsCancellationRequested)
        {
            var clock = Stopwatch.StartNew();
            try
            {
                var json = await scopes.RunAsync(Caller.Of(broadcast.Key.Tenant, broadcast.Key.Name), work => compute(work, ending.Token));
                broadcast.Publish(new([.. Encoding.UTF8.GetBytes($"event: {broadcast.Key.Name}\ndata: "), .. json, .. "\n\n"u8]));
            }
            catch (Exception failure)
            {
                // The listeners keep what they have; the next attempt may succeed.
                if (!ending.IsCancellationRequested)
                    LogFailed(failure, broadcast.Key.Name);
            }

            // What takes long is not done so often that it takes more than a part of the database's time.
            var pause = clock.Elapsed * 3 > Interval ? clock.Elapsed * 3 : Interval - clock.Elapsed;
            await Task.Delay(pause, ending.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The broadcast {Name} could not be computed.")]
    private partial void LogFailed(Exception failure, string name);

    private sealed record Value(byte[] Event);

    private sealed class Broadcast : IDisposable
    {
        private readonly CancellationTokenSource _ended = new();
        private volatile State _state = new(null, new(TaskCreationOptions.RunContinuationsAsynchronously));

        public Broadcast((string Tenant, string Name, string Question) key) => (Key, Ended) = (key, _ended.Token);

        public (string Tenant, string Name, string Question) Key { get; }

        public int Listeners { get; set; }

        public CancellationToken Ended { get; }

        /// <summary>The last value there is, and what ends when there is another.</summary>
        public (Value? Value, Task Next) Current => _state is var state ? (state.Value, state.Next.Task) : default;

        public void Publish(Value value)
        {
            var before = _state;
            _state = new(value, new(TaskCreationOptions.RunContinuationsAsynchronously));
            before.Next.SetResult();
        }

        public void Dispose()
        {
            _ended.Cancel();
            _ended.Dispose();
        }

        private sealed record State(Value? Value, TaskCompletionSource Next);
    }

    private sealed class Leaving(Action leave) : IDisposable
    {
        private Action? _leave = leave;

        public void Dispose() => Interlocked.Exchange(ref _leave, null)?.Invoke();
    }
}
