namespace Agency.Platform;

/// <summary>Cuts text without leaving half a character at its end: PostgreSQL takes no half of a surrogate pair.</summary>
public static class TextCut
{
    /// <param name="text">Any text.</param>
    /// <param name="maxLength">Characters (UTF-16) that are kept at most.</param>
    public static string Cut(this string text, int maxLength) => text.Length <= maxLength ? text : text.AsSpan().Cut(maxLength).ToString();

    /// <inheritdoc cref="Cut(string, int)"/>
    public static ReadOnlySpan<char> Cut(this ReadOnlySpan<char> text, int maxLength) => text.Length <= maxLength ? text
        : text[..(maxLength > 0 && char.IsHighSurrogate(text[maxLength - 1]) ? maxLength - 1 : maxLength)];
}
