using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The parts of a page's address, found without checking that it is one: a client sends whatever its browser showed.</summary>
public readonly ref struct PageUrl
{
    /// <summary>Characters of a host name, RFC 1035.</summary>
    private const int MaxHost = 253;

    /// <summary>Characters that are kept of a query parameter.</summary>
    private const int MaxParameter = 200;

    /// <summary>The host with neither port nor a leading <c>www.</c>; empty when there is none.</summary>
    public ReadOnlySpan<char> Host { get; }

    /// <summary>From its first slash, escaped as it came; empty when there is none.</summary>
    public ReadOnlySpan<char> Path { get; }

    /// <summary>What comes after the question mark.</summary>
    public ReadOnlySpan<char> Query { get; }

    public PageUrl(ReadOnlySpan<char> text)
    {
        text = Until(text, "#", out _);
        var rest = Until(text, "?", out var query);
        Query = query;
        if (rest.IndexOf("://", StringComparison.Ordinal) is >= 0 and var scheme && !rest[..scheme].Contains('/'))
        {
            rest = rest[(scheme + 3)..];
            var slash = rest.IndexOf('/');
            Host = Name(slash < 0 ? rest : rest[..slash]);
            Path = Host.IsEmpty ? default : slash < 0 ? "/" : rest[slash..];
        }
        else if (rest.StartsWith('/'))
        {
            Path = rest;
        }
    }

    /// <summary>The first value of a query parameter, decoded; null when there is none or it says nothing.</summary>
    public string? Parameter(ReadOnlySpan<char> name)
    {
        foreach (var range in Query.Split('&'))
        {
            var field = Until(Query[range], "=", out var value);
            if (field.Equals(name, StringComparison.OrdinalIgnoreCase))
                return Decoded(value);
        }

        return null;
    }

    private static string? Decoded(ReadOnlySpan<char> value)
    {
        var text = value.ContainsAny('%', '+') ? Uri.UnescapeDataString(value.ToString().Replace('+', ' ')) : value.ToString();
        if (text.AsSpan().ContainsAnyInRange('\0', '\u001f'))
            text = string.Create(text.Length, text, static (to, from) =>
            {
                for (var i = 0; i < to.Length; i++)
                    to[i] = char.IsControl(from[i]) ? ' ' : from[i];
            });
        text = text.Trim().Cut(MaxParameter);
        return text.Length == 0 ? null : text;
    }

    private static ReadOnlySpan<char> Name(ReadOnlySpan<char> authority)
    {
        authority = authority[(authority.LastIndexOf('@') + 1)..];
        if (authority.StartsWith('['))
            authority = authority[..(authority.IndexOf(']') + 1)];
        else
            authority = Until(authority, ":", out _);
        if (authority.StartsWith("www.", StringComparison.OrdinalIgnoreCase))
            authority = authority[4..];
        return authority.Length <= MaxHost && !authority.ContainsAny(" \\\"<>") ? authority : default;
    }

    private static ReadOnlySpan<char> Until(ReadOnlySpan<char> text, ReadOnlySpan<char> mark, out ReadOnlySpan<char> rest)
    {
        var at = text.IndexOf(mark, StringComparison.Ordinal);
        rest = at < 0 ? default : text[(at + mark.Length)..];
        return at < 0 ? text : text[..at];
    }
}
