namespace Agency.Analytics;

/// <summary>One place where an event did not follow the tracking plan. It tells neither who the event was about nor what the property held.</summary>
/// <param name="Property">Null when it is about the event as a whole.</param>
/// <param name="Rule">
/// <c>unknown-event</c>, <c>unknown-property</c>, <c>missing</c>, <c>type</c>, <c>values</c>, <c>minimum</c>, <c>maximum</c> or <c>max-length</c>.
/// </param>
/// <param name="Refused">The event was rejected for it; else it was kept.</param>
/// <param name="At">When the event was received.</param>
public sealed record ViolationDto(long Id, string Event, string? Property, string Rule, string MessageId, bool Refused, DateTimeOffset At)
{
    /// <summary>The last so many of an organisation are kept.</summary>
    public const int Kept = 10_000;

    /// <summary>So many more may be there, more or less, before the oldest are taken away.</summary>
    internal const int Spare = 500;
}

/// <summary>How often events did not follow the tracking plan, also those that are no longer listed.</summary>
/// <param name="Counts">By event and rule, most frequent first.</param>
/// <param name="Days">Those (UTC) on which there were any, in their order.</param>
public sealed record ViolationCountsDto(long Violations, IReadOnlyList<ViolationCount> Counts, IReadOnlyList<ViolationDay> Days);

/// <param name="Last">The last day on which it happened.</param>
public sealed record ViolationCount(string Event, string Rule, long Violations, DateOnly Last);

public sealed record ViolationDay(DateOnly Day, long Violations);
