using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Platform;

/// <summary>What an event is called on the wire, where it goes, and how it is written.</summary>
/// <param name="Name">The stable CloudEvents <c>type</c>, such as <c>agency.users.user-created.v1</c>.</param>
/// <param name="Topic">The topic that carries it, one per domain.</param>
/// <param name="Json">How its data is written.</param>
public sealed record EventType<T>(string Name, string Topic, JsonTypeInfo<T> Json);

/// <summary>An event of a domain: the record of something that has happened to one aggregate.</summary>
public interface IDomainEvent<TSelf>
    where TSelf : IDomainEvent<TSelf>
{
    static abstract EventType<TSelf> EventType { get; }
}

/// <summary>Every domain's topic is called <c>agency.</c> and the domain.</summary>
public static class DomainTopics
{
    /// <summary>All of them, also those to come. As in Kafka, a topic that begins with ^ is a regular expression.</summary>
    public const string Every = "^agency[.].+";
}

public static class EventTypes
{
    /// <summary>The names of the events that these assemblies declare.</summary>
    public static string[] In(IEnumerable<Assembly> assemblies) =>
    [
        .. from assembly in assemblies
           from type in assembly.GetTypes()
           where type.GetInterfaces().Any(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IDomainEvent<>))
           let eventType = type.GetProperty("EventType", BindingFlags.Public | BindingFlags.Static)?.GetValue(null)
           where eventType is not null
           select (string)eventType.GetType().GetProperty("Name")!.GetValue(eventType)!,
    ];
}

/// <summary>
/// An event as it travels: CloudEvents 1.0 in Kafka's binary mode (attributes as <c>ce_</c> headers, the data as JSON),
/// with the extensions <c>tenantid</c>, <c>traceparent</c> and <c>version</c>.
/// Source: github.com/cloudevents/spec, kafka-protocol-binding.
/// </summary>
/// <param name="Id">Unique for each event; consumers remember it.</param>
/// <param name="Topic">The topic it was read from.</param>
/// <param name="Type">The name of its <see cref="EventType{T}"/>.</param>
/// <param name="Tenant">The organisation it belongs to.</param>
/// <param name="Subject">The aggregate's id: order holds among the events of one subject.</param>
/// <param name="Version">The aggregate's version after the event, from 1.</param>
/// <param name="Time">When it was recorded.</param>
/// <param name="TraceParent">The W3C trace context of the command, if there was one.</param>
/// <param name="Data">JSON, UTF-8.</param>
public sealed record CloudEvent(
    Guid Id, string Topic, string Type, string Tenant, string Subject, long Version, DateTimeOffset Time, string? TraceParent, ReadOnlyMemory<byte> Data)
{
    /// <summary>True when this is a <typeparamref name="T"/>, which is then read into <paramref name="data"/>.</summary>
    /// <exception cref="JsonException">The type says so, but the data does not have its shape.</exception>
    public bool Is<T>(out T data)
        where T : IDomainEvent<T>
    {
        data = Type == T.EventType.Name ? JsonSerializer.Deserialize(Data.Span, T.EventType.Json)! : default!;
        return Type == T.EventType.Name;
    }

    /// <exception cref="FormatException">A header that CloudEvents or this platform requires is missing or malformed.</exception>
    public static CloudEvent From(KafkaRecord record)
    {
        var headers = record.Headers.ToDictionary(h => h.Key, h => h.GetValueAsString(), StringComparer.Ordinal);
        return new(
            Guid.Parse(Required("ce_id"), CultureInfo.InvariantCulture),
            record.Topic,
            Required("ce_type"),
            Required("ce_tenantid"),
            Required("ce_subject"),
            long.Parse(Required("ce_version"), CultureInfo.InvariantCulture),
            DateTimeOffset.Parse(Required("ce_time"), CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind),
            headers.GetValueOrDefault("ce_traceparent"),
            record.Value);

        string Required(string name) => headers.GetValueOrDefault(name)
            ?? throw new FormatException($"The record at {record.Topic}/{record.Partition}/{record.Offset} has no header {name}.");
    }

    /// <param name="offset">Its place in the topic.</param>
    public KafkaRecord ToRecord(long offset)
    {
        List<KafkaHeader> headers =
        [
            Header("ce_specversion", "1.0"), Header("ce_id", Id.ToString()), Header("ce_type", Type), Header("ce_source", $"/agency/{Topic}"),
            Header("ce_subject", Subject), Header("ce_time", Time.UtcDateTime.ToString("O", CultureInfo.InvariantCulture)),
            Header("ce_tenantid", Tenant), Header("ce_version", Version.ToString(CultureInfo.InvariantCulture)),
            Header("content-type", "application/json"),
        ];
        if (TraceParent is not null)
            headers.Add(Header("ce_traceparent", TraceParent));
        return new()
        {
            Topic = Topic,
            Offset = offset,
            Key = Encoding.UTF8.GetBytes(Subject),
            Value = Data.ToArray(),
            Timestamp = new() { UnixTimestampMs = Time.ToUnixTimeMilliseconds(), Type = KafkaTimestampType.CreateTime },
            Headers = [.. headers],
        };
    }

    internal static KafkaHeader Header(string key, string value) => new() { Key = key, Value = Encoding.UTF8.GetBytes(value) };
}
