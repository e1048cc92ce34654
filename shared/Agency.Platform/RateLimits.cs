using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Extensions.Configuration;

namespace Agency.Platform;

/// <summary>A token bucket: <paramref name="PerSecond"/> requests each second on average, <paramref name="Burst"/> at once.</summary>
public sealed record RateLimit(int PerSecond, int Burst)
{
    /// <exception cref="FormatException">The text is not of the form <c>100/s</c> or <c>100/s burst 500</c>.</exception>
    public static RateLimit Parse(string text)
    {
        var words = text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (words is [var rate, .. var rest] && rate.EndsWith("/s", StringComparison.Ordinal)
            && int.TryParse(rate.AsSpan(0, rate.Length - 2), NumberStyles.None, CultureInfo.InvariantCulture, out var perSecond) && perSecond > 0)
        {
            if (rest is [])
                return new(perSecond, perSecond * 2);
            if (rest is ["burst", var most] && int.TryParse(most, NumberStyles.None, CultureInfo.InvariantCulture, out var burst) && burst > 0)
                return new(perSecond, burst);
        }

        throw new FormatException($"The rate limit '{text}' must read like '100/s' or '100/s burst 500'.");
    }
}

/// <summary>Groups that are no scope. Their requests are counted by address.</summary>
public static class RateLimitGroups
{
    /// <summary>Routes that are open to all.</summary>
    public const string Anonymous = "anonymous";

    /// <summary>Requests whose token or API key is not good.</summary>
    public const string Authentication = "authentication";

    /// <summary>What tells whether the process is well. On its own, so that nobody who reads the docs too fast makes it look ill.</summary>
    public const string Health = "health";

    internal static IReadOnlyList<string> All { get; } = [Anonymous, Authentication, Health];
}

/// <summary>The group of a route that is open to all, where it is not <see cref="RateLimitGroups.Anonymous"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RateLimitGroupAttribute(string group) : Attribute
{
    public string Group { get; } = group;
}

/// <summary>How much each caller may ask of each group of routes: the scope that its routes require, or one of <see cref="RateLimitGroups"/>.</summary>
/// <param name="Default">For groups without a limit of their own.</param>
/// <param name="Groups">By group, such as <c>events:write</c>.</param>
public sealed record RateLimitOptions(RateLimit Default, IReadOnlyDictionary<string, RateLimit> Groups)
{
    /// <summary>
    /// Reads <c>RateLimits:Default</c> and, for the group <c>events:write</c>, <c>RateLimits:events-write</c>: the last hyphen stands for the colon,
    /// which settings cannot have in a name. Failed authentication has a limit of its own also when it is not set.
    /// </summary>
    /// <param name="settings">The configuration.</param>
    /// <param name="apps">The apps of this process. A process of one shares its settings with those of others, and takes any scope for one of theirs.</param>
    /// <exception cref="InvalidOperationException">A limit is malformed, or there is no such group.</exception>
    public static RateLimitOptions From(IConfiguration settings, FunctionApps apps)
    {
        var limits = new Dictionary<string, RateLimit>(StringComparer.OrdinalIgnoreCase)
        {
            ["Default"] = new(1000, 2000),
            [RateLimitGroups.Authentication] = new(50, 500),
        };
        foreach (var entry in settings.GetSection("RateLimits").GetChildren())
        {
            try
            {
                limits[Group(entry.Key, apps)] = RateLimit.Parse(entry.Value ?? "");
            }
            catch (FormatException malformed)
            {
                throw new InvalidOperationException($"The setting RateLimits:{entry.Key} is wrong. {malformed.Message}", malformed);
            }
        }

        limits.Remove("Default", out var common);
        return new(common!, limits);
    }

    private static string Group(string name, FunctionApps apps)
    {
        if (name.Equals("Default", StringComparison.OrdinalIgnoreCase) || RateLimitGroups.All.Contains(name, StringComparer.OrdinalIgnoreCase))
            return name;
        var hyphen = name.LastIndexOf('-');
        var scope = hyphen < 0 ? name : $"{name[..hyphen]}:{name[(hyphen + 1)..]}".ToLowerInvariant();
        if (AuthOptions.Scope().IsMatch(scope) && (apps.Assemblies.Count == 1 || apps.Scopes.Contains(scope)))
            return scope;
        throw new InvalidOperationException(
            $"The setting RateLimits:{name} names no group. There are Default, {string.Join(", ", RateLimitGroups.All)}, and the scopes of routes "
            + $"with a hyphen for the colon, such as {apps.Scopes.Select(s => s.Replace(':', '-')).Order(StringComparer.Ordinal).FirstOrDefault("events-write")}.");
    }
}

/// <summary>What a limiter says of one request.</summary>
/// <param name="Allowed">False when the caller has used the bucket up.</param>
/// <param name="Remaining">Requests that the caller may make now.</param>
/// <param name="ResetSeconds">Until the bucket is full again.</param>
public readonly record struct RateLimitDecision(bool Allowed, long Remaining, int ResetSeconds);

/// <summary>The port of rate limits: in this process, or shared by all through an engine.</summary>
public interface IRateLimiter
{
    ValueTask<RateLimitDecision> TakeAsync(string group, string caller, RateLimit limit, CancellationToken cancel);

    /// <summary>Gives back what was taken for a request that turned out to be none of those that are counted.</summary>
    ValueTask GiveBackAsync(string group, string caller, CancellationToken cancel);
}

/// <summary>Buckets in this process. Buckets that are full again are dropped once there are many.</summary>
public sealed class ProcessRateLimiter(TimeProvider clock) : IRateLimiter
{
    private const int Many = 100_000;
    private readonly ConcurrentDictionary<(string Group, string Caller), Bucket> _buckets = new();

    public ValueTask<RateLimitDecision> TakeAsync(string group, string caller, RateLimit limit, CancellationToken cancel)
    {
        if (_buckets.Count > Many)
            DropFull();
        var bucket = _buckets.GetOrAdd((group, caller), static (_, args) => new(args.limit, args.now), (limit, now: clock.GetTimestamp()));
        return new(bucket.Take(clock.GetTimestamp(), clock.TimestampFrequency));
    }

    public ValueTask GiveBackAsync(string group, string caller, CancellationToken cancel)
    {
        if (_buckets.TryGetValue((group, caller), out var bucket))
            bucket.GiveBack();
        return ValueTask.CompletedTask;
    }

    private void DropFull()
    {
        foreach (var (key, bucket) in _buckets)
            if (bucket.IsFull(clock.GetTimestamp(), clock.TimestampFrequency))
                _buckets.TryRemove(new(key, bucket));
    }

    private sealed class Bucket(RateLimit limit, long now)
    {
        private readonly Lock _gate = new();
        private double _tokens = limit.Burst;
        private long _at = now;

        public RateLimitDecision Take(long now, long frequency)
        {
            lock (_gate)
            {
                Refill(now, frequency);
                var allowed = _tokens >= 1;
                if (allowed)
                    _tokens--;
                return new(allowed, (long)_tokens, (int)Math.Ceiling((limit.Burst - _tokens) / limit.PerSecond));
            }
        }

        public void GiveBack()
        {
            lock (_gate)
                _tokens = Math.Min(limit.Burst, _tokens + 1);
        }

        public bool IsFull(long now, long frequency)
        {
            lock (_gate)
            {
                Refill(now, frequency);
                return _tokens >= limit.Burst;
            }
        }

        private void Refill(long now, long frequency)
        {
            _tokens = Math.Min(limit.Burst, _tokens + (Math.Max(0, now - _at) * (double)limit.PerSecond / frequency));
            _at = now;
        }
    }
}
