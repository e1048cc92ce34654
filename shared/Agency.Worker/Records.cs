namespace Microsoft.Azure.Functions.Worker;

/// <summary>One record of a topic, as the Kafka trigger hands it to a function. Null key, value and timestamp occur on the wire.</summary>
public class KafkaRecord
{
    public string Topic { get; set; } = null!;

    public int Partition { get; set; }

    public long Offset { get; set; }

    public byte[] Key { get; set; } = null!;

    public byte[] Value { get; set; } = null!;

    public KafkaTimestamp Timestamp { get; set; } = null!;

    public KafkaHeader[] Headers { get; set; } = [];
}

/// <summary>A record header; the value is bytes, as on the wire.</summary>
public class KafkaHeader
{
    public string Key { get; set; } = null!;

    public byte[] Value { get; set; } = null!;

    /// <summary>The value read as UTF-8.</summary>
    public string GetValueAsString() => Value is null ? null! : System.Text.Encoding.UTF8.GetString(Value);
}

/// <summary>When a record was written, in milliseconds since the Unix epoch.</summary>
public class KafkaTimestamp
{
    public long UnixTimestampMs { get; set; }

    public KafkaTimestampType Type { get; set; }

    public DateTimeOffset DateTimeOffset => DateTimeOffset.FromUnixTimeMilliseconds(UnixTimestampMs);
}

/// <summary>Who has set a record's time.</summary>
public enum KafkaTimestampType
{
    NotAvailable,
    CreateTime,
    LogAppendTime,
}

/// <summary>What a timer function learns of its schedule.</summary>
public class TimerInfo
{
    public ScheduleStatus? ScheduleStatus { get; set; }

    /// <summary>True when this run is later than it was due.</summary>
    public bool IsPastDue { get; set; }
}

/// <summary>When the timer last ran and runs next (UTC).</summary>
public class ScheduleStatus
{
    public DateTime Last { get; set; }

    public DateTime Next { get; set; }

    public DateTime LastUpdated { get; set; }
}
