using System.Collections.Concurrent;
using Microsoft.Extensions.Caching.Memory;

namespace Agency.Platform;

/// <summary>How much the cache of answers holds, and for how long.</summary>
/// <param name="MaxBytes">Of everything together.</param>
/// <param name="Lifetime">After this an answer is read again, also when no event has told of a change.</param>
public sealed record ReadCacheOptions(long MaxBytes, TimeSpan Lifetime)
{
    public static ReadCacheOptions Default { get; } = new(64 * 1024 * 1024, TimeSpan.FromMinutes(5));

    /// <summary>Keeps nothing: every read goes to the database.</summary>
    public static ReadCacheOptions None { get; } = new(0, TimeSpan.FromMinutes(5));
}

/// <summary>
/// Answers to reads of one aggregate, kept in this process as bytes with their entity tag, and whatever else is read of one. An event of
/// the aggregate takes it out: at once when this process commits it, so that who writes reads what was written; within a moment when
/// another does.
/// </summary>
public sealed class ReadCache : ICommitListener, IDisposable
{
    /// <summary>Bytes that an entry needs beside what it holds, roughly.</summary>
    private const int Overhead = 512;

    private readonly MemoryCache _kept;
    private readonly ReadCacheOptions _options;
    private readonly ConcurrentDictionary<Key, Load> _loads = new();

    public ReadCache(ReadCacheOptions options)
    {
        _options = options;
        _kept = new(new MemoryCacheOptions { SizeLimit = options.MaxBytes });
    }

    /// <summary>The answer about an aggregate of the caller's organisation. Those who ask while it is being loaded share one load.</summary>
    /// <param name="topic">The topic of the aggregate's events.</param>
    /// <param name="subject">The aggregate's id.</param>
    /// <param name="load">Reads it. It serves others too, so it is not cancelled with the request. Only a 200 is kept.</param>
    /// <param name="cancel">Ends the waiting of this caller.</param>
    public Task<Answer> GetAsync(Caller caller, string topic, string subject, Func<Task<Answer>> load, CancellationToken cancel) =>
        GetAsync(caller, topic, subject, load, static answer => answer.Status == 200 ? answer.Body.Length : null, cancel);

    /// <inheritdoc cref="GetAsync(Caller, string, string, Func{Task{Answer}}, CancellationToken)"/>
    public Task<Answer> GetAsync(Caller caller, string topic, Guid subject, Func<Task<Answer>> load, CancellationToken cancel) =>
        GetAsync(caller, topic, subject.ToString(), load, cancel);

    /// <summary>The same of something else that is read of an aggregate. One subject has one type of it.</summary>
    /// <param name="bytes">How much it holds, roughly; null when it is not kept.</param>
    /// <inheritdoc cref="GetAsync(Caller, string, string, Func{Task{Answer}}, CancellationToken)"/>
    public async Task<T> GetAsync<T>(
        Caller caller, string topic, string subject, Func<Task<T>> load, Func<T, int?> bytes, CancellationToken cancel)
        where T : class
    {
        var key = new Key(caller.Tenant, topic, subject);
        if (_kept.TryGetValue(key, out var kept))
            return (T)kept!;
        var mine = new Load();
        var running = _loads.GetOrAdd(key, mine);
        if (ReferenceEquals(running, mine))
            _ = LoadAsync(key, mine, load, bytes);
        return (T)await running.Value.WaitAsync(cancel);
    }

    /// <summary>What <see cref="Keep"/> kept; null when it is gone.</summary>
    public T? Find<T>(Caller caller, string topic, string subject)
        where T : class => _kept.TryGetValue(new Key(caller.Tenant, topic, subject), out var kept) ? (T)kept! : null;

    /// <summary>Keeps something that can tell by itself whether it is old, as no event will.</summary>
    /// <param name="bytes">How much it holds, roughly.</param>
    public void Keep(Caller caller, string topic, string subject, object value, int bytes) => _kept.Set(
        new Key(caller.Tenant, topic, subject), value,
        new MemoryCacheEntryOptions { Size = bytes + Overhead, AbsoluteExpirationRelativeToNow = _options.Lifetime });

    /// <summary>Forgets an aggregate. A load that has begun before is not kept, and nobody who asks from now on shares it.</summary>
    public void Evict(string tenant, string topic, string subject)
    {
        var key = new Key(tenant, topic, subject);
        // First the load, then what it answered: the other way round a load could end in between and leave that behind.
        if (_loads.TryRemove(key, out var running))
            running.Outdate();
        _kept.Remove(key);
    }

    /// <summary>Forgets everything, for when it is not known what has changed.</summary>
    public void Clear()
    {
        foreach (var (key, _) in _loads)
            if (_loads.TryRemove(key, out var running))
                running.Outdate();
        _kept.Clear();
    }

    public void Committed(IReadOnlyList<RecordedEvent> events)
    {
        foreach (var e in events)
            Evict(e.Tenant, e.Topic, e.Subject);
    }

    public void Dispose() => _kept.Dispose();

    private async Task LoadAsync<T>(Key key, Load mine, Func<Task<T>> load, Func<T, int?> bytes)
        where T : class
    {
        try
        {
            var value = await load();
            mine.KeepUnlessOutdated(() =>
            {
                if (bytes(value) is { } size)
                    _kept.Set(key, value, new MemoryCacheEntryOptions { Size = size + Overhead, AbsoluteExpirationRelativeToNow = _options.Lifetime });
            });
            _loads.TryRemove(new(key, mine));
            mine.End(value);
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
        private readonly TaskCompletionSource<object> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Lock _gate = new();
        private bool _outdated;

        public Task<object> Value => _end.Task;

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

        public void End(object value) => _end.SetResult(value);

        public void Fail(Exception failure) => _end.SetException(failure);
    }
}
