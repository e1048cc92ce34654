using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>
/// Charges requests to buckets, and says in the answer what is left. Source of the headers: draft-ietf-httpapi-ratelimit-headers.
/// </summary>
public sealed class RequestLimits(IRateLimiter limiter, RateLimitOptions options)
{
    private readonly ConcurrentDictionary<string, (RateLimit Limit, string Policy)> _groups = new();

    /// <param name="http">The request.</param>
    /// <param name="group">As in <see cref="RateLimitOptions"/>.</param>
    /// <param name="who">Whose bucket it is.</param>
    /// <exception cref="ProblemException">429: the bucket is empty.</exception>
    public async ValueTask ChargeAsync(HttpContext http, string group, string who)
    {
        var (limit, policy) = _groups.GetOrAdd(group, static (name, all) => Describe(name, all), options);
        var decision = await limiter.TakeAsync(group, who, limit, http.RequestAborted);
        http.Response.Headers["RateLimit-Policy"] = policy;
        http.Response.Headers["RateLimit"] = string.Create(CultureInfo.InvariantCulture, $"\"{group}\";r={decision.Remaining};t={decision.ResetSeconds}");
        if (decision.Allowed)
            return;
        var problem = Problem.Of(429, "too-many-requests", "Too many requests", $"At most {limit.PerSecond} a second on average and {limit.Burst} at once.");
        throw new ProblemException(problem with { RetryAfter = 1 });
    }

    /// <summary>Takes a charge back.</summary>
    public ValueTask GiveBackAsync(HttpContext http, string group, string who) => limiter.GiveBackAsync(group, who, http.RequestAborted);

    private static (RateLimit Limit, string Policy) Describe(string group, RateLimitOptions options)
    {
        var limit = options.Groups.GetValueOrDefault(group) ?? options.Default;
        var window = Math.Max(1, (int)Math.Ceiling(limit.Burst / (double)limit.PerSecond));
        return (limit, string.Create(CultureInfo.InvariantCulture, $"\"{group}\";q={limit.Burst};w={window}"));
    }
}
