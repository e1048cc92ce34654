using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>
/// Which web origins may call from a browser: <c>Cors:Origins</c>, separated by spaces; none unless set. In the official build the
/// Functions host answers preflights before a function sees them, so there the same list stands in the host's own CORS setting.
/// </summary>
public static class CrossOrigin
{
    /// <exception cref="InvalidOperationException">An entry is not an origin.</exception>
    public static IServiceCollection AddCrossOrigin(this IServiceCollection services, IConfiguration settings)
    {
        var origins = (settings["Cors:Origins"] ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        foreach (var origin in origins)
            if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") || uri.GetLeftPart(UriPartial.Authority) != origin)
                throw new InvalidOperationException($"The setting Cors:Origins has '{origin}', which is not an origin such as https://app.example.com.");
        return origins.Length == 0 ? services : services.AddCors(cors => cors.AddDefaultPolicy(policy => policy
            .WithOrigins(origins)
            .WithMethods("GET", "POST", "PUT", "DELETE")
            .WithHeaders("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match")
            .WithExposedHeaders("ETag", "Location", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "Idempotency-Replayed", ProblemMiddleware.TraceHeader)
            .SetPreflightMaxAge(TimeSpan.FromMinutes(10))));
    }
}
