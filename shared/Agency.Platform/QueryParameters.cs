using System.Globalization;
using System.Text;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;

namespace Agency.Platform;

/// <summary>
/// A request's query parameters, read strictly: values that do not fit are 400, naming the parameter. That a name is known and given once
/// has been seen to by <see cref="StrictQueryMiddleware"/>, which goes by the slice's <see cref="OperationAttribute"/>.
/// </summary>
public sealed class QueryParameters
{
    /// <summary>Characters of a value, where the route says nothing else.</summary>
    public const int MaxText = 200;

    private readonly HttpRequest _http;

    private QueryParameters(HttpRequest http) => _http = http;

    public static QueryParameters Of(HttpRequest http) => new(http);

    /// <param name="known">Every name that the route takes.</param>
    /// <exception cref="ProblemException">400: another name, or one given twice.</exception>
    internal static void Check(HttpRequest http, ReadOnlySpan<string> known)
    {
        foreach (var (name, values) in http.Query)
        {
            if (!known.Contains(name))
                throw Wrong(name, known.Length == 0 ? "This route takes no query parameters." : $"Unknown. This route takes {string.Join(", ", known)}.");
            if (values.Count != 1)
                throw Wrong(name, "Given more than once.");
        }
    }

    /// <summary>Null when it is not given.</summary>
    /// <param name="maxLength">Characters.</param>
    public string? Text(string name, int maxLength = MaxText)
    {
        if (!_http.Query.TryGetValue(name, out var values))
            return null;
        var text = values.ToString();
        return text.Length > maxLength ? throw Wrong(name, $"At most {maxLength} characters.")
            : text.Contains('\0', StringComparison.Ordinal) ? throw Wrong(name, "Must not contain NUL.")
            : text;
    }

    /// <exception cref="ProblemException">400: missing or empty.</exception>
    public string RequiredText(string name, int maxLength = MaxText) =>
        Text(name, maxLength) is { } text && !string.IsNullOrWhiteSpace(text) ? text : throw Wrong(name, "Required.");

    public int Integer(string name, int low, int high, int otherwise) => Text(name) is not { } text ? otherwise
        : int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= low && value <= high ? value
        : throw Wrong(name, $"A whole number from {low} to {high}.");

    /// <summary>An RFC 3339 time, or a date, which stands for its midnight; UTC when it names no offset.</summary>
    public DateTimeOffset? Time(string name) => Text(name) is not { } text ? null
        // A space is what an unescaped plus sign of an offset arrives as.
        : DateTimeOffset.TryParseExact(text.Replace(' ', '+'), Times, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var value)
            ? value.ToUniversalTime()
            : throw Wrong(name, "A time such as 2011-12-09T12:50:00Z, or a date such as 2011-12-09.");

    /// <summary>One of these words.</summary>
    public string OneOf(string name, string otherwise, params ReadOnlySpan<string> words) => Text(name) is not { } text ? otherwise
        : words.Contains(text) ? text
        : throw Wrong(name, $"One of {string.Join(", ", words)}.");

    /// <summary>What <see cref="Page"/> put in the cursor; null on the first page.</summary>
    private string? Cursor()
    {
        if (Text("cursor", 1000) is not { } text)
            return null;
        try
        {
            return Strict.GetString(WebEncoders.Base64UrlDecode(text));
        }
        catch (Exception malformed) when (malformed is FormatException or ArgumentException)
        {
            throw Wrong("cursor", "Not a cursor of this list.");
        }
    }

    /// <summary>The cursor read as an id.</summary>
    public Guid? CursorId() => Cursor() is not { } text ? null : Guid.TryParse(text, out var id) ? id : throw Wrong("cursor", "Not a cursor of this list.");

    /// <summary>The cursor read as a number.</summary>
    public long? CursorNumber() => Cursor() is not { } text ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
        : throw Wrong("cursor", "Not a cursor of this list.");

    /// <summary>A page of a list, with the link to the next when there is one.</summary>
    /// <param name="rows">What was read: one row more than the limit tells that there is a next page.</param>
    /// <param name="limit">Rows of a page.</param>
    /// <param name="key">What the cursor keeps of the page's last row.</param>
    public Answer Page<T, TKey>(List<T> rows, int limit, Func<T, TKey> key, JsonTypeInfo<IReadOnlyList<T>> json)
        where TKey : IFormattable => rows.Count <= limit
            ? Answer.Page(rows, json, null)
            : Answer.Page(rows[..limit], json, NextPage(key(rows[limit - 1]).ToString(null, CultureInfo.InvariantCulture)));

    /// <summary>The path and query of the page after the row with this key: the same request with another cursor.</summary>
    private string NextPage(string key)
    {
        var parameters = _http.Query.Where(p => p.Key != "cursor").Select(p => KeyValuePair.Create(p.Key, (string?)p.Value.ToString()));
        return QueryHelpers.AddQueryString(_http.Path, parameters.Append(new("cursor", WebEncoders.Base64UrlEncode(Encoding.UTF8.GetBytes(key)))));
    }

    public static ProblemException Wrong(string name, string message) => new(Problem.Validation(name, message));

    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);
    private static readonly string[] Times = ["yyyy-MM-dd", "yyyy-MM-ddTHH:mm", "yyyy-MM-ddTHH:mmK", "yyyy-MM-ddTHH:mm:ssK", "yyyy-MM-ddTHH:mm:ss.FFFFFFFK"];
}
