using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>
/// Finds out who calls, by a token or an API key, before any of the slice runs. A function that declares nothing is closed. Failures are
/// limited by address, in the group <see cref="RateLimitGroups.Authentication"/>.
/// </summary>
public sealed class AuthenticationMiddleware(TokenValidator tokens, ApiKeys keys, RequestLimits limits) : IFunctionsWorkerMiddleware
{
    private const int MaxLength = 16_384;
    private const int Remembered = 10_000;

    // Prefixes of keys that have been good here.
    private readonly ConcurrentDictionary<string, byte> _good = new(StringComparer.Ordinal);

    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is not { } http)
        {
            await next(context);
            return;
        }

        var policy = FunctionPolicy.Of(context.FunctionDefinition);
        Exchange.Set(http, new() { Function = context.FunctionDefinition.Name, MaxBody = policy.MaxBody });
        if (policy.Scope is not null)
        {
            if (await IdentifyAsync(http) is not { } identity)
            {
                http.Response.Headers.WWWAuthenticate = "Bearer";
                throw new ProblemException(Problem.Of(401, "unauthenticated", "A valid token is required",
                    "Send Authorization: Bearer and a token or an API key that is valid now."));
            }

            context.InstanceServices.GetRequiredService<Caller>().Become(identity.Tenant, identity.Subject, identity.Scopes);
        }

        await next(context);
    }

    /// <exception cref="ProblemException">429: too many have failed from this address.</exception>
    private async ValueTask<Identity?> IdentifyAsync(HttpContext http)
    {
        var credential = Credential(http.Request.Headers.Authorization.ToString());
        var isKey = credential is not null && ApiKey.IsOne(credential);
        var prefix = isKey ? ApiKey.Prefix(credential!) : null;
        // A key costs a query, so it is charged before it is looked up, and gets it back when it is good; not one that has been good, so that no
        // flood of guesses from the same address shuts it out. A token costs arithmetic, so that those who send good ones need not wait for anybody.
        var isCharged = prefix is not null && !_good.ContainsKey(prefix);
        if (isCharged)
            await ChargeAsync(http);
        var identity = credential is null ? null
            : isKey ? await keys.FindAsync(credential, http.RequestAborted)
            : await tokens.ValidateAsync(credential, http.RequestAborted);
        if (identity is null && !isCharged)
            await ChargeAsync(http);
        if (identity is null || !isCharged)
            return identity;
        Remember(prefix!);
        await limits.GiveBackAsync(http, RateLimitGroups.Authentication, ClientAddress.Bucket(http));
        return identity;
    }

    private ValueTask ChargeAsync(HttpContext http) => limits.ChargeAsync(http, RateLimitGroups.Authentication, ClientAddress.Bucket(http));

    private void Remember(string prefix)
    {
        if (_good.Count >= Remembered)
            _good.Clear();
        _good[prefix] = 0;
    }

    private static string? Credential(string authorization) =>
        authorization.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) && authorization.Length <= MaxLength ? authorization[7..].Trim() : null;
}
