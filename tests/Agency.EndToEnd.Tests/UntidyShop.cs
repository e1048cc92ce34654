using System.Globalization;
using System.Text;
using Agency.Testing;

namespace Agency.EndToEnd.Tests;

/// <summary>
/// A made-up shop's invoice lines as such files come: quoted commas and quotes, stray spaces, two spellings of a time and of a customer,
/// anonymous buyers, cancelled invoices, gifts, bad debts, lines twice, a byte order mark, and lines that are none.
/// </summary>
internal sealed class UntidyShop
{
    private static readonly string[] Broken =
    [
        "536999,85123A,LANTERN,six,2011-02-01 10:00:00,1.25,17850.0,France",
        "536999,85123A,LANTERN,6,yesterday,1.25,17850.0,France",
        "536999,85123A,LANTERN,6,2011-02-01 10:00:00,free,17850.0,France",
        "536999,,LANTERN,6,2011-02-01 10:00:00,1.25,17850.0,France",
        "536999,85123A,LANTERN,6,2011-02-01 10:00:00,1.25,nobody,France",
        "536999,85123A,LANTERN,6,2011-02-01 10:00:00",
    ];

    private readonly StringBuilder _text = new("\uFEFFInvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\r\n");
    private readonly List<RetailLine> _lines = [];
    private readonly List<int> _broken = [];

    /// <param name="seed">The same gives the same file.</param>
    /// <param name="lines">How many lines are good.</param>
    public UntidyShop(int seed, int lines)
    {
        var random = new Random(seed);
        var number = 1;
        while (_lines.Count < lines)
        {
            var cancelled = random.Next(12) == 0;
            var invoice = string.Create(CultureInfo.InvariantCulture, $"{(cancelled ? "C" : "")}{536000 + (_lines.Count / 5)}");
            var time = new DateTime(2010, 12, 1, 8, 0, 0, DateTimeKind.Utc).AddMinutes(_lines.Count * 17);
            var customer = random.Next(5) == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{12000 + random.Next(lines / 12)}");
            for (var i = random.Next(1, 8); i > 0 && _lines.Count < lines; i--)
            {
                string[] fields =
                [
                    invoice,
                    string.Create(CultureInfo.InvariantCulture, $"{20000 + random.Next(120)}{(random.Next(3) == 0 ? "A" : "")}"),
                    random.Next(4) switch { 0 => "HOLDER, WHITE", 1 => "12\" PLATE", 2 => "", _ => "CAKE STAND" },
                    string.Create(CultureInfo.InvariantCulture, $"{(cancelled || random.Next(40) == 0 ? -1 : 1) * random.Next(1, 50)}"),
                    time.ToString(random.Next(3) == 0 ? "M/d/yyyy H:mm" : "yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
                    (random.Next(30) switch { 0 => 0m, 1 => -0.5m, _ => random.Next(1, 4000) / 100m }).ToString(CultureInfo.InvariantCulture),
                    customer is null ? random.Next(3) switch { 0 => "", 1 => "0", _ => "0.0" } : random.Next(2) == 0 ? customer : customer + ".0",
                    random.Next(4) switch { 0 => "EIRE", 1 => "Unspecified", 2 => "France", _ => "United Kingdom" },
                ];
                // Now and then a line comes twice, and both count.
                for (var times = random.Next(25) == 0 ? 2 : 1; times > 0 && _lines.Count < lines; times--)
                {
                    _text.AppendJoin(',', fields.Select(f => Written(f, random))).Append("\r\n");
                    _lines.Add(new(_lines.Count, fields));
                    number++;
                }
            }

            if (_lines.Count / 400 > _broken.Count && _broken.Count < Broken.Length)
            {
                _text.Append(Broken[_broken.Count]).Append("\r\n");
                _broken.Add(++number);
            }
        }
    }

    public IReadOnlyList<RetailLine> Lines => _lines;

    /// <summary>Where in the file the lines are that cannot be imported; the header is line 1.</summary>
    public IReadOnlyList<int> BrokenLines => _broken;

    /// <summary>Writes the file and returns its path.</summary>
    public string WriteTo(string folder)
    {
        var path = Path.Combine(folder, Guid.NewGuid().ToString("N") + ".csv");
        File.WriteAllText(path, _text.ToString());
        return path;
    }

    private static string Written(string field, Random random)
    {
        var text = field.AsSpan().ContainsAny(',', '"') ? $"\"{field.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : field;
        return random.Next(10) == 0 ? $" {text} " : text;
    }
}
