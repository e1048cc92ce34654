using System.ComponentModel.DataAnnotations;
using System.Net;
using System.Text.Json;

namespace Agency.Analytics;

/// <summary>Where an event took place, as far as the client knows. An empty text counts as not given.</summary>
/// <param name="Url">The page's.</param>
/// <param name="Referrer">The page that led there; its host is kept.</param>
/// <param name="UserAgent">The visitor's, when somebody else sends the event; else the request's counts if it is a browser's.</param>
/// <param name="Address">The visitor's IP address, by which events are excluded; it is not kept. The request's unless given.</param>
/// <param name="Country">Where the visitor is, ISO 3166 alpha-2; <c>XX</c> and <c>T1</c> stand for unknown.</param>
public sealed record EventContext(
    [MaxLength(EventContext.MaxText)] string? Url = null, [MaxLength(EventContext.MaxText)] string? Referrer = null,
    [MaxLength(EventContext.MaxText)] string? UserAgent = null, [MaxLength(EventContext.MaxAddress)] string? Address = null,
    [MaxLength(2)] string? Country = null)
{
    /// <summary>Characters.</summary>
    public const int MaxText = 2048;

    private const int MaxAddress = 45;

    /// <summary>Reads the value of the property that the reader is on; null counts as not given.</summary>
    internal static EventContext? Read(ref Utf8JsonReader json, ref string? error)
    {
        json.Read();
        if (json.TokenType == JsonTokenType.Null)
            return null;
        if (json.TokenType != JsonTokenType.StartObject)
        {
            error ??= "context must be a JSON object";
            json.Skip();
            return null;
        }

        string? url = null, referrer = null, userAgent = null, address = null, country = null;
        var seen = 0;
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            if (!EventReader.IsUnicode(ref json))
            {
                error ??= "context has a field whose name holds half a surrogate pair";
                json.Skip();
            }
            else if (json.ValueTextEquals("url"u8))
                url = Text(ref json, "url", 1, ref seen, ref error);
            else if (json.ValueTextEquals("referrer"u8))
                referrer = Text(ref json, "referrer", 2, ref seen, ref error);
            else if (json.ValueTextEquals("userAgent"u8))
                userAgent = Text(ref json, "userAgent", 4, ref seen, ref error);
            else if (json.ValueTextEquals("address"u8))
                address = Text(ref json, "address", 8, ref seen, ref error);
            else if (json.ValueTextEquals("country"u8))
                country = Text(ref json, "country", 16, ref seen, ref error);
            else
            {
                error ??= "context has a field that is not one of url, referrer, userAgent, address, country";
                json.Skip();
            }
        }

        if (address is not null && !NetworkAddress.TryParse(address, out _))
            error ??= "context.address must be an IPv4 or IPv6 address";
        if (country is not null && country != "T1" && !IsCountry(country))
            error ??= "context.country must be an ISO 3166 alpha-2 code such as GB";
        return new(url, referrer, userAgent, address, country);
    }

    internal static bool IsCountry(string text) => text.Length == 2 && char.IsAsciiLetterUpper(text[0]) && char.IsAsciiLetterUpper(text[1]);

    private static string? Text(ref Utf8JsonReader json, string field, int bit, ref int seen, ref string? error)
    {
        if ((seen & bit) != 0)
            error ??= "context has a field twice";
        seen |= bit;
        json.Read();
        if (json.TokenType == JsonTokenType.Null)
            return null;
        if (json.TokenType == JsonTokenType.String && json.ValueSpan.Length <= 6 * MaxText && EventReader.StringOf(ref json) is { } text
            && text.Length <= MaxText && !text.AsSpan().ContainsAnyInRange('\0', '\u001f'))
            return text.Length == 0 ? null : text;
        error ??= $"context.{field} must be a string of at most {MaxText} characters without control characters";
        json.Skip();
        return null;
    }
}

/// <summary>
/// Where an event came from: what its context says, and where that says nothing, what its request tells. A server tells of itself and not of
/// the visitor, so only a browser's request counts for device and country.
/// </summary>
public sealed class EventOrigin
{
    private readonly UserAgent _agent;
    private readonly string? _country;
    private readonly CapturedProperties _captured;

    private EventOrigin(UserAgent agent, bool isBot, IPAddress? address, string? country, EventContext? context)
    {
        (_agent, IsBot, Address, _country) = (agent, isBot, address, country);
        _captured = new(context, agent, country);
    }

    /// <summary>Nothing is known.</summary>
    public static EventOrigin Unknown { get; } = new(default, false, null, null, null);

    /// <summary>A program that reads pages by itself.</summary>
    public bool IsBot { get; }

    /// <summary>Of the visitor, or else of who sent it.</summary>
    public IPAddress? Address { get; }

    /// <param name="userAgent">The request's header.</param>
    /// <param name="address">Where the connection came from.</param>
    /// <param name="country">From the header that the proxy in front sets; null when there is none.</param>
    public static EventOrigin OfRequest(string? userAgent, IPAddress? address, string? country)
    {
        var text = userAgent.AsSpan(0, Math.Min(userAgent?.Length ?? 0, EventContext.MaxText));
        var agent = UserAgent.IsBrowsers(text) ? UserAgent.Of(text) : default;
        var where = UserAgent.IsBrowsers(text) && country is not null && EventContext.IsCountry(country) && country != "XX" ? country : null;
        var isBot = agent.Device == UserAgent.Bot || UserAgent.IsCrawlers(text);
        return new(isBot ? new(UserAgent.Bot, null, null) : agent, isBot, address is { IsIPv4MappedToIPv6: true } ? address.MapToIPv4() : address, where, null);
    }

    /// <summary>The origin of an event of this request.</summary>
    public EventOrigin With(EventContext? context)
    {
        if (context is null)
            return this;
        var agent = context.UserAgent is { } text ? UserAgent.Of(text) : _agent;
        return new(
            agent, agent.Device == UserAgent.Bot,
            context.Address is { } address && NetworkAddress.TryParse(address, out var given) ? given : Address,
            context.Country is null ? _country : context.Country is "XX" or "T1" ? null : context.Country, context);
    }

    /// <summary>The event's properties and what is known beside them.</summary>
    /// <param name="properties">A JSON object.</param>
    /// <param name="mayHaveOwn">It has names that begin with a dollar sign. A client's own value is kept.</param>
    public ReadOnlyMemory<byte> AddTo(ReadOnlyMemory<byte> properties, bool mayHaveOwn) => _captured.AddTo(properties, mayHaveOwn);
}
