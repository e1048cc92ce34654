using System.Text.Json;
using System.Text.Unicode;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// Reads the body of <c>POST /events</c>, item by item, in one pass over its bytes. What is wrong with one item is that item's error; what
/// is wrong with the body as a whole is everybody's. See docs/decisions/0005-partial-acceptance.md.
/// </summary>
public static class EventReader
{
    /// <summary>Events in one request.</summary>
    public const int MaxEvents = 1000;

    /// <summary>Characters of a message id, event name, user id, anonymous id, order id and product id.</summary>
    public const int MaxText = 200;

    /// <summary>Bytes of one event's properties.</summary>
    public const int MaxProperties = 32 * 1024;

    /// <summary>Objects and arrays inside one another in the properties, themselves included.</summary>
    public const int MaxDepth = 16;

    /// <summary>A clock may be wrong by so much; what is dated later is no event yet.</summary>
    public static readonly TimeSpan MaxAhead = TimeSpan.FromHours(24);

    // Item and property nesting stays below this in every valid body; beyond it the body is refused as malformed.
    private const int ReaderDepth = 64;

    /// <summary>What a client may call its event, in the order it came.</summary>
    /// <param name="body">One event object, or an array of 1 to <see cref="MaxEvents"/>.</param>
    /// <param name="now">The time of an event that gives none.</param>
    /// <param name="request">What the request tells of where its events come from.</param>
    /// <exception cref="ProblemException">400: the body is not JSON, or not one event or a permitted number of them.</exception>
    public static IReadOnlyList<ReadItem> Read(ReadOnlyMemory<byte> body, DateTimeOffset now, EventOrigin? request = null)
    {
        request ??= EventOrigin.Unknown;
        if (!Utf8.IsValid(body.Span))
            throw new ProblemException(Problem.Of(400, "malformed-json", "The request body is malformed", "The body is not UTF-8."));
        try
        {
            var json = new Utf8JsonReader(body.Span, new JsonReaderOptions { MaxDepth = ReaderDepth });
            json.Read();
            var items = new List<ReadItem>();
            if (json.TokenType == JsonTokenType.StartObject)
            {
                items.Add(ReadOne(ref json, body, now, request));
            }
            else if (json.TokenType == JsonTokenType.StartArray)
            {
                while (json.Read() && json.TokenType != JsonTokenType.EndArray)
                    items.Add(items.Count < MaxEvents ? ReadOne(ref json, body, now, request) : throw Wrong($"At most {MaxEvents} events in one request."));
            }
            else
            {
                throw Wrong("The body must be one event object or an array of them.");
            }

            // Whatever follows the value is not JSON any more, and the reader says so.
            json.Read();
            return items.Count > 0 ? items : throw Wrong("The array has no events.");
        }
        catch (JsonException malformed)
        {
            throw new ProblemException(RequestBody.Malformed(malformed));
        }
    }

    /// <summary>
    /// The events of an <see cref="EventTrackedEvent"/>. The serializer reads the same at several times the cost, which counts where every
    /// event there is passes through.
    /// </summary>
    /// <param name="data">The event's data as it is on the log. The properties are parts of it, not copies.</param>
    /// <exception cref="JsonException">It is of another shape.</exception>
    public static IReadOnlyList<TrackedEvent> ReadTracked(ReadOnlyMemory<byte> data)
    {
        var json = new Utf8JsonReader(data.Span, new JsonReaderOptions { MaxDepth = ReaderDepth });
        var events = new List<TrackedEvent>();
        json.Read();
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            var isEvents = json.ValueTextEquals("events"u8);
            json.Read();
            if (!isEvents)
                json.Skip();
            else
                while (json.Read() && json.TokenType == JsonTokenType.StartObject)
                    events.Add(ReadTracked(ref json, data));
        }

