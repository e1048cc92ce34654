using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Agency.Platform;

/// <summary>
/// Signs and verifies webhooks after the Standard Webhooks specification 1.0, which is also the scheme of Svix: HMAC-SHA256 over
/// <c>{id}.{timestamp}.{body}</c>, the timestamp in seconds since 1970, sent as <c>v1,</c> and base64; several have spaces between.
/// With several secrets, while they are being changed, it signs with each and accepts any.
/// </summary>
public sealed class WebhookSignature
{
    /// <summary>Before the base64 of a secret.</summary>
    public const string SecretPrefix = "whsec_";

    private const int MinSecretBytes = 24;
    private const int MaxIdLength = 200;
    private const string Version = "v1,";

    /// <summary>How far a timestamp may be from now, both ways.</summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromMinutes(5);

    private readonly byte[][] _keys;

    /// <param name="secrets">At least one; the prefix may be missing.</param>
    /// <exception cref="FormatException">There is none, or one is not base64 of at least 24 bytes. The message does not hold the secret.</exception>
    public WebhookSignature(params IReadOnlyList<string> secrets)
    {
        if (secrets.Count == 0)
            throw new FormatException("A webhook needs a secret.");
        _keys = [.. secrets.Select(Key)];
    }

    /// <summary>A secret of 256 random bits.</summary>
    public static string NewSecret() => SecretPrefix + Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));

    /// <summary>The value of the signature header.</summary>
    /// <param name="id">The message's id, without a full stop; the same each time it is sent.</param>
    /// <param name="at">Now.</param>
    /// <param name="body">The bytes that are sent.</param>
    /// <exception cref="ArgumentException">The id could be mistaken for something else.</exception>
    public string Sign(string id, DateTimeOffset at, ReadOnlySpan<byte> body)
    {
        if (!IsId(id))
            throw new ArgumentException("An id is 1 to 200 printable ASCII characters without a full stop.", nameof(id));
        var signatures = new List<string>();
        foreach (var key in _keys)
            signatures.Add(Version + Convert.ToBase64String(Mac(key, id, Timestamp(at), body)));
        return string.Join(' ', signatures);
    }

    /// <summary>The value of the timestamp header.</summary>
    public static string Timestamp(DateTimeOffset at) => at.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);

    /// <summary>Whether a message comes, as it is and just now, from who knows a secret.</summary>
    /// <returns>Null when it does; else why not, as a sentence.</returns>
    public string? Refusal(string? id, string? timestamp, string? signatures, ReadOnlySpan<byte> body, DateTimeOffset now)
    {
        if (id is null || !IsId(id) || string.IsNullOrEmpty(signatures))
            return "The headers of a signed webhook are missing or malformed.";
        if (!long.TryParse(timestamp, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds))
            return "The timestamp is not a whole number of seconds.";
        if (Math.Abs(now.ToUnixTimeSeconds() - seconds) > Tolerance.TotalSeconds)
            return "The timestamp is too far from now.";
        var good = false;
        Span<byte> given = stackalloc byte[HMACSHA256.HashSizeInBytes];
        foreach (var key in _keys)
        {
            var expected = Mac(key, id, timestamp!, body);
            foreach (var range in signatures.AsSpan().Split(' '))
            {
                var signature = signatures.AsSpan()[range];
                if (signature.StartsWith(Version, StringComparison.Ordinal)
                    && Convert.TryFromBase64Chars(signature[Version.Length..], given, out var length) && length == given.Length)
                    good |= CryptographicOperations.FixedTimeEquals(given, expected);
            }
        }

        return good ? null : "No signature fits.";
    }

    private static byte[] Key(string secret)
    {
        var text = secret.StartsWith(SecretPrefix, StringComparison.Ordinal) ? secret[SecretPrefix.Length..] : secret;
        var key = new byte[text.Length];
        if (!Convert.TryFromBase64String(text, key, out var length) || length < MinSecretBytes)
            throw new FormatException($"A webhook's secret is {SecretPrefix} and the base64 of at least {MinSecretBytes} bytes.");
        return key[..length];
    }

    private static byte[] Mac(byte[] key, string id, string timestamp, ReadOnlySpan<byte> body)
    {
        using var mac = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, key);
        mac.AppendData(Encoding.UTF8.GetBytes($"{id}.{timestamp}."));
        mac.AppendData(body);
        return mac.GetHashAndReset();
    }

    /// <summary>A full stop in the id would let one signed text be read as another message with another time.</summary>
    private static bool IsId(string id) =>
        id.Length is > 0 and <= MaxIdLength && !id.Contains('.', StringComparison.Ordinal) && !id.AsSpan().ContainsAnyExceptInRange('!', '~');
}
