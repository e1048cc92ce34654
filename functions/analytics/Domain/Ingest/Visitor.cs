using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Agency.Analytics;

/// <summary>
/// Whom an event counts for, as a number that the tables keep instead of an id: the first eight bytes of the SHA-256 of the id, to which a
/// zero byte is added when it is an anonymous one, and the lowest bit of them 1 for an anonymous id and 0 for a user's. So evenly spread
/// that a <see cref="Sketch"/> takes it as it is.
/// </summary>
public static class Visitor
{
    private const int MaxUtf8 = EventReader.MaxText * 3;

    /// <param name="id">At most <see cref="EventReader.MaxText"/> characters.</param>
    public static long Of(string id, bool anonymous)
    {
        Span<byte> utf8 = stackalloc byte[MaxUtf8 + 1];
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        var length = Encoding.UTF8.GetBytes(id, utf8);
        // No id has it, so that a user and a device of one name are two also where only their hash is looked at.
        if (anonymous)
            utf8[length++] = 0;
        SHA256.HashData(utf8[..length], hash);
        return (BinaryPrimitives.ReadInt64BigEndian(hash) & -2) | (anonymous ? 1L : 0);
    }

    /// <summary>The user's when the event names one, else the anonymous id's, else null.</summary>
    public static long? Of(TrackedEvent e) => e.UserId is { } user ? Of(user, anonymous: false) : e.AnonymousId is { } id ? Of(id, anonymous: true) : null;

    /// <summary>The anonymous id's where the event is a user's, so that it counts for another; else null.</summary>
    public static long? DeviceOf(TrackedEvent e) => e is { UserId: not null, AnonymousId: { } id } ? Of(id, anonymous: true) : null;

    public static bool IsAnonymous(long visitor) => (visitor & 1) != 0;
}
