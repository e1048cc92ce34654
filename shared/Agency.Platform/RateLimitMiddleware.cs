using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>
/// Counts each caller's requests by group. Runs once the caller is known and before it is asked whether they may; who calls a route that is
/// open to all is counted by address.
/// </summary>
public sealed class RateLimitMiddleware(RequestLimits limits) : IFunctionsWorkerMiddleware
{
    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is { } http)
        {
            var policy = FunctionPolicy.Of(context.FunctionDefinition);
            var caller = context.InstanceServices.GetRequiredService<Caller>();
            await limits.ChargeAsync(http, policy.Group, policy.Scope is null ? ClientAddress.Bucket(http) : $"{caller.Tenant}\n{caller.Subject}");
        }

        await next(context);
    }
}
