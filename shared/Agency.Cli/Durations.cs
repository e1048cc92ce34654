using System.Globalization;

namespace Agency.Cli;

/// <summary>Reads a time span as people write it: a number and one of s, m, h, d.</summary>
internal static class Durations
{
    /// <summary>False unless the text is a positive number with a unit and at most ten years.</summary>
    public static bool TryParse(string text, out TimeSpan time)
    {
        time = default;
        if (text.Length < 2 || !double.TryParse(text.AsSpan(..^1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number))
            return false;
        double? seconds = text[^1] switch { 's' => 1, 'm' => 60, 'h' => 3600, 'd' => 86400, _ => null };
        if (seconds * number is not { } total || total < 1 || total > 3650d * 86400)
            return false;
        time = TimeSpan.FromSeconds(total);
        return true;
    }
}
