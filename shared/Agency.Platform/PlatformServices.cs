using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Agency.Platform;

/// <summary>The function apps of this process.</summary>
public sealed record FunctionApps(IReadOnlyList<Assembly> Assemblies)
{
    /// <summary>The apps and the domains they refer to: the assemblies that hold migrations.</summary>
    public IEnumerable<Assembly> WithDomains() => Assemblies
        .SelectMany(a => a.GetReferencedAssemblies())
        .Where(name => name.Name!.StartsWith("Agency.", StringComparison.Ordinal))
        .DistinctBy(name => name.FullName)
        .Select(Assembly.Load)
        .Concat(Assemblies);

    /// <summary>The concrete classes of these apps that are a <typeparamref name="T"/>.</summary>
    public IEnumerable<Type> Implementing<T>() =>
        Assemblies.SelectMany(a => a.GetTypes()).Where(t => t is { IsAbstract: false, IsClass: true } && t.IsAssignableTo(typeof(T)));
}

public static class PlatformServices
{
    /// <summary>What every function may ask for, whatever the engines.</summary>
    public static IServiceCollection AddPlatform(this IServiceCollection services, IReadOnlyList<Assembly> apps)
    {
        var functionApps = new FunctionApps(apps);
        services.AddSingleton(functionApps);
        foreach (var saga in functionApps.Implementing<ISaga>())
            services.AddSingleton(saga);
        services.AddSingleton(p => SagaCatalog.Of(functionApps, p));
        services.AddSingleton<Database>();
        services.AddSingleton<TokenValidator>();
        services.AddSingleton(TimeProvider.System);
        services.TryAddSingleton(InboxOptions.Default);
        services.TryAddSingleton(ReadCacheOptions.Default);
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
