using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>Lets in whoever has the scope that the function requires. Runs after the limits, so that a refusal counts and tells what is left.</summary>
public sealed class AuthorizationMiddleware : IFunctionsWorkerMiddleware
{
    public Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is { } http && FunctionPolicy.Of(context.FunctionDefinition).Scope is { } scope
            && !context.InstanceServices.GetRequiredService<Caller>().Scopes.Contains(scope))
        {
            http.Response.Headers.WWWAuthenticate = $"Bearer error=\"insufficient_scope\", scope=\"{scope}\"";
            throw new ProblemException(Problem.Of(403, "forbidden", "The token does not allow this", $"This needs the scope {scope}."));
        }

        return next(context);
    }
}
