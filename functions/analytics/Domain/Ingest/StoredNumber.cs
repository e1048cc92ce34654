using System.Buffers.Text;

namespace Agency.Analytics;

/// <summary>Numbers as they may be in events and be asked for.</summary>
public static class StoredNumber
{
    private const int MaxText = 64;
    private const int MaxExponent = 400;

    /// <summary>False for a JSON number that PostgreSQL's numeric would refuse or blow up to thousands of digits.</summary>
    public static bool Fits(ReadOnlySpan<byte> number)
    {
        var exponent = number.IndexOfAny((byte)'e', (byte)'E');
        return number.Length <= MaxText
            && (exponent < 0 || (Utf8Parser.TryParse(number[(exponent + 1)..], out int power, out _) && power is >= -MaxExponent and <= MaxExponent));
    }
}
