namespace Agency.Analytics;

/// <summary>Events of one visitor without half an hour of silence among them.</summary>
/// <param name="Start">Of its first event.</param>
/// <param name="Last">Of its last event.</param>
public readonly record struct Session(DateTime Start, DateTime Last, long Events)
{
    /// <summary>An event so long after the last one begins another session.</summary>
    public static readonly TimeSpan Silence = TimeSpan.FromMinutes(30);

    public static Session Of(DateTime time) => new(time, time, 1);

    /// <summary>Puts parts together that are less than <see cref="Silence"/> apart. What comes of it does not depend on their order.</summary>
    public static List<Session> Join(IEnumerable<Session> parts)
    {
        var joined = new List<Session>();
        foreach (var part in parts.OrderBy(p => p.Start))
            if (joined.Count > 0 && part.Start - joined[^1].Last < Silence)
                joined[^1] = joined[^1] with { Last = Later(joined[^1].Last, part.Last), Events = joined[^1].Events + part.Events };
            else
                joined.Add(part);
        return joined;
    }

    private static DateTime Later(DateTime a, DateTime b) => a > b ? a : b;
}
