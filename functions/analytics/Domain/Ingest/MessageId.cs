using System.Security.Cryptography;
using System.Text;

namespace Agency.Analytics;

/// <summary>The id that a client gives an event, so that one which it sends twice is kept once.</summary>
public static class MessageId
{
    private const int DigestBytes = 16;

    /// <summary>What is kept to know the id again: the first 16 bytes of its SHA-256, as <c>analytics.digest_of</c> does.</summary>
    /// <param name="id">At most <see cref="EventReader.MaxText"/> characters.</param>
    public static Guid DigestOf(string id)
    {
        Span<byte> utf8 = stackalloc byte[EventReader.MaxText * 3];
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(utf8[..Encoding.UTF8.GetBytes(id, utf8)], hash);
        return new(hash[..DigestBytes], bigEndian: true);
    }
}
