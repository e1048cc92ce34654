using System.Globalization;
using System.Text;

namespace Agency.Analytics.Tests;

/// <summary>A shop's invoice lines, tracked as events, against sums over the file itself.</summary>
public sealed class OnlineRetailTests
{
    // Quoted commas and quotes, stray spaces, a refund, a cancelled invoice, buyers without a number, an order over two hours, a free gift.
    private const string Untidy = """"
        InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
        1001,85123A,"HEART, WHITE ""HANGING""",6,2010-12-31 23:59:00,2.55,17850.0,United Kingdom
        1001,71053, WHITE LANTERN ,6,2011-01-01 00:00:00,3.39,17850.0,United Kingdom
        1002,85123A,HEART,10,2011-01-01 09:00:00, 2.55 ,13047.0,France
        C1003,85123A,HEART,-2,2011-01-02 10:15:00,2.55,17850.0,United Kingdom
        1004,22423,"STAND, CAKE",1,2011-01-02 11:00:00,12.75,,EIRE
        1005,22423,STAND,3,2011-01-09 23:59:59,12.75,0.0,Germany
        1005,GIFT,,1,2011-01-09 23:59:59,0.0,0.0,Germany
        1006,D,Discount,-1,2011-01-10 00:00:00,27.5,14527.0,United Kingdom
        C1007,71053,WHITE LANTERN,-6,2011-02-01 00:00:00,3.39,17850.0,United Kingdom
        1008,71053,WHITE LANTERN,1,2011-02-28 12:00:00,3.395,12583.0,Unspecified

        """";

    [Fact]
    public Task Answers_equal_sums_over_an_untidy_file() => CheckAsync(Untidy);

    [RealFileFact]
    public async Task Answers_equal_sums_over_the_real_file() => await CheckAsync(await File.ReadAllTextAsync(RealFileFactAttribute.Path!));

    private static async Task CheckAsync(string csv)
    {
        var lines = Parse(csv).Skip(1).Where(fields => fields.Count == 8).Select((fields, i) => new Row(i, fields)).ToList();
        await using var host = await AnalyticsHost.StartAsync();
        using var client = host.Client();
        await client.TrackAsync(lines.Select(l => AnalyticsHost.Line(
            $"line {l.Index}", l.Invoice, l.Product, l.Quantity, l.Price, l.Time.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture), l.Customer,
            l.Country == "United Kingdom" ? "GB" : null, l.Cancelled, anonymous: l.Customer is null ? l.Invoice : null)));
        await host.RolledUpAsync();

        var revenue = await client.AskAsync("/analytics/revenue?interval=day&by=product&limit=10");
        var totals = revenue.GetProperty("totals");
        Assert.Equal(lines.Count, totals.GetProperty("lines").GetInt64());
        Assert.Equal(lines.Count(l => l.Cancelled), totals.GetProperty("cancelledLines").GetInt64());
        Assert.Equal(lines.Where(l => !l.Cancelled).Select(l => l.Invoice).Distinct().Count(), totals.GetProperty("orders").GetInt64());
        Assert.Equal(lines.Sum(l => (long)l.Quantity), totals.GetProperty("units").GetInt64());
        Assert.Equal(
            lines.GroupBy(l => l.Time.Date).OrderBy(d => d.Key).Select(d => (d.Key, d.Sum(l => decimal.Max(l.Amount, 0)), d.Sum(l => decimal.Max(-l.Amount, 0)), d.Sum(l => l.Amount))),
            revenue.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("lines").GetInt64() > 0).Select(p =>
                (p.GetProperty("start").GetDateTimeOffset().UtcDateTime, p.GetProperty("gross").GetDecimal(), p.GetProperty("refunds").GetDecimal(), p.GetProperty("net").GetDecimal())));
        Assert.Equal(
            lines.GroupBy(l => l.Product).Select(p => (p.Key, p.Sum(l => decimal.Max(l.Amount, 0)))).OrderByDescending(p => p.Item2).ThenBy(p => p.Key, StringComparer.Ordinal).Take(10),
            revenue.GetProperty("breakdown").EnumerateArray().Select(p => (p.GetProperty("key").GetString()!, p.GetProperty("gross").GetDecimal())));

        var users = await client.AskAsync("/analytics/users?interval=month");
        var known = lines.Where(l => l.Customer is not null).ToList();
        Assert.Equal(known.Select(l => l.Customer).Distinct().Count(), users.GetProperty("totals").GetProperty("active").GetInt64());
        Assert.Equal(
            known.GroupBy(l => l.Customer).GroupBy(c => c.Min(l => l.Time).ToString("yyyy-MM", CultureInfo.InvariantCulture)).OrderBy(m => m.Key).Select(m => (m.Key, (long)m.Count())),
            users.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("new").GetInt64() > 0)
                .Select(p => (p.GetProperty("start").GetString()![..7], p.GetProperty("new").GetInt64())));
        Assert.Equal(
            known.GroupBy(l => l.Time.ToString("yyyy-MM", CultureInfo.InvariantCulture)).OrderBy(m => m.Key).Select(m => (m.Key, (long)m.Select(l => l.Customer).Distinct().Count())),
            users.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("active").GetInt64() > 0)
                .Select(p => (p.GetProperty("start").GetString()![..7], p.GetProperty("active").GetInt64())));
    }

    /// <summary>The fields of each line, without the spaces around them.</summary>
    private static IEnumerable<List<string>> Parse(string csv)
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

    private sealed record Row(int Index, List<string> Fields)
    {
        public string Invoice => Fields[0];

        public string Product => Fields[1];

        public int Quantity => int.Parse(Fields[3], CultureInfo.InvariantCulture);

        public DateTime Time => DateTime.Parse(Fields[4], CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal);

        public decimal Price => decimal.Parse(Fields[5], CultureInfo.InvariantCulture);

        public string? Customer => Fields[6] is "" or "0" or "0.0" ? null : Fields[6].Replace(".0", "", StringComparison.Ordinal);

        public string Country => Fields[7];

        public bool Cancelled => Invoice.StartsWith('C');

        public decimal Amount => Quantity * Price;
    }
}

/// <summary>A test of the real file: in the folder that AGENCY_DATA names, or beside the repository; else the test is skipped.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RealFileFactAttribute : FactAttribute
{
    public RealFileFactAttribute() => Skip = Path is null
        ? "The file online-retail.csv is neither in the folder AGENCY_DATA nor in ../shared/data beside the repository."
        : null!;

    public static string? Path { get; } = Find();

    private static string? Find()
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(System.IO.Path.Combine(root.FullName, "global.json")))
            root = root.Parent;
        string?[] folders = [Environment.GetEnvironmentVariable("AGENCY_DATA"), root is null ? null : System.IO.Path.Combine(root.FullName, "../shared/data")];
        return folders.Where(f => !string.IsNullOrEmpty(f)).Select(f => System.IO.Path.Combine(f!, "online-retail.csv")).FirstOrDefault(File.Exists);
    }
}
