using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>
/// Finds out who calls, by a token or an API key, and whether they may, before any of the slice runs. A function that declares nothing
/// is closed.
/// </summary>
public sealed class AuthenticationMiddleware(TokenValidator tokens, ApiKeys keys) : IFunctionsWorkerMiddleware
{
    private const int MaxLength = 16_384;

    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is not { } http)
        {
            await next(context);
            return;
        }

        var policy = FunctionPolicy.Of(context.FunctionDefinition);
        Exchange.Set(http, new() { Function = context.FunctionDefinition.Name, MaxBody = policy.MaxBody });
        if (policy.Scope is { } scope)
        {
            var identity = await IdentifyAsync(http.Request.Headers.Authorization.ToString(), http.RequestAborted);
            if (identity is null)
            {
                http.Response.Headers.WWWAuthenticate = "Bearer";
                throw new ProblemException(Problem.Of(401, "unauthenticated", "A valid token is required",
                    "Send Authorization: Bearer and a token or an API key that is valid now."));
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

    private ValueTask<Identity?> IdentifyAsync(string authorization, CancellationToken cancel)
    {
        if (!authorization.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) || authorization.Length > MaxLength)
            return ValueTask.FromResult<Identity?>(null);
        var credential = authorization[7..].Trim();
        return ApiKey.IsOne(credential) ? keys.FindAsync(credential, cancel) : tokens.ValidateAsync(credential, cancel);
    }
}
