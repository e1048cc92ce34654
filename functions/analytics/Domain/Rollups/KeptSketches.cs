using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// Sketches that this process has read before, each with its version: what the table still has in that version need not be read again. The
/// union of a month is mostly made of days that are over.
/// </summary>
public sealed class KeptSketches
{
    private const string Topic = "analytics.uniques";
    private readonly ReadCache _cache;
    private readonly Caller _caller;
    // Held here, as the cache may drop them at any time.
    private readonly Dictionary<UniqueKey, Kept> _known = [];

    /// <summary>Those of these kinds in these parts of a range.</summary>
    public KeptSketches(ReadCache cache, Caller caller, IReadOnlyList<string> kinds, IReadOnlyList<RollupPart> parts)
    {
        (_cache, _caller) = (cache, caller);
        foreach (var part in parts)
            for (var start = part.From; start < part.To; start = Interval.Next(part.Resolution, start))
                foreach (var key in kinds.Select(kind => new UniqueKey(kind, part.Resolution, start)))
                    if (cache.Find<Kept>(caller, Topic, Subject(key)) is { } kept)
                        _known[key] = kept;
    }

    /// <summary>What need not be read.</summary>
    public long[] Versions => [.. _known.Values.Select(k => k.Version)];

    /// <param name="read">Null when this version need not be read.</param>
    public CountedSketch Take(UniqueKey key, long version, long members, byte[]? read)
    {
        if (read is null)
            return _known[key].Sketch;
        var sketch = new CountedSketch(members, read);
        _cache.Keep(_caller, Topic, Subject(key), new Kept(version, sketch), read.Length);
        return sketch;
    }

    private static string Subject(UniqueKey key) => $"{key.Kind} {key.Resolution} {key.Start.Ticks}";

    private sealed record Kept(long Version, CountedSketch Sketch);
}
