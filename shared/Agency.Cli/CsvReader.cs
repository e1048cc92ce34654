using System.Text;

namespace Agency.Cli;

/// <summary>One record of a CSV file: its fields, or why it has none.</summary>
/// <param name="Line">The line it starts on; the first line of a file is 1.</param>
internal sealed record CsvRecord(int Line, IReadOnlyList<string> Fields, string? Error);

/// <summary>
/// Reads RFC 4180 record by record: quoted fields may hold commas, doubled quotes and line breaks (which become a line feed).
/// Spaces around a field do not count, also outside its quotes. After a broken record it goes on with the next line,
/// so that one quote that nobody closed does not swallow the rest of the file.
/// </summary>
internal sealed class CsvReader(TextReader text)
{
    // A field of more lines than this is a quote that was never closed.
    private const int MostLines = 100;
    private readonly LinkedList<string> _ahead = [];
    private int _line;
    private int? _columns;

    /// <summary>The next record, or null at the end. Empty lines are passed over. The first good record says how many fields the others have.</summary>
    public async Task<CsvRecord?> ReadAsync(CancellationToken cancel)
    {
        string? first;
        do
        {
            first = await NextLineAsync(cancel);
            if (first is null)
                return null;
        }
        while (string.IsNullOrWhiteSpace(first));

        var start = _line;
        var record = new StringBuilder(first);
        var more = new List<string>();
        for (; ; )
        {
            var (fields, error, isOpen) = Parse(record.ToString());
            if (isOpen && more.Count < MostLines && await NextLineAsync(cancel) is { } next)
            {
                more.Add(next);
                record.Append('\n').Append(next);
                continue;
            }

            if (isOpen)
                error = "a quoted field is never closed";
            else if (error is null && _columns is { } columns && fields.Count != columns)
                error = $"it has {fields.Count} fields, not {columns}";
            if (error is null)
            {
                _columns ??= fields.Count;
                return new(start, fields, null);
            }

            // Only the first line is given up: what follows may be sound records.
            for (var i = more.Count - 1; i >= 0; i--)
                _ahead.AddFirst(more[i]);
            _line = start;
            return new(start, [], error);
        }
    }

    private async Task<string?> NextLineAsync(CancellationToken cancel)
    {
        string? line;
        if (_ahead.First is { } kept)
        {
            line = kept.Value;
            _ahead.RemoveFirst();
        }
        else
        {
            line = await text.ReadLineAsync(cancel);
        }

        if (line is not null)
            _line++;
        return line;
    }

    private static (List<string> Fields, string? Error, bool IsOpen) Parse(string record)
    {
        var fields = new List<string>();
        for (var at = 0; ;)
        {
            while (at < record.Length && record[at] is ' ' or '\t')
                at++;
            if (at < record.Length && record[at] == '"')
            {
                var field = new StringBuilder();
                for (at++; ; at++)
                {
                    if (at == record.Length)
                        return (fields, null, true);
                    if (record[at] != '"')
                        field.Append(record[at]);
                    else if (at + 1 < record.Length && record[at + 1] == '"')
                        field.Append(record[++at]);
                    else
                        break;
                }

                at++;
                while (at < record.Length && char.IsWhiteSpace(record[at]))
                    at++;
                if (at < record.Length && record[at] != ',')
                    return (fields, "text follows a closing quote", false);
                fields.Add(field.ToString().Trim());
            }
            else
            {
                var end = record.IndexOf(',', at);
                end = end < 0 ? record.Length : end;
                fields.Add(record[at..end].Trim());
                at = end;
            }

            if (at >= record.Length)
                return (fields, null, false);
            at++;
        }
    }
}
