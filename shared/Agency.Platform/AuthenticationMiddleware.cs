using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>Finds out who calls and whether they may, before any of the slice runs. A function that declares nothing is closed.</summary>
public sealed class AuthenticationMiddleware(TokenValidator tokens) : IFunctionsWorkerMiddleware
{
    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is not { } http)
        {
            await next(context);
            return;
        }

        var policy = FunctionPolicy.Of(context.FunctionDefinition);
        Exchange.Set(http, new() { MaxBody = policy.MaxBody });
        if (policy.Scope is { } scope)
        {
            var identity = await tokens.ValidateAsync(http.Request.Headers.Authorization.ToString());
            if (identity is null)
            {
                http.Response.Headers.WWWAuthenticate = "Bearer";
                throw new ProblemException(Problem.Of(401, "unauthenticated", "A valid token is required", "Send Authorization: Bearer and a token that is valid now."));
            }

            if (!identity.Scopes.Contains(scope))
            {
                http.Response.Headers.WWWAuthenticate = $"Bearer error=\"insufficient_scope\", scope=\"{scope}\"";
                throw new ProblemException(Problem.Of(403, "forbidden", "The token does not allow this", $"This needs the scope {scope}."));
            }

            context.InstanceServices.GetRequiredService<Caller>().Become(identity.Tenant, identity.Subject, identity.Scopes);
        }

        await next(context);
    }
}
