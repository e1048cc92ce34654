using System.Globalization;
using Agency.Testing;

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
    public async Task Answers_equal_sums_over_the_real_file() => await CheckAsync(await File.ReadAllTextAsync(OnlineRetailFile.RealFile!));

    private static async Task CheckAsync(string csv)
    {
        var lines = OnlineRetailFile.Parse(csv);
        await using var host = await AnalyticsHost.StartAsync();
        using var client = host.Client();
        await client.TrackAsync(lines.Select(l => AnalyticsHost.Line(
            $"line {l.Index}", l.Invoice, l.Product, l.Quantity, l.Price, l.Time.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture), l.Customer,
            l.Country == "United Kingdom" ? "GB" : null, l.Cancelled, anonymous: l.Customer is null ? l.Invoice : null)));
        await host.RolledUpAsync();
        Assert.Equal(RetailSums.Of(lines).ToString(), RetailSums.Of(await client.AskAsync(RetailSums.Query)).ToString());

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
}

/// <summary>A test of the real file, skipped where there is none.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RealFileFactAttribute : FactAttribute
{
    public RealFileFactAttribute() => Skip = OnlineRetailFile.Missing!;
}
