using System.ComponentModel.DataAnnotations;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Agency.Platform;

namespace Agency.Analytics;

public static class AnalyticsTopic
{
    public const string Name = "agency.analytics";
}

/// <summary>Something that a user or visitor did, as the organisation's own software saw it.</summary>
/// <param name="MessageId">Given by the client; the organisation has each once.</param>
/// <param name="Event">What it is called, such as <c>order-line</c>.</param>
/// <param name="UserId">The user's id in the organisation's own system.</param>
/// <param name="AnonymousId">A device or basket whose user is not known.</param>
/// <param name="Time">When it happened, in whole microseconds, UTC.</param>
public sealed record TrackedEvent(
    string MessageId, string Event, string? UserId, string? AnonymousId, DateTimeOffset Time, EventProperties Properties);

/// <summary>An event as a client sends it.</summary>
/// <param name="MessageId">The client's own id of the event; the same again is not counted twice.</param>
/// <param name="Event">What it is called, such as <c>order-line</c>.</param>
/// <param name="UserId">The user's id in the organisation's own system.</param>
/// <param name="AnonymousId">A device or basket whose user is not known.</param>
/// <param name="Time">When it happened; now unless given.</param>
/// <param name="Context">Where it took place. What is known of it becomes properties that begin with a dollar sign.</param>
public sealed record EventBody(
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string MessageId, [StringLength(EventReader.MaxText, MinimumLength = 1)] string Event,
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string? UserId = null, [StringLength(EventReader.MaxText, MinimumLength = 1)] string? AnonymousId = null,
    DateTimeOffset? Time = null, JsonObject? Properties = null, EventContext? Context = null);

/// <summary>What one <c>POST /events</c> added: at least one event, none of which was there before. Its subject is an id of the batch.</summary>
public sealed record EventTrackedEvent(IReadOnlyList<TrackedEvent> Events) : IDomainEvent<EventTrackedEvent>
{
    public static EventType<EventTrackedEvent> EventType { get; } =
        new("agency.analytics.event-tracked.v1", AnalyticsTopic.Name, AnalyticsJson.Default.EventTrackedEvent);
}

/// <summary>
/// A visitor is known to be another: an anonymous id was identified, or a user's former id is an alias. Told by number (see
/// <see cref="Agency.Analytics.Visitor"/>), as the log is no place for ids; 0 once the person has been purged.
/// </summary>
public sealed record VisitorsJoinedEvent(long Visitor) : IDomainEvent<VisitorsJoinedEvent>
{
    public static EventType<VisitorsJoinedEvent> EventType { get; } =
        new("agency.analytics.visitors-joined.v1", AnalyticsTopic.Name, AnalyticsJson.Default.VisitorsJoinedEvent);
}

/// <summary>Events are gone for good, and out of every answer.</summary>
/// <param name="Id">Of the purge, whose report is at <c>/analytics/purges/{id}</c>.</param>
/// <param name="Events">How many.</param>
/// <param name="OfPerson">True when it was about one person, who is not named any more.</param>
/// <param name="Event">The events' name; null for all.</param>
/// <param name="From">Of the first moment; null for no limit.</param>
/// <param name="To">The first moment after it; null for no limit.</param>
public sealed record DataPurgedEvent(Guid Id, long Events, bool OfPerson, string? Event, DateTimeOffset? From, DateTimeOffset? To) : IDomainEvent<DataPurgedEvent>
{
    public static EventType<DataPurgedEvent> EventType { get; } =
        new("agency.analytics.data-purged.v1", AnalyticsTopic.Name, AnalyticsJson.Default.DataPurgedEvent);
}

/// <summary>The answer of <c>POST /events</c>.</summary>
/// <param name="Accepted">Events that are now kept.</param>
/// <param name="Duplicates">Events whose message id was known, or came earlier in the same batch: nothing was done.</param>
/// <param name="Rejected">Items that are not valid events, or do not follow a tracking plan that is enforced: nothing was done.</param>
/// <param name="Excluded">Events that the organisation's config does not want: nothing was done.</param>
/// <param name="Items">Those that were not accepted, in the order they were sent.</param>
public sealed record TrackedDto(int Accepted, int Duplicates, int Rejected, int Excluded, IReadOnlyList<TrackedItemDto> Items);

/// <param name="Index">The item's place in the batch, from 0.</param>
/// <param name="MessageId">Null when the item has none that can be read.</param>
/// <param name="Status"><c>duplicate</c>, <c>rejected</c> or <c>excluded</c>.</param>
/// <param name="Error">Why it was rejected.</param>
/// <param name="Reason">Why it was excluded: <c>bot</c>, <c>address</c> or <c>user</c>.</param>
public sealed record TrackedItemDto(
    int Index, string? MessageId, string Status, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Error = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Reason = null)
{
    public const string Duplicate = "duplicate";
    public const string Rejected = "rejected";
    public const string Excluded = "excluded";
}

/// <summary>A JSON object, carried as it was sent.</summary>
/// <param name="Utf8">Its text.</param>
[JsonConverter(typeof(EventPropertiesConverter))]
public readonly record struct EventProperties(ReadOnlyMemory<byte> Utf8);

public sealed class EventPropertiesConverter : JsonConverter<EventProperties>
{
    public override EventProperties Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        using var document = JsonDocument.ParseValue(ref reader);
        return new(JsonMarshal.GetRawUtf8Value(document.RootElement).ToArray());
    }

    // It was read as JSON before it got here.
    public override void Write(Utf8JsonWriter writer, EventProperties value, JsonSerializerOptions options) =>
        writer.WriteRawValue(value.Utf8.Span, skipInputValidation: true);
}

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(EventTrackedEvent))]
[JsonSerializable(typeof(TrackedDto))]
[JsonSerializable(typeof(VisitorsJoinedEvent))]
[JsonSerializable(typeof(DataPurgedEvent))]
[JsonSerializable(typeof(PurgeDto))]
[JsonSerializable(typeof(IdentifyVisitorCommand))]
[JsonSerializable(typeof(AliasUserCommand))]
[JsonSerializable(typeof(ConfigUpdatedEvent))]
[JsonSerializable(typeof(AnalyticsConfigDto))]
[JsonSerializable(typeof(IReadOnlyList<ViolationDto>))]
[JsonSerializable(typeof(ViolationCountsDto))]
[JsonSerializable(typeof(RevenueDto))]
[JsonSerializable(typeof(AnalyticsDto))]
[JsonSerializable(typeof(RetentionDto))]
[JsonSerializable(typeof(PathsDto))]
[JsonSerializable(typeof(LiveDto))]
[JsonSerializable(typeof(EventsDto))]
[JsonSerializable(typeof(FunnelDto))]
public sealed partial class AnalyticsJson : JsonSerializerContext;
