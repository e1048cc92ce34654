using System.Buffers;
using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using System.Text.Unicode;
using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>
/// Reads a command from a request: media type, size, and JSON that fits the record. A record's validation attributes are what clients are told
/// in the OpenAPI document; the rules themselves are the record's own, as they hold for its trimmed values and are all named at once. The
/// conformance tests hold each route to its document.
/// </summary>
public static class RequestBody
{
    /// <summary>Bytes; a route that takes more says so with <see cref="MaxBodyAttribute"/>.</summary>
    public const int DefaultLimit = 256 * 1024;

    private static readonly ConcurrentDictionary<Type, JsonTypeInfo> Strict = new();

    /// <summary>How a body is read, but for what resolves its types.</summary>
    internal static readonly JsonSerializerOptions StrictOptions = new(JsonSerializerDefaults.Web)
    {
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        AllowDuplicateProperties = false,
        NumberHandling = JsonNumberHandling.Strict,
        MaxDepth = 32,
    };

    /// <summary>The body as a <typeparamref name="T"/>.</summary>
    /// <param name="http">The request.</param>
    /// <param name="json">The slice's JSON context. Its options do not count: a request is read strictly, unknown fields refused.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <exception cref="ProblemException">415, 413, or 400 naming the fields.</exception>
    public static async Task<T> ReadAsync<T>(this HttpRequest http, IJsonTypeInfoResolver json, CancellationToken cancel)
    {
        var body = await http.ReadJsonBytesAsync(cancel);
        T? command;
        try
        {
            command = JsonSerializer.Deserialize(body.Span, StrictInfo<T>(json));
        }
        catch (JsonException malformed)
        {
            throw new ProblemException(Malformed(malformed));
        }

        return command ?? throw new ProblemException(Problem.Validation("$", "The body must be a JSON object, not null."));
    }

    /// <summary>
    /// The body's bytes, which are JSON of any shape that can be kept and read again: not nested deeper than a command may be, and its text such
    /// as the database holds.
    /// </summary>
    /// <exception cref="ProblemException">415, 413, or 400.</exception>
    public static async Task<ReadOnlyMemory<byte>> ReadAnyJsonAsync(this HttpRequest http, CancellationToken cancel)
    {
        var body = await http.ReadJsonBytesAsync(cancel);
        try
        {
            if (!HoldsOnlyText(body.Span))
                throw new ProblemException(Problem.Of(400, "malformed-json", "The request body is malformed", "The body holds text with NUL or half a surrogate pair."));
        }
        catch (JsonException malformed)
        {
            throw new ProblemException(Malformed(malformed));
        }

        return body;
    }

    /// <summary>The body's bytes, once its media type and size are right.</summary>
    /// <exception cref="ProblemException">415, 413, or 400 when they are not UTF-8.</exception>
    public static async Task<ReadOnlyMemory<byte>> ReadJsonBytesAsync(this HttpRequest http, CancellationToken cancel)
    {
        var media = http.ContentType.AsSpan();
        var end = media.IndexOf(';');
        if (!(end < 0 ? media : media[..end]).Trim().Equals("application/json", StringComparison.OrdinalIgnoreCase))
            throw new ProblemException(Problem.Of(415, "unsupported-media-type", "The body must be JSON", "Send Content-Type: application/json."));
        var body = await http.ReadBytesAsync(cancel);
        // RFC 8259; the reader itself looks only at the strings that somebody asks for.
        return Utf8.IsValid(body.Span)
            ? body
            : throw new ProblemException(Problem.Of(400, "malformed-json", "The request body is malformed", "The body is not UTF-8."));
    }

    /// <summary>The body's bytes, whatever they are. They are kept for the request's fingerprint.</summary>
    /// <exception cref="ProblemException">413.</exception>
    internal static async Task<ReadOnlyMemory<byte>> ReadBytesAsync(this HttpRequest http, CancellationToken cancel)
    {
        var exchange = Exchange.Of(http.HttpContext);
        var limit = exchange.MaxBody;
        if (http.ContentLength > limit)
            throw TooLarge(limit);
        while (true)
        {
            var read = await http.BodyReader.ReadAsync(cancel);
            if (read.Buffer.Length > limit)
            {
                // Unread, it would cost the client its connection.
                http.BodyReader.AdvanceTo(read.Buffer.End);
                throw TooLarge(limit);
            }

            if (read.IsCompleted)
            {
                exchange.Body = read.Buffer.ToArray();
                http.BodyReader.AdvanceTo(read.Buffer.End);
                return exchange.Body;
            }

            http.BodyReader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
        }
    }

    /// <summary>The problem for JSON that does not parse or does not fit.</summary>
    public static Problem Malformed(JsonException malformed)
    {
        var path = malformed.Path is { Length: > 2 } p && p.StartsWith("$.", StringComparison.Ordinal) ? p[2..] : "$";
        return Problem.Of(400, "malformed-json", "The request body is malformed", "The body is not JSON of the expected shape.") with
        {
            // The serializer's message names CLR types; the position is what helps a client.
            Errors = new Dictionary<string, string[]> { [path] = [Explain(malformed)] },
        };
    }

    /// <summary>Whether no escape in the JSON stands for NUL or half a surrogate pair. In plain sight UTF-8 has no such halves, and JSON no NUL.</summary>
    private static bool HoldsOnlyText(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = StrictOptions.MaxDepth });
        try
        {
            while (reader.Read())
                if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName && reader.ValueIsEscaped
                    && reader.GetString()!.Contains('\0', StringComparison.Ordinal))
                    return false;
            return true;
        }
        catch (InvalidOperationException)
        {
            // How the reader says that an escape is half a surrogate pair.
            return false;
        }
    }

    private static JsonTypeInfo<T> StrictInfo<T>(IJsonTypeInfoResolver resolver) => (JsonTypeInfo<T>)Strict.GetOrAdd(
        typeof(T),
        static (type, resolver) => new JsonSerializerOptions(StrictOptions) { TypeInfoResolver = resolver }.GetTypeInfo(type),
        resolver);

    private static string Explain(JsonException malformed)
    {
        var at = malformed.LineNumber is { } line ? $" (line {line + 1}, byte {malformed.BytePositionInLine + 1})" : "";
        var text = malformed.Message;
        return text switch
        {
            _ when text.Contains("missing required", StringComparison.Ordinal) || text.Contains("could not be mapped", StringComparison.Ordinal) =>
                "Fields are missing or unknown: " + string.Join(", ", text.Split('\'').Where((_, i) => i % 2 == 1).Where(n => !n.Contains('.', StringComparison.Ordinal))) + at,
            _ when text.Contains("Duplicate", StringComparison.OrdinalIgnoreCase) => "A field is given twice" + at,
            _ => "Not valid here" + at,
        };
    }

    private static ProblemException TooLarge(int limit) =>
        new(Problem.Of(413, "body-too-large", "The body is too large", $"This route takes at most {limit} bytes."));
}

/// <summary>How many bytes of body a route takes, where that is more than <see cref="RequestBody.DefaultLimit"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class MaxBodyAttribute(int bytes) : Attribute
{
    public int Bytes { get; } = bytes;
}
