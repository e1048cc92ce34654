using System.Reflection;
using Agency.Embedded;
using Agency.Platform;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Agency.Hosting;

/// <summary>The composition root: the only place that knows which engine stands behind which port.</summary>
public static partial class AgencyHosting
{
    /// <summary>Gives a worker the platform, the engines that its configuration names, and the middleware that every function shares.</summary>
    /// <param name="apps">The function apps of this process; the program's own unless given.</param>
    /// <exception cref="InvalidOperationException">A setting is missing; the message says which and how to set it.</exception>
    public static FunctionsApplicationBuilder AddAgency(this FunctionsApplicationBuilder builder, params IReadOnlyList<Assembly> apps)
    {
        var settings = builder.Configuration;
        // The portable worker reads %KafkaBrokers% here, although the embedded log calls no broker. The Functions host never sees this
        // default: it reads its own app settings, so there the setting must be made.
        settings["KafkaBrokers"] ??= "localhost:9092";
        var services = builder.Services;
        // Not the settings themselves: who asks for a database gets its pools, not the owner's password.
        var postgres = Postgres(settings);
        services.AddSingleton(_ => new Database(postgres));
        services.AddIdentity(settings, settings["AGENCY_HOME"] ?? Path.Combine(Directory.GetCurrentDirectory(), ".agency"));
        var functionApps = new FunctionApps(apps is { Count: > 0 } ? apps : [Assembly.GetEntryAssembly()!]);
        services.AddPlatform(functionApps);
        // These ports have one engine in this build; another name must stop the start, not be ignored.
        foreach (var port in (string[])["Log", "Sagas", "Graph", "Search"])
            Engine(settings, port, "postgres");
        services.AddEmbedded();
        services.AddCrossOrigin(settings);
        services.AddForwardedAddresses(settings);
        services.AddSingleton(RateLimitOptions.From(settings, functionApps));
        services.AddSingleton(WebhookOptions.From(settings));
        services.AddSingleton(Engine(settings, "Cache", "memory", "none") == "none" ? ReadCacheOptions.None : ReadCacheOptions.Default);
        AddPortable(services);

        builder.UseMiddleware<ProblemMiddleware>();
        builder.UseMiddleware<AuthenticationMiddleware>();
        builder.UseMiddleware<RateLimitMiddleware>();
        builder.UseMiddleware<AuthorizationMiddleware>();
        builder.UseMiddleware<StrictQueryMiddleware>();
        builder.UseMiddleware<UnreadBodyMiddleware>();
        return builder;
    }

    /// <summary>The engines that keep their state in PostgreSQL, and bring its tables.</summary>
    public static IReadOnlyList<Assembly> EnginesWithMigrations { get; } = [typeof(EmbeddedServices).Assembly];

    /// <summary>The engine that the configuration names for a port; the first of the known ones when it names none.</summary>
    private static string Engine(ConfigurationManager settings, string port, params ReadOnlySpan<string> known)
    {
        var name = settings[$"Engines:{port}"] ?? known[0];
        return known.Contains(name)
            ? name
            : throw new InvalidOperationException($"Engines:{port} is '{name}', which this build does not have. It has {string.Join(", ", known)}.");
    }

    private static PostgresSettings Postgres(ConfigurationManager settings)
    {
        if (settings["AGENCY_POSTGRES"] is { Length: > 0 } admin)
            return PostgresSettings.From(admin);
        if (settings.GetConnectionString("App") is { Length: > 0 } app && settings.GetConnectionString("System") is { Length: > 0 } system)
            return new("", app, system);
        throw new InvalidOperationException(
            "No database is configured. Run ./agency up, or set AGENCY_POSTGRES to a connection string, or ConnectionStrings:App and ConnectionStrings:System.");
    }

    /// <summary>Present in the build whose worker has to be fed by us.</summary>
    static partial void AddPortable(IServiceCollection services);
}