        return events;
    }

    private static TrackedEvent ReadTracked(ref Utf8JsonReader json, ReadOnlyMemory<byte> data)
    {
        string? messageId = null, name = null, userId = null, anonymousId = null;
        DateTimeOffset? time = null;
        ReadOnlyMemory<byte>? properties = null;
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            if (json.ValueTextEquals("messageId"u8))
                messageId = Next(ref json);
            else if (json.ValueTextEquals("event"u8))
                name = Next(ref json);
            else if (json.ValueTextEquals("userId"u8))
                userId = Next(ref json);
            else if (json.ValueTextEquals("anonymousId"u8))
                anonymousId = Next(ref json);
            else if (json.ValueTextEquals("time"u8))
                time = json.Read() ? json.GetDateTimeOffset() : null;
            else if (json.ValueTextEquals("properties"u8))
                properties = Part(ref json, data);
            else
                json.Skip();
        }

        return messageId is not null && name is not null && time is not null && properties is not null
            ? new(messageId, name, userId, anonymousId, time.Value, new(properties.Value))
            : throw new JsonException("A tracked event on the log lacks a field.");

        static string? Next(ref Utf8JsonReader json) => json.Read() ? json.GetString() : null;

        static ReadOnlyMemory<byte> Part(ref Utf8JsonReader json, ReadOnlyMemory<byte> data)
        {
            json.Read();
            var start = (int)json.TokenStartIndex;
            json.Skip();
            return data[start..(int)json.BytesConsumed];
        }
    }

    private static ProblemException Wrong(string message) => new(Problem.Validation("$", message));

    /// <summary>Reads from the item's first token to its last, whatever is wrong with it.</summary>
    private static ReadItem ReadOne(ref Utf8JsonReader json, ReadOnlyMemory<byte> body, DateTimeOffset now, EventOrigin request)
    {
        if (json.TokenType != JsonTokenType.StartObject)
        {
            json.Skip();
            return new(null, null, "an event must be a JSON object");
        }

        string? messageId = null, name = null, userId = null, anonymousId = null, error = null;
        DateTimeOffset? time = null;
        ReadOnlyMemory<byte>? properties = null;
        EventContext? context = null;
        var hasOwn = false;
        var seen = Fields.None;
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            // Before it is compared, which throws for such a name.
            if (!IsUnicode(ref json))
            {
                error ??= "has a field whose name holds half a surrogate pair";
                json.Skip();
            }
            else if (json.ValueTextEquals("messageId"u8))
            {
                Once(Fields.MessageId, ref seen, ref error);
                Text(ref json, "messageId", ref messageId, ref error);
            }
            else if (json.ValueTextEquals("event"u8))
            {
                Once(Fields.Event, ref seen, ref error);
                Text(ref json, "event", ref name, ref error);
            }
            else if (json.ValueTextEquals("userId"u8))
            {
                Once(Fields.UserId, ref seen, ref error);
                Text(ref json, "userId", ref userId, ref error);
            }
            else if (json.ValueTextEquals("anonymousId"u8))
            {
                Once(Fields.AnonymousId, ref seen, ref error);
                Text(ref json, "anonymousId", ref anonymousId, ref error);
            }
            else if (json.ValueTextEquals("time"u8))
            {
                Once(Fields.Time, ref seen, ref error);
                time = Time(ref json, now, ref error);
            }
            else if (json.ValueTextEquals("properties"u8))
            {
                Once(Fields.Properties, ref seen, ref error);
                properties = Properties(ref json, body, ref hasOwn, ref error);
            }
            else if (json.ValueTextEquals("context"u8))
            {
                Once(Fields.Context, ref seen, ref error);
                context = EventContext.Read(ref json, ref error);
            }
            else
            {
                error ??= "has a field that is not one of messageId, event, userId, anonymousId, time, properties, context";
                json.Skip();
            }
        }

        error ??= messageId is null ? "messageId is missing" : name is null ? "event is missing" : null;
        var given = properties ?? "{}"u8.ToArray();
        if (error is null && name == OrderLine.EventName)
            error = OrderLine.TryRead(given.Span, out _);
        if (error is not null)
            return new(null, messageId, error);
        var origin = request.With(context);
        return new(new(messageId!, name!, userId, anonymousId, time ?? Microseconds(now), new(origin.AddTo(given, hasOwn))), messageId, null, origin);
    }

    /// <summary>True for what may be an id or a name: at most <see cref="MaxText"/> characters, not blank, no control characters.</summary>
    public static bool IsText(string? text) =>
        text?.Length <= MaxText && !string.IsNullOrWhiteSpace(text) && !text.AsSpan().ContainsAnyInRange('\0', '\u001f');

    /// <summary>
    /// Reads the value of the property that the reader is on; null counts as not given, also after another value: of two equal names the
    /// last counts, as in what the table keeps.
    /// </summary>
    internal static void Text(ref Utf8JsonReader json, string field, ref string? value, ref string? error)
    {
        json.Read();
        if (json.TokenType == JsonTokenType.Null)
        {
            value = null;
            return;
        }

        // A character has at most six bytes of JSON, as \u00e9.
        if (json.TokenType == JsonTokenType.String && json.ValueSpan.Length <= 6 * MaxText && StringOf(ref json) is { } text && IsText(text))
        {
            value = text;
            return;
        }

        error ??= $"{field} must be a string of 1 to {MaxText} characters, not blank, without control characters";
        json.Skip();
    }

    private static DateTimeOffset? Time(ref Utf8JsonReader json, DateTimeOffset now, ref string? error)
    {
        json.Read();
        if (json.TokenType == JsonTokenType.Null)
            return null;
        // The parser also takes times without an offset, which would be this machine's local time.
        if (json.TokenType != JsonTokenType.String || json.ValueSpan.Length < "2011-12-09T12:50Z".Length
            || !(json.ValueSpan[^1] is (byte)'Z' || json.ValueSpan[^6] is (byte)'+' or (byte)'-') || !json.TryGetDateTimeOffset(out var time))
        {
            error ??= "time must be an RFC 3339 time with its offset, such as 2011-12-09T12:50:00Z";
            json.Skip();
            return null;
        }

        if (time < DateTimeOffset.UnixEpoch)
            error ??= "time is before 1970";
        else if (time > now + MaxAhead)
            error ??= "time is more than 24 hours in the future";
        return Microseconds(time);
    }

    /// <summary>Walks through the object and answers its bytes, which are sure to be accepted as jsonb.</summary>
    /// <param name="hasOwn">Whether there may be names in it that begin with a dollar sign.</param>
    private static ReadOnlyMemory<byte>? Properties(ref Utf8JsonReader json, ReadOnlyMemory<byte> body, ref bool hasOwn, ref string? error)
    {
        json.Read();
        if (json.TokenType == JsonTokenType.Null)
            return null;
        if (json.TokenType != JsonTokenType.StartObject)
        {
            error ??= "properties must be a JSON object";
            json.Skip();
            return null;
        }

        var start = (int)json.TokenStartIndex;
        var depth = json.CurrentDepth;
        while (json.Read() && !(json.TokenType == JsonTokenType.EndObject && json.CurrentDepth == depth))
        {
            if (json.CurrentDepth - depth >= MaxDepth)
                error ??= $"properties are nested more than {MaxDepth} deep";
            else if (json.TokenType == JsonTokenType.Number && !StoredNumber.Fits(json.ValueSpan))
                error ??= "properties hold a number that is too long or too large";
            else if (json.ValueIsEscaped && !(StringOf(ref json) is { } text && !text.Contains('\0', StringComparison.Ordinal)))
                error ??= "properties hold text with NUL or half a surrogate pair";
            hasOwn |= json.TokenType == JsonTokenType.PropertyName && (json.ValueIsEscaped || json.ValueSpan.StartsWith((byte)'$'));
        }

        var bytes = body[start..(int)json.BytesConsumed];
        if (bytes.Length > MaxProperties)
            error ??= $"properties are longer than {MaxProperties} bytes";
        return bytes;
    }

    /// <summary>False when the escapes of the text or name that the reader is on hold half a surrogate pair.</summary>
    internal static bool IsUnicode(ref Utf8JsonReader json) => !json.ValueIsEscaped || StringOf(ref json) is not null;

    /// <summary>Null when the text's escapes hold half a surrogate pair.</summary>
    internal static string? StringOf(ref Utf8JsonReader json)
    {
        try
        {
            return json.GetString();
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    // PostgreSQL's precision: the event on the log and the row tell the same time.
    private static DateTimeOffset Microseconds(DateTimeOffset time) =>
        new(time.UtcTicks - (time.UtcTicks % TimeSpan.TicksPerMicrosecond), TimeSpan.Zero);

    private static void Once(Fields field, ref Fields seen, ref string? error)
    {
        if (seen.HasFlag(field))
            error ??= "has a field twice";
        seen |= field;
    }

    [Flags]
    private enum Fields
    {
        None = 0,
        MessageId = 1,
        Event = 2,
        UserId = 4,
        AnonymousId = 8,
        Time = 16,
        Properties = 32,
        Context = 64,
    }
}

/// <summary>One item of a body: an event, or why it is none.</summary>
/// <param name="Event">Null when there is an error.</param>
/// <param name="MessageId">Also of a rejected item, when it could be read.</param>
/// <param name="Error">Null when there is an event.</param>
/// <param name="Origin">Where the event came from; null when there is none.</param>
public sealed record ReadItem(TrackedEvent? Event, string? MessageId, string? Error, EventOrigin? Origin = null);
