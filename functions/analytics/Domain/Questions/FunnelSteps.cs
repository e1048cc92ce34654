using System.Text;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>A step of a funnel: an event of this name that fits the step's own filter, if it has one.</summary>
public sealed record FunnelStepQuery(string Event, string? Filter = null)
{
    private readonly EventFilter? _filter;

    private FunnelStepQuery(string name, string filter, int offset)
        : this(name, filter) => _filter = EventFilter.Parse(filter, "steps", offset);

    /// <summary>As <see cref="EventFilter.Condition"/>; null without a filter.</summary>
    public Sql? Condition => _filter?.Condition;

    /// <summary>
    /// Reads steps with commas between them. Each is the name of an event, in double quotes (<c>""</c> for one of them) when it has a comma
    /// or a bracket in it, and may have a filter in brackets after it: <c>page-view[$path = '/pricing'],"add, to cart"</c>.
    /// </summary>
    /// <exception cref="ProblemException">400 on <c>steps</c>.</exception>
    public static FunnelStepQuery[] Parse(string text)
    {
        var steps = new List<FunnelStepQuery>();
        for (var at = 0; at <= text.Length; at++)
        {
            at = Skip(text, at);
            var name = at < text.Length && text[at] == '"' ? Quoted(text, ref at) : Plain(text, ref at);
            if (name.Length is 0 or > EventReader.MaxText)
                throw Wrong($"Each step is the name of an event, of 1 to {EventReader.MaxText} characters.");
            at = Skip(text, at);
            if (at < text.Length && text[at] == '[')
            {
                var start = at + 1;
                var end = EndOfFilter(text, start);
                steps.Add(new(name, text[start..end], start));
                at = Skip(text, end + 1);
            }
            else
            {
                steps.Add(new(name));
            }

            if (at < text.Length && text[at] != ',')
                throw Wrong($"Character {at + 1} must be a comma, as the step ends before it.");
        }

        return steps.Count is >= 2 and <= Funnel.MaxSteps ? [.. steps] : throw Wrong($"2 to {Funnel.MaxSteps} names of events, with commas between them.");
    }

    private static string Plain(string text, ref int at)
    {
        var start = at;
        while (at < text.Length && text[at] is not (',' or '['))
            at++;
        return text[start..at].TrimEnd();
    }

    private static string Quoted(string text, ref int at)
    {
        var name = new StringBuilder();
        for (at++; at < text.Length; at++)
            if (text[at] != '"')
                name.Append(text[at]);
            else if (++at < text.Length && text[at] == '"')
                name.Append('"');
            else
                return name.ToString();
        throw Wrong("A quoted name must end with its quote.");
    }

    /// <summary>The place of the bracket that ends the filter; those in quotes are a part of it.</summary>
    private static int EndOfFilter(string text, int at)
    {
        var quote = '\0';
        for (; at < text.Length && (quote != '\0' || text[at] != ']'); at++)
            if (text[at] == quote)
                quote = '\0';
            else if (quote == '\0' && text[at] is '"' or '\'')
                quote = text[at];
        return at < text.Length ? at : throw Wrong("A step's filter must end with its bracket.");
    }

    private static int Skip(string text, int at)
    {
        while (at < text.Length && char.IsWhiteSpace(text[at]))
            at++;
        return at;
    }

    private static ProblemException Wrong(string message) => QueryParameters.Wrong("steps", message);
}
