using System.Text;

namespace Agency.Platform;

/// <summary>A failure as it is kept in a table, for whoever has to mend its cause.</summary>
public static class FailureText
{
    /// <summary>Characters.</summary>
    private const int MaxLength = 2000;

    public static string Of(Exception failure)
    {
        // PostgreSQL's text holds no NUL, and UTF-8 no half of a surrogate pair: there and back it becomes a replacement character.
        var text = $"{failure.GetType().Name}: {failure.Message}".Replace("\0", "", StringComparison.Ordinal).Cut(MaxLength);
        return Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
    }
}
