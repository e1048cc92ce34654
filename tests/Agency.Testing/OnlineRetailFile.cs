using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Agency.Testing;

/// <summary>A file in the UCI Online Retail format as tests read it, by other code than the product's.</summary>
public static class OnlineRetailFile
{
    /// <summary>The real file: in the folder that AGENCY_DATA names, or beside the repository; null when it is in neither.</summary>
    public static string? RealFile { get; } = Find();

    /// <summary>Why tests of the real file are skipped; null when it is there.</summary>
    public static string? Missing => RealFile is null
        ? "The file online-retail.csv is neither in the folder AGENCY_DATA nor in ../shared/data beside the repository."
        : null;

    /// <summary>The lines below the header. Every record must be on one line.</summary>
    public static IReadOnlyList<RetailLine> Parse(string csv) =>
        [.. Records(csv).Skip(1).Where(fields => fields.Count == 8).Select((fields, i) => new RetailLine(i, fields))];

    /// <summary>The fields of each line, without the spaces around them.</summary>
    private static IEnumerable<List<string>> Records(string csv)
    {
        foreach (var line in csv.Split('\n'))
        {
            var (fields, field, quoted) = (new List<string>(), new StringBuilder(), false);
            for (var i = 0; i < line.Length; i++)
            {
                if (line[i] == '"' && quoted && i + 1 < line.Length && line[i + 1] == '"')
                    field.Append(line[i++]);
                else if (line[i] == '"')
                    quoted = !quoted;
                else if (line[i] == ',' && !quoted)
                    (fields, field) = ([.. fields, field.ToString().Trim()], new());
                else
                    field.Append(line[i]);
            }

            yield return [.. fields, field.ToString().Trim()];
        }
    }

    private static string? Find()
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "global.json")))
            root = root.Parent;
        string?[] folders = [Environment.GetEnvironmentVariable("AGENCY_DATA"), root is null ? null : Path.Combine(root.FullName, "../shared/data")];
        return folders.Where(f => !string.IsNullOrEmpty(f)).Select(f => Path.Combine(f!, "online-retail.csv")).FirstOrDefault(File.Exists);
    }
}

/// <summary>One invoice line.</summary>
/// <param name="Index">From 0.</param>
/// <param name="Fields">The eight columns in their usual order.</param>
public sealed record RetailLine(int Index, IReadOnlyList<string> Fields)
{
    public string Invoice => Fields[0];

    public string Product => Fields[1];

    public int Quantity => int.Parse(Fields[3], CultureInfo.InvariantCulture);

    public DateTime Time => DateTime.Parse(Fields[4], CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal);

    public decimal Price => decimal.Parse(Fields[5], CultureInfo.InvariantCulture);

    /// <summary>Null for an anonymous buyer.</summary>
    public string? Customer => Fields[6] is "" or "0" or "0.0" ? null : Fields[6].Replace(".0", "", StringComparison.Ordinal);

    public string Country => Fields[7];

    public bool Cancelled => Invoice.StartsWith('C');

    public decimal Amount => Quantity * Price;
}

/// <summary>What a file comes to, or what the API says it does.</summary>
/// <param name="Days">Days with lines, in order: gross, refunds as a positive number, and net.</param>
/// <param name="TopProducts">The ten with the highest gross.</param>
public sealed record RetailSums(
    long Lines, long CancelledLines, long Orders, long Units,
    IReadOnlyList<(DateTime Day, decimal Gross, decimal Refunds, decimal Net)> Days, IReadOnlyList<(string Product, decimal Gross)> TopProducts)
{
    /// <summary>The query whose answer <see cref="Of(JsonElement)"/> reads.</summary>
    public const string Query = "/analytics/revenue?interval=day&by=product&limit=10";

    public static RetailSums Of(IReadOnlyCollection<RetailLine> lines) => new(
        lines.Count,
        lines.Count(l => l.Cancelled),
        lines.Where(l => !l.Cancelled).Select(l => l.Invoice).Distinct().Count(),
        lines.Sum(l => (long)l.Quantity),
        [.. lines.GroupBy(l => l.Time.Date).OrderBy(d => d.Key).Select(d =>
            (d.Key, d.Sum(l => decimal.Max(l.Amount, 0)), d.Sum(l => decimal.Max(-l.Amount, 0)), d.Sum(l => l.Amount)))],
        [.. lines.GroupBy(l => l.Product).Select(p => (p.Key, Gross: p.Sum(l => decimal.Max(l.Amount, 0))))
            .OrderByDescending(p => p.Gross).ThenBy(p => p.Key, StringComparer.Ordinal).Take(10)]);

    public static RetailSums Of(JsonElement revenue)
    {
        var totals = revenue.GetProperty("totals");
        return new(
            totals.GetProperty("lines").GetInt64(),
            totals.GetProperty("cancelledLines").GetInt64(),
            totals.GetProperty("orders").GetInt64(),
            totals.GetProperty("units").GetInt64(),
            [.. revenue.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("lines").GetInt64() > 0).Select(p =>
                (p.GetProperty("start").GetDateTimeOffset().UtcDateTime, p.GetProperty("gross").GetDecimal(), p.GetProperty("refunds").GetDecimal(), p.GetProperty("net").GetDecimal()))],
            [.. revenue.GetProperty("breakdown").EnumerateArray().Select(p => (p.GetProperty("key").GetString()!, p.GetProperty("gross").GetDecimal()))]);
    }

    /// <summary>In words, so that a comparison that fails shows where.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Lines} lines, {CancelledLines} cancelled, {Orders} orders, {Units} units\n")
        + string.Concat(Days.Select(d => string.Create(CultureInfo.InvariantCulture, $"{d.Day:yyyy-MM-dd} {d.Gross:0.00####} - {d.Refunds:0.00####} = {d.Net:0.00####}\n")))
        + string.Concat(TopProducts.Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.Product} {p.Gross:0.00####}\n")));
}
