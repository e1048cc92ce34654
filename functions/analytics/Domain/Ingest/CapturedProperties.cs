using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Agency.Analytics;

/// <summary>
/// The properties that are added to an event's own: <c>$url</c>, <c>$path</c>, <c>$referrer</c> (a host other than the page's own),
/// <c>$utm_source</c>, <c>_medium</c>, <c>_campaign</c>, <c>_term</c> and <c>_content</c>, <c>$device</c>, <c>$os</c>, <c>$browser</c> and
/// <c>$country</c>; each only when it is known. All are texts.
/// </summary>
public sealed class CapturedProperties
{
    private static readonly string[] Utm = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];

    // What is written is JSON inside JSON, never HTML.
    private static readonly JsonWriterOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    [ThreadStatic]
    private static ArrayBufferWriter<byte>? s_buffer;
    [ThreadStatic]
    private static Utf8JsonWriter? s_writer;

    private readonly EventContext? _context;
    private readonly UserAgent _agent;
    private readonly string? _country;

    // As members of an object, without its braces: most events of a request have the same ones.
    private readonly byte[] _members;

    public CapturedProperties(EventContext? context, UserAgent agent, string? country)
    {
        (_context, _agent, _country) = (context, agent, country);
        _members = context is null && agent == default && country is null ? [] : Members(null);
    }

    /// <param name="properties">A JSON object.</param>
    /// <param name="mayHaveOwn">It has names that begin with a dollar sign. A client's own value is kept.</param>
    public ReadOnlyMemory<byte> AddTo(ReadOnlyMemory<byte> properties, bool mayHaveOwn)
    {
        var members = mayHaveOwn && _members.Length > 0 ? Members(Names(properties.Span)) : _members;
        if (members.Length == 0)
            return properties;
        var open = properties.Span[..^1].TrimEnd(" \t\r\n"u8);
        var comma = open.Length > 1 ? 1 : 0;
        var all = new byte[open.Length + comma + members.Length + 1];
        open.CopyTo(all);
        if (comma > 0)
            all[open.Length] = (byte)',';
        members.CopyTo(all, open.Length + comma);
        all[^1] = (byte)'}';
        return all;
    }

    private byte[] Members(HashSet<string>? own)
    {
        var buffer = s_buffer ??= new(1024);
        buffer.ResetWrittenCount();
        var json = s_writer ??= new(buffer, Plain);
        json.Reset(buffer);
        json.WriteStartObject();
        if (_context is not null)
            WritePage(json, _context, own);
        Write(json, "$device", _agent.Device, own);
        Write(json, "$os", _agent.Os, own);
        Write(json, "$browser", _agent.Browser, own);
        Write(json, "$country", _country, own);
        json.WriteEndObject();
        json.Flush();
        return buffer.WrittenSpan[1..^1].ToArray();
    }

    private static void WritePage(Utf8JsonWriter json, EventContext context, HashSet<string>? own)
    {
        var page = new PageUrl(context.Url);
        Write(json, "$url", context.Url, own);
        Write(json, "$path", page.Path, own);
        if (context.Referrer is not null && new PageUrl(context.Referrer).Host is { IsEmpty: false } from && !from.Equals(page.Host, StringComparison.OrdinalIgnoreCase))
            Write(json, "$referrer", from.ToString().ToLowerInvariant(), own);
        if (page.Query.Contains("utm_", StringComparison.OrdinalIgnoreCase))
            foreach (var name in Utm)
                Write(json, $"${name}", page.Parameter(name), own);
    }

    private static void Write(Utf8JsonWriter json, string name, ReadOnlySpan<char> value, HashSet<string>? own)
    {
        if (!value.IsEmpty && own?.Contains(name) is not true)
            json.WriteString(name, value);
    }

    private static HashSet<string> Names(ReadOnlySpan<byte> properties)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var json = new Utf8JsonReader(properties);
        json.Read();
        for (; json.Read() && json.TokenType == JsonTokenType.PropertyName; json.Skip())
        {
            names.Add(json.GetString()!);
            json.Read();
        }

        return names;
    }
}
