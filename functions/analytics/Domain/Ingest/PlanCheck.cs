using System.Collections.Frozen;
using System.Globalization;
using System.Text.Json;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>Where an event does not follow the tracking plan.</summary>
/// <param name="Property">Its name, at most <see cref="EventReader.MaxText"/> characters of it; empty when it is about the event as a whole.</param>
/// <param name="Rule">
/// <c>unknown-event</c>, <c>unknown-property</c>, <c>missing</c>, <c>type</c>, <c>values</c>, <c>minimum</c>, <c>maximum</c> or <c>max-length</c>.
/// </param>
/// <param name="Wrong">What is wrong, for who sent it.</param>
public sealed record Violation(string Property, string Rule, string Wrong);

/// <summary>A <see cref="TrackingPlan"/>, made ready to hold events against.</summary>
public sealed class PlanCheck
{
    /// <summary>What is told of one event; there may be more wrong with it.</summary>
    public const int MaxOfOneEvent = 10;

    private const int ShownValues = 10;
    private const int ShortName = 256;

    private static readonly Violation UnknownEvent = new("", "unknown-event", "the plan has no such event");

    private readonly FrozenDictionary<string, Planned> _events;
    private readonly bool _allowUnknown;

    public PlanCheck(TrackingPlan plan)
    {
        _events = (plan.Events ?? []).ToFrozenDictionary(e => e.Name, e => new Planned(e), StringComparer.Ordinal);
        _allowUnknown = plan.AllowUnknownEvents;
    }

    /// <summary>What is wrong with an event, given its properties as a well-formed object.</summary>
    public IReadOnlyList<Violation> Of(TrackedEvent e)
    {
        if (!_events.TryGetValue(e.Event, out var planned))
            return _allowUnknown ? [] : [UnknownEvent];
        List<Violation>? found = null;
        Span<bool> given = stackalloc bool[planned.Count];
        Span<char> buffer = stackalloc char[ShortName];
        var json = new Utf8JsonReader(e.Properties.Utf8.Span);
        json.Read();
        for (; json.Read() && json.TokenType == JsonTokenType.PropertyName; json.Skip())
        {
            // A character has at least one byte.
            var name = json.ValueSpan.Length <= ShortName ? buffer[..json.CopyString(buffer)] : json.GetString().AsSpan();
            var rule = planned.Find(name);
            var unknown = rule is null && !planned.AllowUnknown && !name.StartsWith('$') ? name.Cut(EventReader.MaxText).ToString() : null;
            json.Read();
            if (unknown is not null)
                Add(ref found, new(unknown, "unknown-property", $"properties.{unknown} is not in the plan"));
            if (rule is null)
                continue;
            // Of two equal names the last counts, as in what the table keeps.
            found?.RemoveAll(v => v.Property == rule.Property.Name);
            given[rule.Index] = json.TokenType != JsonTokenType.Null;
            if (!given[rule.Index])
                continue;
            if (Wrong(rule.Property, ref json) is var (broken, wrong))
                Add(ref found, new(rule.Property.Name, broken, $"properties.{rule.Property.Name} {wrong}"));
        }

        foreach (var rule in planned.Required)
            if (!given[rule.Index])
                Add(ref found, new(rule.Property.Name, "missing", $"properties.{rule.Property.Name} is missing"));
        return found ?? (IReadOnlyList<Violation>)[];
    }

    private static void Add(ref List<Violation>? found, Violation one)
    {
        found ??= [];
        if (found.Count < MaxOfOneEvent && !found.Contains(one))
            found.Add(one);
    }

    private static (string Rule, string Wrong)? Wrong(PlannedProperty property, ref Utf8JsonReader json)
    {
        var type = json.TokenType;
        switch (property.Type)
        {
            case "string":
                if (type != JsonTokenType.String)
                    return ("type", "must be a string");
                // As often as not there is nothing to compare, and then nothing to copy.
                if (property.MaxLength is null && property.Values is null)
                    return null;
                var text = json.GetString()!;
                return text.Length > property.MaxLength ? ("max-length", $"must have at most {property.MaxLength} characters")
                    : property.Values?.Contains(text) is false ? ("values", $"must be one of {string.Join(", ", property.Values.Take(ShownValues))}{(property.Values.Count > ShownValues ? ", ..." : "")}")
                    : null;
            case "boolean":
                return type is JsonTokenType.True or JsonTokenType.False ? null : ("type", "must be true or false");
            case "object":
                return type == JsonTokenType.StartObject ? null : ("type", "must be an object");
            case "array":
                return type == JsonTokenType.StartArray ? null : ("type", "must be an array");
            default:
                if (type != JsonTokenType.Number || (property.Type == "integer" && !IsWhole(ref json)))
                    return ("type", property.Type == "integer" ? "must be a whole number" : "must be a number");
                return Compare(ref json, property.Minimum) < 0 ? ("minimum", string.Create(CultureInfo.InvariantCulture, $"must be at least {property.Minimum}"))
                    : Compare(ref json, property.Maximum) > 0 ? ("maximum", string.Create(CultureInfo.InvariantCulture, $"must be at most {property.Maximum}"))
                    : null;
        }
    }

    /// <summary>As in JSON Schema, 1.0 is whole.</summary>
    private static bool IsWhole(ref Utf8JsonReader json) => json.TryGetInt64(out _)
        || (json.TryGetDecimal(out var number) ? decimal.Truncate(number) == number && number != 0
            : json.TryGetDouble(out var large) && Math.Floor(large) == large)
        // What a decimal rounds to nothing is whole only if it is nothing.
        || (json.TryGetDouble(out var small) && small == 0);

    private static int Compare(ref Utf8JsonReader json, decimal? bound) => bound is not { } limit ? 0
        : json.TryGetDecimal(out var number) ? number.CompareTo(limit)
        : json.TryGetDouble(out var large) ? large.CompareTo((double)limit)
        : 0;

    private sealed record Rule(PlannedProperty Property, int Index);

    private sealed class Planned
    {
        private readonly FrozenDictionary<string, Rule> _rules;
        private readonly FrozenDictionary<string, Rule>.AlternateLookup<ReadOnlySpan<char>> _byName;

        public Planned(PlannedEvent planned)
        {
            Rule[] rules = [.. (planned.Properties ?? []).Select((p, i) => new Rule(p, i))];
            _rules = rules.ToFrozenDictionary(r => r.Property.Name, StringComparer.Ordinal);
            _byName = _rules.GetAlternateLookup<ReadOnlySpan<char>>();
            Required = [.. rules.Where(r => r.Property.Required)];
            AllowUnknown = planned.AllowUnknownProperties;
        }

        public int Count => _rules.Count;

        public bool AllowUnknown { get; }

        public Rule[] Required { get; }

        public Rule? Find(ReadOnlySpan<char> name) => _byName.TryGetValue(name, out var rule) ? rule : null;
    }
}
