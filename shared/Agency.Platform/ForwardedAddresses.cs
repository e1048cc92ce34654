using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using IPNetwork = System.Net.IPNetwork;

namespace Agency.Platform;

/// <summary>
/// Whose <c>X-Forwarded-For</c> is believed: <c>ForwardedHeaders:KnownNetworks</c>, addresses and networks separated by spaces; nobody's
/// unless set, as anybody can send the header; only the official worker believes its host, on this machine, by itself. With it the remote
/// address of a request is the client's, for limits, the audit trail and analytics.
/// </summary>
public static class ForwardedAddresses
{
    /// <exception cref="InvalidOperationException">An entry is neither an address nor a network.</exception>
    public static IServiceCollection AddForwardedAddresses(this IServiceCollection services, IConfiguration settings)
    {
        const string Name = "ForwardedHeaders:KnownNetworks";
        var networks = (settings[Name] ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Parse).ToList();
        if (networks.Count == 0)
            return services;
        services.Configure<ForwardedHeadersOptions>(options =>
        {
            options.ForwardedHeaders = ForwardedHeaders.XForwardedFor;
            // However many proxies a request has come through: it is followed back to the first one that is not known.
            options.ForwardLimit = null;
            // The framework would believe whoever is on this machine.
            options.KnownProxies.Clear();
            options.KnownIPNetworks.Clear();
            foreach (var network in networks)
                options.KnownIPNetworks.Add(network);
        });
        return services.AddTransient<IStartupFilter, BeforeAll>();

        static IPNetwork Parse(string text) => IPNetwork.TryParse(text, out var network) ? network
            : IPAddress.TryParse(text, out var address) ? new IPNetwork(address, address.GetAddressBytes().Length * 8)
            : throw new InvalidOperationException($"The setting {Name} has '{text}', which is neither an address nor a network such as 10.0.0.0/8.");
    }

    /// <summary>Both workers run these around all they do, so that no function needs to know.</summary>
    private sealed class BeforeAll : IStartupFilter
    {
        public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
        {
            app.UseForwardedHeaders();
            next(app);
        };
    }
}
