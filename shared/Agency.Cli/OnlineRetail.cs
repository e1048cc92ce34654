using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Agency.Cli;

/// <summary>One line of an invoice.</summary>
/// <param name="Line">Where it stands in the file.</param>
/// <param name="MessageId">The same at every import, and different for two identical lines of one file.</param>
/// <param name="Customer">The customer's number; null for an anonymous buyer.</param>
/// <param name="Quantity">Pieces; negative when they came back.</param>
/// <param name="UnitPrice">In pounds sterling.</param>
/// <param name="Country">ISO 3166 alpha-2; null when the text names no country.</param>
internal sealed record InvoiceLine(
    int Line, string MessageId, string Invoice, string StockCode, string Description, int Quantity, DateTimeOffset Time, decimal UnitPrice,
    string? Customer, string? Country)
{
    /// <summary>A cancelled invoice's number starts with a C.</summary>
    public bool IsCancelled => Invoice.StartsWith('C') || Invoice.StartsWith('c');
}

/// <summary>Reads the UCI Online Retail format (https://archive.ics.uci.edu/dataset/352/online+retail). Columns are found by their names.</summary>
internal sealed class OnlineRetail
{
    private static readonly string[] Columns = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"];

    // The set itself, and what spreadsheets make of it. The file names no zone: times are taken as UTC.
    private static readonly string[] TimeFormats =
    [
        "yyyy-MM-dd HH:mm:ss", "yyyy-MM-dd HH:mm", "yyyy-MM-ddTHH:mm:ss", "yyyy-MM-ddTHH:mm:ssZ",
        "M/d/yyyy H:mm", "M/d/yyyy H:mm:ss", "M/d/yy H:mm",
    ];

    private readonly CsvReader _csv;
    private readonly int[] _columns;
    private readonly Dictionary<UInt128, int> _seen = [];

    private OnlineRetail(CsvReader csv, int[] columns) => (_csv, _columns) = (csv, columns);

    /// <summary>Reads the header.</summary>
    /// <exception cref="CommandException">The file is empty or its header lacks a column.</exception>
    public static async Task<OnlineRetail> OpenAsync(TextReader text, CancellationToken cancel)
    {
        var csv = new CsvReader(text);
        if (await csv.ReadAsync(cancel) is not { Error: null } header)
            throw new CommandException("The file has no header; the first line must name the columns " + string.Join(", ", Columns) + ".");
        var names = header.Fields.Select(Plain).ToList();
        var columns = Columns.Select(column => names.IndexOf(Plain(column))).ToArray();
        var missing = Columns.Where((_, i) => columns[i] < 0).ToList();
        return missing.Count == 0
            ? new(csv, columns)
            : throw new CommandException($"The file's header lacks {string.Join(", ", missing)}; it must name the columns {string.Join(", ", Columns)}.");
    }

    /// <summary>The next invoice line, or why it is none and on which line of the file; null at the end.</summary>
    public async Task<(InvoiceLine? Good, int Line, string? Error)?> ReadAsync(CancellationToken cancel)
    {
        if (await _csv.ReadAsync(cancel) is not { } record)
            return null;
        if (record.Error is not null)
            return (null, record.Line, record.Error);
        try
        {
            return (Map(record), record.Line, null);
        }
        catch (FormatException wrong)
        {
            return (null, record.Line, wrong.Message);
        }
    }

    // Exports differ in how they write names: "Customer ID", "customer_id", "CustomerID".
    private static string Plain(string name) =>
        string.Concat(name.Where(char.IsAsciiLetterOrDigit)).ToUpperInvariant();

    private InvoiceLine Map(CsvRecord record)
    {
        var fields = Array.ConvertAll(_columns, column => record.Fields[column]);
        return new(
            record.Line,
            MessageId(fields),
            Needed(fields[0], 0),
            Needed(fields[1], 1),
            fields[2],
            Quantity(fields[3]),
            Time(fields[4]),
            Price(fields[5]),
            Customer(fields[6]),
            Countries.Find(fields[7]));
    }

    /// <summary>What the line says, and how many times the file said the same before.</summary>
    private string MessageId(string[] fields)
    {
        // A control character that no field holds keeps "1","23" and "12","3" apart.
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\u001f', fields)));
        var key = new UInt128(BitConverter.ToUInt64(hash), BitConverter.ToUInt64(hash, 8));
        var times = _seen[key] = _seen.GetValueOrDefault(key) + 1;
        return string.Create(CultureInfo.InvariantCulture, $"online-retail-{Convert.ToHexStringLower(hash.AsSpan(0, 16))}-{times}");
    }

    private static string Needed(string text, int column) => text.Length > 0 ? text : throw new FormatException($"{Columns[column]} is empty");

    private static int Quantity(string text) =>
        decimal.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)
        && decimal.IsInteger(number) && number is >= int.MinValue and <= int.MaxValue
            ? (int)number
            : throw new FormatException($"Quantity '{text}' is not a whole number");

    private static DateTimeOffset Time(string text) =>
        DateTimeOffset.TryParseExact(
            text, TimeFormats, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal | DateTimeStyles.AllowWhiteSpaces, out var time)
            ? time
            : throw new FormatException($"InvoiceDate '{text}' is not a time such as 2010-12-01 08:26:00 or 12/1/2010 8:26");

    private static decimal Price(string text) =>
        decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var price)
            ? price
            : throw new FormatException($"UnitPrice '{text}' is not a number");

    /// <summary>A spreadsheet's number column with gaps writes 17850 as 17850.0 and a gap as 0.0 or nothing.</summary>
    private static string? Customer(string text)
    {
        if (text.Length == 0)
            return null;
        if (!decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) || !decimal.IsInteger(number))
            throw new FormatException($"CustomerID '{text}' is not a whole number");
        return number == 0 ? null : number.ToString("0", CultureInfo.InvariantCulture);
    }
}
