using System.Collections.Concurrent;
using System.Reflection;
using Microsoft.AspNetCore.Authorization;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Platform;

/// <summary>What a slice has declared on its method. Read once for each function.</summary>
/// <param name="Scope">The scope a token must hold; null when anybody may call.</param>
/// <param name="MaxBody">Bytes.</param>
internal sealed record FunctionPolicy(string? Scope, int MaxBody)
{
    private static readonly ConcurrentDictionary<string, FunctionPolicy> Known = new();

    /// <exception cref="InvalidOperationException">The function says neither who may call it nor that anybody may.</exception>
    public static FunctionPolicy Of(FunctionDefinition function) => Known.GetOrAdd(function.EntryPoint, static (_, f) => From(f), function);

    /// <summary>The method behind a function.</summary>
    public static MethodInfo Method(string entryPoint)
    {
        var dot = entryPoint.LastIndexOf('.');
        var type = AppDomain.CurrentDomain.GetAssemblies().Select(a => a.GetType(entryPoint[..dot])).FirstOrDefault(t => t is not null);
        return type?.GetMethod(entryPoint[(dot + 1)..]) ?? throw new InvalidOperationException($"There is no method {entryPoint}.");
    }

    private static FunctionPolicy From(FunctionDefinition function)
    {
        var method = Method(function.EntryPoint);
        var scope = method.GetCustomAttribute<RequireScopeAttribute>()?.Scope;
        if (scope is null && method.GetCustomAttribute<AllowAnonymousAttribute>() is null)
            throw new InvalidOperationException($"Function {function.Name} needs [RequireScope(...)], or [AllowAnonymous] to be open to all.");
        return new(scope, method.GetCustomAttribute<MaxBodyAttribute>()?.Bytes ?? RequestBody.DefaultLimit);
    }
}
