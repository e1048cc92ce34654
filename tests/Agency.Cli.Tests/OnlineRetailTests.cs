using System.Text;

namespace Agency.Cli.Tests;

public sealed class OnlineRetailTests
{
    private const string Header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
    private const string Row = "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n";

    [Fact]
    public async Task A_row_becomes_an_invoice_line()
    {
        var line = Assert.Single(await GoodAsync(Header + Row));
        Assert.Equal(("536365", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER"), (line.Invoice, line.StockCode, line.Description));
        Assert.Equal((6, 2.55m, "17850", "GB"), (line.Quantity, line.UnitPrice, line.Customer, line.Country));
        Assert.Equal(new DateTimeOffset(2010, 12, 1, 8, 26, 0, TimeSpan.Zero), line.Time);
        Assert.False(line.IsCancelled);
    }

    [Theory]
    [InlineData("2010-12-01 08:26:00")]
    [InlineData("2010-12-01 08:26")]
    [InlineData("2010-12-01T08:26:00")]
    [InlineData("2010-12-01T08:26:00Z")]
    [InlineData("12/1/2010 8:26")]
    [InlineData("12/01/2010 08:26")]
    [InlineData("12/1/10 8:26")]
    public async Task Every_way_the_set_is_exported_in_writes_the_same_time(string time)
    {
        var line = Assert.Single(await GoodAsync($"{Header}1,2,x,1,{time},1,1,France"));
        Assert.Equal(new DateTimeOffset(2010, 12, 1, 8, 26, 0, TimeSpan.Zero), line.Time);
    }

    [Theory]
    [InlineData("17850.0", "17850")]
    [InlineData("17850", "17850")]
    [InlineData("0.0", null)]
    [InlineData("0", null)]
    [InlineData("", null)]
    public async Task A_missing_or_zero_customer_is_anonymous(string text, string? customer)
    {
        var line = Assert.Single(await GoodAsync($"{Header}536365,2,x,1,2010-12-01 08:26:00,1,{text},France"));
        Assert.Equal(customer, line.Customer);
        var sent = OrderLineEvent.Of(line);
        Assert.Equal((customer, customer is null ? "536365" : null), (sent.UserId, sent.AnonymousId));
    }

    [Fact]
    public async Task A_cancelled_invoice_starts_with_C_and_takes_back()
    {
        var line = Assert.Single(await GoodAsync($"{Header}C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,14527.0,United Kingdom"));
        Assert.True(line.IsCancelled);
        Assert.Equal((-1, true), (OrderLineEvent.Of(line).Properties.Quantity, OrderLineEvent.Of(line).Properties.Cancelled));
    }

    [Fact]
    public async Task Columns_are_found_by_name_in_any_order_and_spelling()
    {
        var line = Assert.Single(await GoodAsync("\uFEFFcountry,Customer ID,unit_price,InvoiceDate,Quantity,Description,StockCode,Extra,InvoiceNo\nEIRE,1,2.5,2010-12-01 08:26:00,3,d,s,?,i"));
        Assert.Equal(("i", "s", 3, 2.5m, "IE"), (line.Invoice, line.StockCode, line.Quantity, line.UnitPrice, line.Country));
    }

    [Theory]
    [InlineData("", "no header")]
    [InlineData("\"open", "no header")]
    [InlineData("InvoiceNo,StockCode\n1,2", "lacks Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country")]
    public async Task A_wrong_header_gets_a_sentence(string text, string sentence)
    {
        var failure = await Assert.ThrowsAsync<CommandException>(() => GoodAsync(text));
        Assert.Contains(sentence, failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1,2,x,six,2010-12-01 08:26:00,1,1,France", "Quantity 'six' is not a whole number")]
    [InlineData("1,2,x,1.5,2010-12-01 08:26:00,1,1,France", "Quantity '1.5' is not a whole number")]
    [InlineData("1,2,x,99999999999,2010-12-01 08:26:00,1,1,France", "Quantity '99999999999' is not a whole number")]
    [InlineData("1,2,x,1,2010-13-01 08:26:00,1,1,France", "InvoiceDate '2010-13-01 08:26:00' is not a time")]
    [InlineData("1,2,x,1,2010-12-01 08:26:00,free,1,France", "UnitPrice 'free' is not a number")]
    [InlineData("1,2,x,1,2010-12-01 08:26:00,1,me,France", "CustomerID 'me' is not a whole number")]
    [InlineData(",2,x,1,2010-12-01 08:26:00,1,1,France", "InvoiceNo is empty")]
    [InlineData("1,,x,1,2010-12-01 08:26:00,1,1,France", "StockCode is empty")]
    [InlineData("1,2,x,1", "it has 4 fields, not 8")]
    public async Task A_bad_row_is_told_with_its_line_and_the_rest_goes_on(string row, string reason)
    {
        var rows = await ReadAsync($"{Header}{Row}{row}\n{Row}");
        Assert.Equal(3, rows.Count);
        Assert.Equal((true, false, true), (rows[0].Good is not null, rows[1].Good is not null, rows[2].Good is not null));
        Assert.Equal(3, rows[1].Line);
        Assert.StartsWith(reason, rows[1].Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Message_ids_are_stable_and_differ_for_lines_that_say_the_same()
    {
        var first = await GoodAsync(Header + Row + Row + Row.Replace(",6,", ",7,", StringComparison.Ordinal));
        var second = await GoodAsync(Header + Row + Row + Row.Replace(",6,", ",7,", StringComparison.Ordinal));
        Assert.Equal(3, first.Select(line => line.MessageId).Distinct().Count());
        Assert.Equal(first.Select(line => line.MessageId), second.Select(line => line.MessageId));
    }

    [Fact]
    public async Task Message_ids_do_not_depend_on_the_columns_order_or_on_stray_spaces()
    {
        var plain = Assert.Single(await GoodAsync(Header + "1,2,x,1,2010-12-01 08:26:00,1,1,France"));
        var other = Assert.Single(await GoodAsync(
            "Country,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,InvoiceNo\n France ,2, x,1,2010-12-01 08:26:00,1,1,\"1\""));
        Assert.Equal(plain.MessageId, other.MessageId);
    }

    [Fact]
    public void Bytes_that_are_no_UTF8_count_as_Latin1()
    {
        byte[] bytes = [.. "caf"u8, 0xC3, 0xA9, .. " "u8, 0xA3, .. "5 \xE2\x82\xAC"u8, .. "€"u8, 0xE9];
        Assert.Contains("café £5", Utf8OrLatin1.Encoding.GetString(bytes), StringComparison.Ordinal);
        Assert.EndsWith("€é", Utf8OrLatin1.Encoding.GetString(bytes), StringComparison.Ordinal);
        using var reader = new StreamReader(new MemoryStream(bytes), Utf8OrLatin1.Encoding);
        Assert.EndsWith("€é", reader.ReadToEnd(), StringComparison.Ordinal);
    }

    private static async Task<List<InvoiceLine>> GoodAsync(string text) => [.. (await ReadAsync(text)).Select(row => row.Good!)];

    private static async Task<List<(InvoiceLine? Good, int Line, string? Error)>> ReadAsync(string text)
    {
        using var stream = new StreamReader(new MemoryStream(Encoding.UTF8.GetBytes(text)), Utf8OrLatin1.Encoding);
        var file = await OnlineRetail.OpenAsync(stream, CancellationToken.None);
        var rows = new List<(InvoiceLine?, int, string?)>();
        while (await file.ReadAsync(CancellationToken.None) is { } row)
            rows.Add(row);
        return rows;
    }
}
