using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Agency.Platform;

/// <summary>
/// Which addresses a client may have us connect to: those that the IANA special-purpose registries (RFC 6890) leave to the public
/// internet. Everything else could be a machine beside ours or its cloud's metadata service.
/// </summary>
public static class PublicAddress
{
    private static readonly IPNetwork[] Closed =
    [
        .. new[]
        {
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
            "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            // A public address by which every Azure machine reaches its own host.
            "168.63.129.16/32",
            // Within 2000::/3: protocol assignments with Teredo and ORCHID, documentation.
            "2001::/23", "2001:db8::/32", "3fff::/20",
        }.Select(IPNetwork.Parse),
    ];

    private static readonly IPNetwork Unicast = IPNetwork.Parse("2000::/3");
    private static readonly IPNetwork SixToFour = IPNetwork.Parse("2002::/16");
    private static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");

    /// <summary>True when the address is reachable by everybody. One that carries an IPv4 address is as public as that.</summary>
    public static bool Is(IPAddress address)
    {
        if (address.AddressFamily == AddressFamily.InterNetworkV6)
        {
            if (address.IsIPv4MappedToIPv6)
                return Is(address.MapToIPv4());
            var bytes = address.GetAddressBytes();
            if (SixToFour.Contains(address))
                return Is(new IPAddress(bytes.AsSpan(2, 4)));
            if (Nat64.Contains(address))
                return Is(new IPAddress(bytes.AsSpan(12, 4)));
            if (!Unicast.Contains(address) || IsIsatap(bytes))
                return false;
        }

        return !Closed.Any(network => network.Contains(address));
    }

    /// <summary>RFC 5214: an interface identifier by which a router tunnels to the IPv4 address after it.</summary>
    private static bool IsIsatap(byte[] bytes) => (BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(8)) & ~0x0200_0000u) == 0x0000_5EFE;
}
