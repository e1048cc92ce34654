using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Agency.Analytics;

/// <summary>One IP address or a network of them in CIDR notation. An IPv4 address that is written as IPv6 is the same.</summary>
/// <param name="First">The lowest address, as IPv6.</param>
/// <param name="Mask">The bits that must be the same.</param>
public readonly record struct NetworkAddress(UInt128 First, UInt128 Mask)
{
    private static readonly SearchValues<char> Written = SearchValues.Create("0123456789abcdefABCDEF:.");

    /// <summary>Strict where the framework is lenient: no octal or missing parts, no zones, no ports.</summary>
    public static bool TryParse(string text, [NotNullWhen(true)] out IPAddress? address)
    {
        address = null;
        if (text.AsSpan().ContainsAnyExcept(Written) || !IPAddress.TryParse(text, out var parsed)
            || (parsed.AddressFamily == AddressFamily.InterNetwork && parsed.ToString() != text))
            return false;
        address = parsed.IsIPv4MappedToIPv6 ? parsed.MapToIPv4() : parsed;
        return true;
    }

    /// <param name="normal">The same as it is written usually.</param>
    public static bool TryParse(string text, out NetworkAddress network, out string normal)
    {
        (network, normal) = (default, "");
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        if (!TryParse(slash < 0 ? text : text[..slash], out var address))
            return false;
        var isV4 = address.AddressFamily == AddressFamily.InterNetwork;
        // An IPv4 network that is written as IPv6 counts its bits from there.
        var offset = isV4 && text.Contains(':', StringComparison.Ordinal) ? 96 : 0;
        var most = isV4 ? 32 : 128;
        var prefix = most;
        if (slash >= 0 && (!int.TryParse(text.AsSpan(slash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out prefix) || (prefix -= offset) < 0 || prefix > most))
            return false;
        var bits = 128 - (prefix + (isV4 ? 96 : 0));
        var mask = bits == 128 ? UInt128.Zero : UInt128.MaxValue << bits;
        network = new(Number(address) & mask, mask);
        var first = network.First;
        normal = prefix == most ? address.ToString() : string.Create(CultureInfo.InvariantCulture, $"{Address(first, isV4)}/{prefix}");
        return true;
    }

    public bool Contains(UInt128 address) => (address & Mask) == First;

    /// <summary>An address as an IPv6 one.</summary>
    public static UInt128 Number(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        bytes.Clear();
        if (address.AddressFamily == AddressFamily.InterNetwork)
        {
            bytes[10] = bytes[11] = 0xFF;
            address.TryWriteBytes(bytes[12..], out _);
        }
        else
        {
            address.TryWriteBytes(bytes, out _);
        }

        return BinaryPrimitives.ReadUInt128BigEndian(bytes);
    }

    private static IPAddress Address(UInt128 number, bool isV4)
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, number);
        return new(isV4 ? bytes[12..] : bytes);
    }
}
