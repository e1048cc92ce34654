using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Agency.Platform;

public static class IdentityServices
{
    /// <summary>Who is let in, as the settings <c>Auth:*</c> and <c>Clerk:*</c> say.</summary>
    /// <param name="home">The folder that holds the local issuer's key; not touched when another issuer is set.</param>
    /// <exception cref="InvalidOperationException">A setting is wrong; the message says which and what it must be.</exception>
    public static IServiceCollection AddIdentity(this IServiceCollection services, IConfiguration settings, string home)
    {
        var options = AuthOptions.From(settings);
        services.AddSingleton(options);
        services.AddSingleton(ClerkOptions.From(settings));
        services.AddSingleton<ApiKeys>();
        services.AddSingleton<OidcKeys>();
        if (options.Issuer is null)
            services.AddSingleton(LocalIssuer.Open(home));
        else
            services.AddSingleton(_ => LocalIssuer.Open(home));
        services.AddSingleton(provider => new TokenValidator(
            provider.GetRequiredService<AuthOptions>(),
            options.Issuer is null ? provider.GetRequiredService<LocalIssuer>() : null,
            options.Issuer is null ? null : provider.GetRequiredService<OidcKeys>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<TokenValidator>>()));
        return services;
    }
}
