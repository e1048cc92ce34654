using System.ComponentModel.DataAnnotations;

namespace Agency.Analytics;

/// <summary>What an organisation's events should look like. Properties that begin with a dollar sign are always allowed.</summary>
/// <param name="Mode"><c>observe</c>: events that do not follow the plan are kept, and counted as violations; <c>refuse</c>: they are rejected.</param>
/// <param name="AllowUnknownEvents">Events that the plan does not name follow it.</param>
/// <param name="Events">Each name once.</param>
public sealed record TrackingPlan(
    [AllowedValues(TrackingPlan.Observe, TrackingPlan.Refuse)] string Mode = TrackingPlan.Observe, bool AllowUnknownEvents = true,
    [MaxLength(TrackingPlan.MaxEvents)] IReadOnlyList<PlannedEvent>? Events = null)
{
    public const string Observe = "observe";
    public const string Refuse = "refuse";
    public const int MaxEvents = 500;

    /// <summary>The same with nothing left out.</summary>
    /// <param name="errors">What is wrong is added to it.</param>
    internal TrackingPlan Checked(Dictionary<string, string[]> errors)
    {
        const string At = "trackingPlan";
        if (Mode is not (Observe or Refuse))
            errors[$"{At}.mode"] = [$"One of {Observe}, {Refuse}."];
        return this with { Events = Rules.Named($"{At}.events", Events, MaxEvents, e => e?.Name, (e, at) => e.Checked(at, errors), errors) };
    }
}

/// <summary>An event of the plan.</summary>
/// <param name="Properties">Each name once.</param>
/// <param name="AllowUnknownProperties">It may have properties that are not listed.</param>
public sealed record PlannedEvent(
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string Name,
    [MaxLength(PlannedEvent.MaxProperties)] IReadOnlyList<PlannedProperty>? Properties = null, bool AllowUnknownProperties = true)
{
    public const int MaxProperties = 100;

    internal PlannedEvent Checked(string at, Dictionary<string, string[]> errors) =>
        this with { Properties = Rules.Named($"{at}.properties", Properties, MaxProperties, p => p?.Name, (p, field) => p.Checked(field, errors), errors) };
}

/// <summary>A property of an event. One that is null counts as missing.</summary>
/// <param name="Type">What its value is in JSON; an <c>integer</c> is a number without a fraction.</param>
/// <param name="Required">Every such event has it.</param>
/// <param name="Values">The texts that it may be; any when null. For a <c>string</c>.</param>
/// <param name="Minimum">For a <c>number</c> or <c>integer</c>, inclusive.</param>
/// <param name="Maximum">The same.</param>
/// <param name="MaxLength">Characters. For a <c>string</c>.</param>
public sealed record PlannedProperty(
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string Name,
    [AllowedValues("string", "number", "integer", "boolean", "object", "array")] string Type, bool Required = false,
    [Length(1, PlannedProperty.MaxValues)] IReadOnlyList<string>? Values = null, decimal? Minimum = null, decimal? Maximum = null,
    [Range(1, EventReader.MaxProperties)] int? MaxLength = null)
{
    public const int MaxValues = 100;

    private static readonly string[] Types = ["string", "number", "integer", "boolean", "object", "array"];

    internal PlannedProperty Checked(string at, Dictionary<string, string[]> errors)
    {
        if (!Types.Contains(Type))
            errors[$"{at}.type"] = [$"One of {string.Join(", ", Types)}."];
        if (Values is { Count: 0 or > MaxValues } || Values?.Any(v => v is not { Length: <= EventReader.MaxText } || v.Contains('\0', StringComparison.Ordinal)) is true)
            errors[$"{at}.values"] = [$"1 to {MaxValues} texts of at most {EventReader.MaxText} characters, without NUL."];
        else if (Values is not null && Type != "string")
            errors[$"{at}.values"] = ["Only for a string."];
        if (MaxLength is not null && Type != "string")
            errors[$"{at}.maxLength"] = ["Only for a string."];
        else if (MaxLength is < 1 or > EventReader.MaxProperties)
            errors[$"{at}.maxLength"] = [$"From 1 to {EventReader.MaxProperties}."];
        if (Minimum is not null && Type is not ("number" or "integer"))
            errors[$"{at}.minimum"] = ["Only for a number or integer."];
        if (Maximum is not null && Type is not ("number" or "integer"))
            errors[$"{at}.maximum"] = ["Only for a number or integer."];
        else if (Minimum > Maximum)
            errors[$"{at}.maximum"] = ["Must not be less than the minimum."];
        return this;
    }
}

internal static class Rules
{
    /// <summary>A list of things that have a name each.</summary>
    /// <param name="field">What it is called in a problem.</param>
    /// <param name="check">Given a thing and what it is called.</param>
    public static List<T> Named<T>(
        string field, IReadOnlyList<T>? all, int most, Func<T?, string?> name, Func<T, string, T> check, Dictionary<string, string[]> errors)
    {
        var good = new List<T>();
        if (all?.Count > most)
        {
            errors[field] = [$"At most {most}."];
            return good;
        }

        var names = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < all?.Count; i++)
        {
            var at = $"{field}[{i}]";
            if (!EventReader.IsText(name(all[i])))
                errors[$"{at}.name"] = [$"1 to {EventReader.MaxText} characters, not blank, without control characters."];
            else if (!names.Add(name(all[i])!))
                errors[$"{at}.name"] = ["There is another one of this name."];
            else
                good.Add(check(all[i], at));
        }

        return good;
    }
}
