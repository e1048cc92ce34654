using Agency.Platform;

namespace Agency.Analytics;

/// <summary>Something of an event, a row <c>e</c> of analytics.events, that can be asked about: one of its properties, its name or an id.</summary>
/// <param name="Name">
/// The property's name, as it stands in the JSON object (a dot is a part of it, not a path); or <c>@event</c>, <c>@user</c>,
/// <c>@anonymous</c> for the event's name and ids, unless it is <paramref name="Quoted"/>.
/// </param>
public readonly record struct EventProperty(string Name, bool Quoted = false)
{
    /// <summary>Characters of a value in a breakdown: what follows is cut off, so that no answer grows with what was sent.</summary>
    public const int MaxValue = 200;

    /// <summary>False for a name that begins with @ and is none of those that mean something.</summary>
    public bool IsKnown => Quoted || !Name.StartsWith('@') || Column is not null;

    /// <exception cref="ProblemException">400 on this parameter: it names no property.</exception>
    public void Check(string parameter)
    {
        if (Name.Length == 0 || !IsKnown)
            throw QueryParameters.Wrong(parameter, "The name of a property, or @event, @user, @anonymous.");
    }

    /// <summary>As jsonb; null when it is missing.</summary>
    public Sql Json => Column is { } column ? $"to_jsonb({column})" : (Sql)$"(e.properties -> {Name})";

    /// <summary>As text: what is no text as its JSON. Null when it is missing, which a JSON null is too.</summary>
    public Sql Text => Column ?? (Sql)$"(e.properties ->> {Name})";

    /// <summary><see cref="Text"/> as a breakdown has it.</summary>
    public Sql Value => $"left({Text}, {MaxValue})";

    private Sql? Column => Quoted ? null : Name switch
    {
        "@event" => (Sql)$"e.name",
        "@user" => $"e.user_id",
        "@anonymous" => $"e.anonymous_id",
        _ => null,
    };
}
