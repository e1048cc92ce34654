using System.Globalization;
using System.Text;
using System.Text.Json;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>
/// Which events count, in words such as <c>country = 'GB' and not (quantity &gt; 10 or $device in ('mobile', 'tablet'))</c>. Comparisons
/// are combined with <c>not</c>, <c>and</c>, <c>or</c> (which bind in this order) and parentheses; words may be in capitals.
/// <list type="bullet">
/// <item>A property is written as letters, digits and <c>_ - . $</c>, or in double quotes (<c>""</c> for one of them). <c>@event</c>,
/// <c>@user</c> and <c>@anonymous</c> are the event's name and ids.</item>
/// <item>A value is a <c>'text'</c> (<c>''</c> for a quote), a JSON number, <c>true</c> or <c>false</c>.</item>
/// <item><c>= !=</c> compare any of them, <c>&lt; &lt;= &gt; &gt;=</c> texts and numbers, <c>in (…)</c> is equal to one of its values,
/// <c>contains</c> finds a text within a text whatever the case, <c>exists</c> and <c>missing</c> stand after the property alone.</item>
/// <item>A comparison with a property that is missing, or of another JSON type than the value, is false, also with <c>!=</c>; so
/// <c>not</c> of it is true. A property that is null is missing. Numbers compare exactly, texts by code point.</item>
/// </list>
/// </summary>
public sealed class EventFilter
{
    /// <summary>Characters.</summary>
    public const int MaxLength = 2000;

    /// <summary>Parentheses and <c>not</c> inside one another.</summary>
    public const int MaxDepth = 20;

    /// <summary>Comparisons, each value of an <c>in</c> being one.</summary>
    public const int MaxTerms = 50;

    private readonly Node _root;

    private EventFilter(Node root) => _root = root;

    /// <summary>As a condition on a row <c>e</c> of analytics.events, never null. Each call makes one of its own, to be used once.</summary>
    public Sql Condition => _root.Condition;

    /// <summary>The only names that events which fit can have; null when they may have any.</summary>
    public IReadOnlyList<string>? Names => _root.Names;

    /// <param name="parameter">Which has the text in it.</param>
    /// <param name="offset">Where in it.</param>
    /// <exception cref="ProblemException">400 on the parameter, with the place and what was expected there.</exception>
    public static EventFilter Parse(string text, string parameter = "filter", int offset = 0) => new(new Parser(text, parameter, offset).Whole());

    private abstract record Node
    {
        public abstract Sql Condition { get; }

        /// <inheritdoc cref="EventFilter.Names"/>
        public virtual IReadOnlyList<string>? Names => null;
    }

    private sealed record Not(Node Of) : Node
    {
        public override Sql Condition => $"not {Of.Condition}";
    }

    private sealed record Several(IReadOnlyList<Node> Parts, bool All) : Node
    {
        public override Sql Condition =>
            $"({Parts.Skip(1).Aggregate(Parts[0].Condition, (Sql sql, Node next) => All ? $"{sql} and {next.Condition}" : (Sql)$"{sql} or {next.Condition}")})";

        public override IReadOnlyList<string>? Names
        {
            get
            {
                var known = Parts.Select(p => p.Names).OfType<IReadOnlyList<string>>().ToList();
                return All ? known.Count == 0 ? null : [.. known.Skip(1).Aggregate((IEnumerable<string>)known[0], (a, b) => a.Intersect(b))]
                    : known.Count < Parts.Count ? null : [.. known.SelectMany(n => n).Distinct()];
            }
        }
    }

    private sealed record Exists(EventProperty Property, bool Is) : Node
    {
        public override Sql Condition => Is ? $"({Property.Text} is not null)" : (Sql)$"({Property.Text} is null)";
    }

    private sealed record Contains(EventProperty Property, string Text) : Node
    {
        public override Sql Condition => $"coalesce({IsOf(Property, "string")} and strpos(lower({Property.Text}), lower({Text})) > 0, false)";
    }

    // A subquery is worked out once for all rows, where a cast of a parameter may be once for each. Values of unlike types are never equal.
    private sealed record In(EventProperty Property, IReadOnlyList<Literal> Values) : Node
    {
        public override Sql Condition => Values is [var one]
            ? $"coalesce({Property.Json} = (select {one.Json}::jsonb), false)"
            : (Sql)$"coalesce({Property.Json} = any((select {Values.Select(v => v.Json).ToArray()}::jsonb[])::jsonb[]), false)";

        // A name is a text, so no other value is one.
        public override IReadOnlyList<string>? Names => Property is { Name: "@event", Quoted: false } ? [.. Values.Select(v => v.Text).OfType<string>().Distinct()] : null;
    }

    private sealed record Compare(EventProperty Property, string Operator, Literal Value) : Node
    {
        // As jsonb, texts would compare by the database's collation.
        public override Sql Condition => Value.Type == "string"
            ? $"coalesce({IsOf(Property, "string")} and {Property.Text} collate \"C\" {Symbol} {Value.Text}, false)"
            : (Sql)$"coalesce({IsOf(Property, Value.Type)} and {Property.Json} {Symbol} (select {Value.Json}::jsonb), false)";

        private Sql Symbol => Operator switch { "<" => (Sql)$"<", "<=" => $"<=", ">" => $">", ">=" => $">=", _ => $"<>" };
    }

    private static Sql IsOf(EventProperty property, string type) => $"jsonb_typeof({property.Json}) = {type}";

    /// <param name="Type">What jsonb_typeof calls it.</param>
    /// <param name="Text">A text's characters.</param>
    private readonly record struct Literal(string Type, string Json, string? Text = null);

