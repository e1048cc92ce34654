using System.Collections.Concurrent;
using System.Reflection;
using Microsoft.AspNetCore.Authorization;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Platform;

/// <summary>What a slice has declared on its method. Read once for each function.</summary>
/// <param name="Scope">The scope a token must hold; null when anybody may call.</param>
/// <param name="MaxBody">Bytes.</param>
/// <param name="Query">The query parameters it takes; null when it does not say.</param>
/// <param name="Group">The group of limits that its requests count in.</param>
/// <param name="TakesBody">False when it says that it takes none.</param>
internal sealed record FunctionPolicy(string? Scope, int MaxBody, string[]? Query, string Group, bool TakesBody)
{
    private static readonly ConcurrentDictionary<string, FunctionPolicy> Known = new();

    /// <exception cref="InvalidOperationException">The function says neither who may call it nor that anybody may.</exception>
    public static FunctionPolicy Of(FunctionDefinition function) => Known.GetOrAdd(function.EntryPoint, static (_, f) => Of(Method(f.EntryPoint), f.Name), function);

    /// <summary>The method behind a function.</summary>
    public static MethodInfo Method(string entryPoint)
    {
        var dot = entryPoint.LastIndexOf('.');
        var type = AppDomain.CurrentDomain.GetAssemblies().Select(a => a.GetType(entryPoint[..dot])).FirstOrDefault(t => t is not null);
        return type?.GetMethod(entryPoint[(dot + 1)..]) ?? throw new InvalidOperationException($"There is no method {entryPoint}.");
    }

    /// <inheritdoc cref="Of(FunctionDefinition)"/>
    public static FunctionPolicy Of(MethodInfo method, string function)
    {
        var scope = method.GetCustomAttribute<RequireScopeAttribute>()?.Scope;
        if (scope is null && method.GetCustomAttribute<AllowAnonymousAttribute>() is null)
            throw new InvalidOperationException($"Function {function} needs [RequireScope(...)], or [AllowAnonymous] to be open to all.");
        var operation = method.GetCustomAttribute<OperationAttribute>();
        return new(
            scope,
            method.GetCustomAttribute<MaxBodyAttribute>()?.Bytes ?? RequestBody.DefaultLimit,
            operation is null ? null : OpenApiDocument.QueryNames(operation.Query, method),
            scope ?? method.GetCustomAttribute<RateLimitGroupAttribute>()?.Group ?? RateLimitGroups.Anonymous,
            operation is not { Body: null });
    }
}
