using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>
/// Counts each caller's requests by group and says in every answer what is left. Runs after the caller is known; who calls a route
/// that is open to all is counted by address. Source of the headers: draft-ietf-httpapi-ratelimit-headers.
/// </summary>
public sealed class RateLimitMiddleware(IRateLimiter limiter, RateLimitOptions options) : IFunctionsWorkerMiddleware
{
    private const string Anonymous = "anonymous";
    private readonly ConcurrentDictionary<string, (RateLimit Limit, string Policy)> _groups = new();

    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is { } http)
        {
            var group = FunctionPolicy.Of(context.FunctionDefinition).Scope ?? Anonymous;
            var (limit, policy) = _groups.GetOrAdd(group, static (name, all) => Describe(name, all), options);
            var caller = context.InstanceServices.GetRequiredService<Caller>();
            var who = group == Anonymous ? http.Connection.RemoteIpAddress?.ToString() ?? "" : $"{caller.Tenant}\n{caller.Subject}";
            var decision = await limiter.TakeAsync(group, who, limit, context.CancellationToken);
            http.Response.Headers["RateLimit-Policy"] = policy;
            http.Response.Headers["RateLimit"] = string.Create(CultureInfo.InvariantCulture, $"\"{group}\";r={decision.Remaining};t={decision.ResetSeconds}");
            if (!decision.Allowed)
            {
                var problem = Problem.Of(429, "too-many-requests", "Too many requests",
                    $"At most {limit.PerSecond} a second on average and {limit.Burst} at once.");
                throw new ProblemException(problem with { RetryAfter = 1 });
            }
        }

        await next(context);
    }

    private static (RateLimit Limit, string Policy) Describe(string group, RateLimitOptions options)
    {
        var limit = options.Groups.GetValueOrDefault(group) ?? options.Default;
        var window = Math.Max(1, (int)Math.Ceiling(limit.Burst / (double)limit.PerSecond));
        return (limit, string.Create(CultureInfo.InvariantCulture, $"\"{group}\";q={limit.Burst};w={window}"));
    }
}