    private sealed class Parser(string text, string parameter, int offset)
    {
        private static readonly string[] Symbols = ["<=", ">=", "!=", "=", "<", ">"];

        private int _at;
        private int _depth;
        private int _terms;

        public Node Whole()
        {
            var root = Either();
            return Peek() == '\0' ? root : throw Expected("and, or, or the end");
        }

        private Node Either() => List(Both, "or");

        private Node Both() => List(One, "and");

        private Node List(Func<Node> next, string word)
        {
            var parts = new List<Node> { next() };
            while (Take(word))
                parts.Add(next());
            return parts is [var one] ? one : new Several(parts, word == "and");
        }

        private Node One()
        {
            if (++_depth > MaxDepth + 1)
                throw Wrong($"not more than {MaxDepth} parentheses and nots inside one another");
            var node = Take("not") ? new Not(One()) : Peek() == '(' ? InParentheses() : Comparison();
            _depth--;
            return node;
        }

        private Node InParentheses()
        {
            _at++;
            var node = Either();
            Take(')', "and, or, or )");
            return node;
        }

        private Node Comparison()
        {
            var property = Property();
            Count();
            if (Take("exists"))
                return new Exists(property, true);
            if (Take("missing"))
                return new Exists(property, false);
            if (Take("contains"))
                return Value("a 'text'", v => v.Type == "string") is var part ? new Contains(property, part.Text!) : null!;
            if (Take("in"))
                return new In(property, Values());
            _ = Peek();
            if (Array.Find(Symbols, s => string.CompareOrdinal(text, _at, s, 0, s.Length) == 0) is not { } symbol)
                throw Expected("one of = != < <= > >= in contains exists missing");
            _at += symbol.Length;
            return symbol == "=" ? new In(property, [Value()])
                : new Compare(property, symbol, symbol == "!=" ? Value() : Value("a 'text' or a number", v => v.Type != "boolean"));
        }

        private List<Literal> Values()
        {
            Take('(', "(");
            var values = new List<Literal> { Value() };
            while (Peek() == ',')
            {
                _at++;
                values.Add(Value());
                Count();
            }

            Take(')', ", or )");
            return values;
        }

        private EventProperty Property()
        {
            if (Peek() == '"')
                return new(Quoted('"'), Quoted: true);
            var start = _at;
            var property = new EventProperty(Word());
            if (property.Name.Length == 0 || !property.IsKnown)
                throw Expected("a property, @event, @user, @anonymous, not or (", start);
            _at += property.Name.Length;
            return property;
        }

        private Literal Value(string expected = "a 'text', a number, true or false", Func<Literal, bool>? fits = null)
        {
            _ = Peek();
            var start = _at;
            var value = Peek() == '\'' ? Quoted('\'') is var quoted ? new Literal("string", $"\"{JsonEncodedText.Encode(quoted)}\"", quoted) : default
                : Take("true") ? new("boolean", "true")
                : Take("false") ? new("boolean", "false")
                : Number();
            return value.Type is not null && (fits is null || fits(value)) ? value : throw Expected(expected, start);
        }

        /// <summary>A number as JSON has them, of a size that numeric takes.</summary>
        private Literal Number()
        {
            var end = _at;
            while (end < text.Length && (char.IsAsciiLetterOrDigit(text[end]) || text[end] is '+' or '-' or '.'))
                end++;
            var number = text[_at..end];
            if (!IsNumber(Encoding.ASCII.GetBytes(number)))
                return default;
            _at = end;
            return new("number", number);
        }

        private static bool IsNumber(byte[] number)
        {
            if (number.Length == 0 || !StoredNumber.Fits(number))
                return false;
            try
            {
                var json = new Utf8JsonReader(number);
                return json.Read() && json.TokenType == JsonTokenType.Number && !json.Read();
            }
            catch (JsonException)
            {
                return false;
            }
        }

        private string Quoted(char quote)
        {
            var start = _at++;
            var content = new StringBuilder();
            for (; _at < text.Length; _at++)
            {
                if (text[_at] != quote)
                    content.Append(text[_at]);
                else if (++_at < text.Length && text[_at] == quote)
                    content.Append(quote);
                else
                    return content.ToString();
            }

            throw Wrong($"expected {quote} to end what begins here", start);
        }

        private bool Take(string word)
        {
            if (!string.Equals(Word(), word, StringComparison.OrdinalIgnoreCase))
                return false;
            _at += word.Length;
            return true;
        }

        private void Take(char symbol, string expected)
        {
            if (Peek() != symbol)
                throw Expected(expected);
            _at++;
        }

        /// <summary>What stands here as a name or keyword, not yet taken.</summary>
        private string Word()
        {
            _ = Peek();
            var end = _at;
            while (end < text.Length && (char.IsLetterOrDigit(text[end]) || text[end] is '_' or '-' or '.' or '$' || (text[end] == '@' && end == _at)))
                end++;
            return text[_at..end];
        }

        /// <summary>The next character that is no space; NUL, which no query has, at the end.</summary>
        private char Peek()
        {
            while (_at < text.Length && char.IsWhiteSpace(text[_at]))
                _at++;
            return _at < text.Length ? text[_at] : '\0';
        }

        private void Count()
        {
            if (++_terms > MaxTerms)
                throw Wrong($"not more than {MaxTerms} comparisons");
        }

        private ProblemException Expected(string what, int? at = null) => Wrong($"expected {what}", at);

        private ProblemException Wrong(string what, int? at = null) =>
            QueryParameters.Wrong(parameter, string.Create(CultureInfo.InvariantCulture, $"At character {offset + (at ?? _at) + 1}: {what}."));
    }
}
