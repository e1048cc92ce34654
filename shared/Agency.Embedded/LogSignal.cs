using System.Collections.Concurrent;

namespace Agency.Embedded;

/// <summary>Wakes waiters by name within this process. A signal given while nobody waits is kept for the next who does.</summary>
public sealed class LogSignal
{
    /// <summary>Who registers under this name is woken by every topic.</summary>
    public const string Any = "*";

    private readonly ConcurrentDictionary<string, List<SemaphoreSlim>> _waiters = new();

    /// <summary>A waiter of this name; wait on it with a time-out, as polling is the fallback.</summary>
    public SemaphoreSlim Register(string name)
    {
        var waiter = new SemaphoreSlim(0, 1);
        var all = _waiters.GetOrAdd(name, _ => []);
        lock (all)
            all.Add(waiter);
        return waiter;
    }

    /// <summary>Wakes those who wait for one of these topics, or for any.</summary>
    public void WakeTopics(IReadOnlyCollection<string> topics)
    {
        foreach (var topic in topics)
            Wake(topic);
        if (topics.Count > 0)
            Wake(Any);
    }

    public void Wake(string name)
    {
        if (!_waiters.TryGetValue(name, out var all))
            return;
        lock (all)
            foreach (var waiter in all)
                if (waiter.CurrentCount == 0)
                    Release(waiter);
    }

    private static void Release(SemaphoreSlim waiter)
    {
        try
        {
            waiter.Release();
        }
        catch (SemaphoreFullException)
        {
            // Somebody else has woken it in between.
        }
    }
}
