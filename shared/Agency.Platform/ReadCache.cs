using System.Collections.Concurrent;
using Microsoft.Extensions.Caching.Memory;

namespace Agency.Platform;

/// <summary>How much the cache of answers holds, and for how long.</summary>
/// <param name="MaxBytes">Of all answers together.</param>
/// <param name="Lifetime">After this an answer is read again, also when no event has told of a change.</param>
public sealed record ReadCacheOptions(long MaxBytes, TimeSpan Lifetime)
{
    public static ReadCacheOptions Default { get; } = new(64 * 1024 * 1024, TimeSpan.FromMinutes(5));

    /// <summary>Keeps nothing: every read goes to the database.</summary>
    public static ReadCacheOptions None { get; } = new(0, TimeSpan.FromMinutes(5));
}

/// <summary>
/// Answers to reads of one aggregate, kept in this process as bytes with their entity tag. An event of the aggregate takes its answer
/// out: at once when this process commits it, so that who writes reads what was written; within a moment when another does.
/// </summary>
public sealed class ReadCache : ICommitListener, IDisposable
{
    /// <summary>Bytes that an entry needs beside its body, roughly.</summary>
    private const int Overhead = 512;

    private readonly MemoryCache _answers;
    private readonly ReadCacheOptions _options;
    private readonly ConcurrentDictionary<Key, Load> _loads = new();

    public ReadCache(ReadCacheOptions options)
    {
        _options = options;
        _answers = new(new MemoryCacheOptions { SizeLimit = options.MaxBytes });
    }

    /// <summary>The answer about an aggregate of the caller's organisation. Those who ask while it is being loaded share one load.</summary>
    /// <param name="topic">The topic of the aggregate's events.</param>
    /// <param name="subject">The aggregate's id.</param>
    /// <param name="load">Reads it. It serves others too, so it is not cancelled with the request. Only a 200 is kept.</param>
    /// <param name="cancel">Ends the waiting of this caller.</param>
    public Task<Answer> GetAsync(Caller caller, string topic, string subject, Func<Task<Answer>> load, CancellationToken cancel)
    {
        var key = new Key(caller.Tenant, topic, subject);
        if (_answers.TryGetValue(key, out var kept))
            return Task.FromResult((Answer)kept!);
        var mine = new Load();
        var running = _loads.GetOrAdd(key, mine);
        if (ReferenceEquals(running, mine))
            _ = LoadAsync(key, mine, load);
        return running.Answer.WaitAsync(cancel);
    }

    /// <inheritdoc cref="GetAsync(Caller, string, string, Func{Task{Answer}}, CancellationToken)"/>
    public Task<Answer> GetAsync(Caller caller, string topic, Guid subject, Func<Task<Answer>> load, CancellationToken cancel) =>
        GetAsync(caller, topic, subject.ToString(), load, cancel);

    /// <summary>Forgets an aggregate. A load that has begun before is not kept, and nobody who asks from now on shares it.</summary>
    public void Evict(string tenant, string topic, string subject)
    {
        var key = new Key(tenant, topic, subject);
        // First the load, then the answer: the other way round a load could end in between and leave its answer behind.
        if (_loads.TryRemove(key, out var running))
            running.Outdate();
        _answers.Remove(key);
    }

    /// <summary>Forgets everything, for when it is not known what has changed.</summary>
    public void Clear()
    {
        foreach (var (key, _) in _loads)
            if (_loads.TryRemove(key, out var running))
                running.Outdate();
        _answers.Clear();
    }

    public void Committed(IReadOnlyList<RecordedEvent> events)
    {
        foreach (var e in events)
            Evict(e.Tenant, e.Topic, e.Subject);
    }

    public void Dispose() => _answers.Dispose();

    private async Task LoadAsync(Key key, Load mine, Func<Task<Answer>> load)
    {
        try
        {
            var answer = await load();
            mine.KeepUnlessOutdated(() =>
            {
                if (answer.Status == 200)
                    _answers.Set(key, answer, new MemoryCacheEntryOptions
                    {
                        Size = answer.Body.Length + Overhead,
                        AbsoluteExpirationRelativeToNow = _options.Lifetime,
                    });
            });
            _loads.TryRemove(new(key, mine));
            mine.End(answer);
        }
        catch (Exception failure)
        {
            // It is the failure of everybody who waits for this load, and is thrown there.
            _loads.TryRemove(new(key, mine));
            mine.Fail(failure);
        }
    }

    private readonly record struct Key(string Tenant, string Topic, string Subject);

    private sealed class Load
    {
        private readonly TaskCompletionSource<Answer> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Lock _gate = new();
        private bool _outdated;

        public Task<Answer> Answer => _end.Task;

        public void Outdate()
        {
            lock (_gate)
                _outdated = true;
        }

        public void KeepUnlessOutdated(Action keep)
        {
            lock (_gate)
                if (!_outdated)
                    keep();
        }

        public void End(Answer answer) => _end.SetResult(answer);

        public void Fail(Exception failure) => _end.SetException(failure);
    }
}
