namespace Agency.Platform;

/// <summary>A failure as it is kept in a table, for whoever has to mend its cause.</summary>
public static class FailureText
{
    /// <summary>Characters.</summary>
    private const int MaxLength = 2000;

    public static string Of(Exception failure)
    {
        // PostgreSQL's text holds no NUL.
        var text = $"{failure.GetType().Name}: {failure.Message}".Replace("\0", "", StringComparison.Ordinal);
        return text.Length <= MaxLength ? text : text[..MaxLength];
    }
}
