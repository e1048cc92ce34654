using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>Where a request comes from: the connection's address, or what a known proxy says of it (<see cref="ForwardedAddresses"/>).</summary>
internal static class ClientAddress
{
    private const int NetworkBytes = 8;

    /// <summary>
    /// An IPv4 address as such, also on a socket that takes both, and an IPv6 address without its scope, which means something on this
    /// machine only. Null when the connection has no address.
    /// </summary>
    public static IPAddress? Of(HttpContext http) => http.Connection.RemoteIpAddress switch
    {
        { IsIPv4MappedToIPv6: true } mapped => mapped.MapToIPv4(),
        { AddressFamily: AddressFamily.InterNetworkV6, ScopeId: not 0 } scoped => new(scoped.GetAddressBytes()),
        var address => address,
    };

    /// <summary>Whom a limit counts as one: an IPv4 address or an IPv6 network of 64 bits, as whoever has one of its addresses has them all.</summary>
    public static string Bucket(HttpContext http)
    {
        if (Of(http) is not { } address)
            return "";
        if (address.AddressFamily != AddressFamily.InterNetworkV6)
            return address.ToString();
        var bytes = address.GetAddressBytes();
        bytes.AsSpan(NetworkBytes).Clear();
        return new IPAddress(bytes).ToString();
    }
}
