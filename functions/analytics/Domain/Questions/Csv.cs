using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Agency.Analytics;

/// <summary>Comma-separated values after RFC 4180, that a spreadsheet may open: no text in it is taken for a formula.</summary>
public static class Csv
{
    public const string MediaType = "text/csv";

    public const string ContentType = "text/csv; charset=utf-8; header=present";

    private const string Series = "series";

    private static readonly System.Buffers.SearchValues<char> Special = System.Buffers.SearchValues.Create("\",\r\n");

    /// <summary>
    /// One text. Null is nothing at all, so that it differs from a text of no characters. What a spreadsheet would work out gets an
    /// apostrophe in front, which it shows as text (OWASP, CSV injection).
    /// </summary>
    public static StringBuilder AppendCell(this StringBuilder csv, string? text)
    {
        if (text is null)
            return csv;
        if (text is ['=' or '+' or '-' or '@' or '\t' or '\r' or '\n' or '＝' or '＋' or '－' or '＠', ..])
            text = "'" + text;
        // A space at an end is a part of the value, which some readers would drop.
        return text.Length > 0 && !text.AsSpan().ContainsAny(Special) && text[0] != ' ' && text[^1] != ' '
            ? csv.Append(text)
            : csv.Append('"').Append(text.Replace("\"", "\"\"", StringComparison.Ordinal)).Append('"');
    }

    public static StringBuilder EndRow(this StringBuilder csv) => csv.Append("\r\n");

    /// <summary>
    /// JSON objects as rows under one header. What lies inside another stands in columns named by the way to it: <c>a.b</c> for an
    /// object's field, <c>a.0</c> for an array's first item. Numbers are as in the JSON. A <see cref="Series"/> in a row is left out: its
    /// points would be thousands of columns.
    /// </summary>
    /// <param name="type">What each row was written as; its columns are there also when no row is.</param>
    public static string Of(JsonTypeInfo type, IReadOnlyList<JsonElement> rows)
    {
        var root = new Column("");
        root.Know(type);
        foreach (var row in rows)
            root.Know(row);
        var csv = new StringBuilder();
        root.AppendNames(csv, isFirst: true);
        csv.EndRow();
        foreach (var row in rows)
        {
            root.AppendValues(csv, row, isFirst: true);
            csv.EndRow();
        }

        return csv.ToString();
    }

    /// <summary>A column, or what lies inside it as columns in its place.</summary>
    private sealed class Column(string name)
    {
        private readonly List<(string Key, Column Column)> _inside = [];

        public void Know(JsonTypeInfo type)
        {
            foreach (var property in type.Kind == JsonTypeInfoKind.Object ? type.Properties : [])
                if (property.Get is not null && property.Name != Series)
                    Inside(property.Name).Know(type.Options.GetTypeInfo(property.PropertyType));
        }

        public void Know(JsonElement value)
        {
            foreach (var (key, part) in Parts(value))
                Inside(key).Know(part);
        }

        public bool AppendNames(StringBuilder csv, bool isFirst)
        {
            foreach (var (_, column) in _inside)
                isFirst = column.AppendNames(csv, isFirst);
            return _inside.Count > 0 ? isFirst : Append(csv, isFirst, c => c.AppendCell(name));
        }

        public bool AppendValues(StringBuilder csv, JsonElement value, bool isFirst)
        {
            if (_inside.Count == 0)
            {
                return Append(csv, isFirst, c => _ = value.ValueKind switch
                {
                    JsonValueKind.Undefined or JsonValueKind.Null => c,
                    JsonValueKind.Number => c.Append(value.GetRawText()),
                    JsonValueKind.String => c.AppendCell(value.GetString()),
                    _ => c.AppendCell(value.GetRawText()),
                });
            }

            var parts = Parts(value).ToDictionary(part => part.Key, part => part.Value);
            foreach (var (key, column) in _inside)
                isFirst = column.AppendValues(csv, parts.GetValueOrDefault(key), isFirst);
            return isFirst;
        }

        private static bool Append(StringBuilder csv, bool isFirst, Action<StringBuilder> cell)
        {
            if (!isFirst)
                csv.Append(',');
            cell(csv);
            return false;
        }

        private Column Inside(string key)
        {
            if (_inside.Find(c => c.Key == key).Column is { } known)
                return known;
            var column = new Column(name.Length == 0 ? key : $"{name}.{key}");
            _inside.Add((key, column));
            return column;
        }

        private static IEnumerable<(string Key, JsonElement Value)> Parts(JsonElement value) => value.ValueKind switch
        {
            JsonValueKind.Object => value.EnumerateObject().Where(p => p.Name != Series).Select(p => (p.Name, p.Value)),
            JsonValueKind.Array => value.EnumerateArray().Select((item, i) => (i.ToString(CultureInfo.InvariantCulture), item)),
            _ => [],
        };
    }
}
