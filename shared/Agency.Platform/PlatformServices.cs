using System.Reflection;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Agency.Platform;

/// <summary>The function apps of this process.</summary>
public sealed record FunctionApps(IReadOnlyList<Assembly> Assemblies)
{
    private byte[]? _openApi;

    /// <summary>The apps and all of ours that they refer to, directly or not: the assemblies that may hold migrations.</summary>
    public IReadOnlyCollection<Assembly> WithDomains()
    {
        var found = new HashSet<Assembly>();
        var next = new Queue<Assembly>(Assemblies);
        while (next.TryDequeue(out var assembly))
            if (found.Add(assembly))
                foreach (var name in assembly.GetReferencedAssemblies().Where(n => n.Name!.StartsWith("Agency.", StringComparison.Ordinal)))
                    next.Enqueue(Assembly.Load(name));
        return found;
    }

    /// <summary>All of their migrations. Read once: readiness is asked for often.</summary>
    public IReadOnlyList<Migration> Migrations => field ??= Migration.In(WithDomains());

    /// <summary>The OpenAPI document of their routes. Made once, as they do not change.</summary>
    public ReadOnlyMemory<byte> OpenApi => _openApi ??= OpenApiDocument.Of(this);

    /// <summary>Their HTTP functions.</summary>
    internal IEnumerable<(MethodInfo Method, string Name, HttpTriggerAttribute Trigger)> HttpFunctions =>
        from method in Assemblies.SelectMany(a => a.GetExportedTypes()).SelectMany(t => t.GetMethods())
        let function = method.GetCustomAttribute<FunctionAttribute>()
        let trigger = method.GetParameters().Select(p => p.GetCustomAttribute<HttpTriggerAttribute>()).FirstOrDefault(t => t is not null)
        where function is not null && trigger is not null
        select (method, function.Name, trigger);

    /// <summary>The scopes that these require.</summary>
    internal IReadOnlySet<string> Scopes => field ??= HttpFunctions
        .Select(f => f.Method.GetCustomAttribute<RequireScopeAttribute>()?.Scope).OfType<string>().ToHashSet(StringComparer.Ordinal);

    /// <summary>The concrete classes of these apps that are a <typeparamref name="T"/>.</summary>
    public IEnumerable<Type> Implementing<T>() => Implementing<T>(Assemblies);

    internal static IEnumerable<Type> Implementing<T>(IEnumerable<Assembly> assemblies) =>
        assemblies.SelectMany(a => a.GetTypes()).Where(t => t is { IsAbstract: false, IsClass: true } && t.IsAssignableTo(typeof(T)));
}

public static class PlatformServices
{
    /// <summary>What every function may ask for, whatever the engines.</summary>
    public static IServiceCollection AddPlatform(this IServiceCollection services, FunctionApps apps)
    {
        services.AddSingleton(apps);
        foreach (var saga in apps.Implementing<ISaga>())
            services.AddSingleton(saga);
        services.AddSingleton(p => SagaCatalog.Of(apps, p));
        services.AddSingleton(TimeProvider.System);
        services.TryAddSingleton(InboxOptions.Default);
        services.AddSingleton<IRateLimiter, ProcessRateLimiter>();
        services.AddSingleton<RequestLimits>();
        services.TryAddSingleton(BroadcastOptions.Default);
        services.AddSingleton<Broadcasts>();
        services.AddSingleton<WebhookSender>();
        services.AddSingleton<ReadCache>();
        services.AddSingleton<ICommitListener>(p => p.GetRequiredService<ReadCache>());
        services.AddSingleton<Microsoft.AspNetCore.Http.IProblemDetailsWriter, UnmatchedRequest>();
        services.AddProblemDetails();
        services.AddScoped<Caller>();
        services.AddScoped<UnitOfWork>();
        services.AddScoped<Inbox>();
        return services;
    }
}
