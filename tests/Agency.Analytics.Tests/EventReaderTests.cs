using System.Globalization;
using System.Text;

namespace Agency.Analytics.Tests;

public sealed class EventReaderTests
{
    private static readonly DateTimeOffset Now = new(2020, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("\"event\":7", "event must be a string")]
    [InlineData("\"event\":\"\"", "event must be a string")]
    [InlineData("\"event\":\"  \"", "event must be a string")]
    [InlineData("\"event\":\"a\\u0000b\"", "event must be a string")]
    [InlineData("\"event\":\"\\ud800\"", "event must be a string")]
    [InlineData("\"event\":\"a\",\"\\udc00\\ud800\":1", "has a field whose name holds half a surrogate pair")]
    [InlineData("\"event\":null", "event is missing")]
    [InlineData("\"event\":[{\"event\":\"x\"}]", "event must be a string")]
    [InlineData("\"event\":\"a\",\"event\":\"b\"", "has a field twice")]
    [InlineData("\"event\":\"a\",\"userID\":\"b\"", "has a field that is not one of")]
    [InlineData("\"event\":\"a\",\"userId\":7", "userId must be a string")]
    [InlineData("\"event\":\"a\",\"anonymousId\":{}", "anonymousId must be a string")]
    [InlineData("\"event\":\"a\",\"time\":1323435000", "time must be an RFC 3339 time")]
    [InlineData("\"event\":\"a\",\"time\":\"2011-12-09\"", "time must be an RFC 3339 time")]
    [InlineData("\"event\":\"a\",\"time\":\"2011-12-09T12:50:00\"", "time must be an RFC 3339 time")]
    [InlineData("\"event\":\"a\",\"time\":\"2011-02-30T12:50:00Z\"", "time must be an RFC 3339 time")]
    [InlineData("\"event\":\"a\",\"time\":\"yesterday, at noon\"", "time must be an RFC 3339 time")]
    [InlineData("\"event\":\"a\",\"time\":\"0001-01-01T00:00:00+14:00\"", "time")]
    [InlineData("\"event\":\"a\",\"time\":\"1969-12-31T23:59:59Z\"", "time is before 1970")]
    [InlineData("\"event\":\"a\",\"time\":\"2020-01-02T00:00:01Z\"", "time is more than 24 hours in the future")]
    [InlineData("\"event\":\"a\",\"properties\":[]", "properties must be a JSON object")]
    [InlineData("\"event\":\"a\",\"properties\":\"x\"", "properties must be a JSON object")]
    [InlineData("\"event\":\"a\",\"properties\":{\"x\":\"\\u0000\"}", "properties hold text with NUL")]
    [InlineData("\"event\":\"a\",\"properties\":{\"\\u0000\":1}", "properties hold text with NUL")]
    [InlineData("\"event\":\"a\",\"properties\":{\"x\":[\"\\udc00\"]}", "properties hold text with NUL or half a surrogate pair")]
    [InlineData("\"event\":\"a\",\"properties\":{\"x\":1e999999}", "properties hold a number")]
    [InlineData("\"event\":\"a\",\"properties\":{\"x\":-1E-20000}", "properties hold a number")]
    [InlineData("\"event\":\"a\",\"properties\":{\"x\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}", "properties are nested more than 16 deep")]
    public void A_bad_field_is_the_error_of_its_item(string fields, string error)
    {
        var items = Read($$"""[{"messageId":"0","event":"before"},{"messageId":"1",{{fields}}},{"messageId":"2","event":"after"}]""");
        Assert.Equal(["0", "1", "2"], items.Select(i => i.MessageId));
        Assert.StartsWith(error, items[1].Error, StringComparison.Ordinal);
        Assert.Null(items[1].Event);
        Assert.Equal("before after", $"{items[0].Event!.Event} {items[2].Event!.Event}");
    }

    [Fact]
    public void A_text_may_have_200_characters_however_they_are_written()
    {
        foreach (var text in new[] { new string('x', 200), string.Concat(Enumerable.Repeat("\\u00e9", 200)), new string('é', 200), string.Concat(Enumerable.Repeat("😀", 100)) })
            Assert.Equal(200, Read($$"""{"messageId":"{{text}}","event":"a"}""").Single().Event!.MessageId.Length);
        Assert.NotNull(Read($$"""{"messageId":"{{new string('x', 201)}}","event":"a"}""").Single().Error);
        Assert.NotNull(Read($$"""{"messageId":"1","event":"a","userId":"{{new string('x', 100_000)}}"}""").Single().Error);
    }

    [Fact]
    public void Properties_may_have_32_KiB()
    {
        string With(int bytes) => $$$"""{"messageId":"1","event":"a","properties":{"x":"{{{new string('x', bytes - 8)}}}"}}""";
        Assert.Equal(32 * 1024, Read(With(32 * 1024)).Single().Event!.Properties.Utf8.Length);
        Assert.Equal("properties are longer than 32768 bytes", Read(With((32 * 1024) + 1)).Single().Error);
    }

    [Theory]
    [InlineData("2011-12-09T12:50:00Z", "2011-12-09T12:50:00.0000000+00:00")]
    [InlineData("2011-12-09T12:50:00.1234567-01:30", "2011-12-09T14:20:00.1234560+00:00")]
    [InlineData("2020-01-02T00:00:00Z", "2020-01-02T00:00:00.0000000+00:00")]
    [InlineData("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.0000000+00:00")]
    public void A_time_is_read_to_the_microsecond(string text, string time) =>
        Assert.Equal(time, Read($$"""{"messageId":"1","event":"a","time":"{{text}}"}""").Single().Event!.Time.ToString("O", CultureInfo.InvariantCulture));

    [Fact]
    public void Nulls_count_as_not_given()
    {
        var e = Read("""{"messageId":"1","event":"a","userId":null,"anonymousId":null,"time":null,"properties":null}""").Single().Event!;
        Assert.Equal((null, null, Now, "{}"), (e.UserId, e.AnonymousId, e.Time, Encoding.UTF8.GetString(e.Properties.Utf8.Span)));
    }

    [Theory]
    [InlineData("\"quantity\":\"2\"", "properties.quantity must be")]
    [InlineData("\"quantity\":1.5", "properties.quantity must be")]
    [InlineData("\"quantity\":10000001", "properties.quantity must be")]
    [InlineData("\"quantity\":99999999999999999999", "properties.quantity must be")]
    [InlineData("\"quantity\":null", "properties.quantity must be")]
    [InlineData("\"unitPrice\":\"2.55\"", "properties.unitPrice must be")]
    [InlineData("\"unitPrice\":0.1234567", "properties.unitPrice must be")]
    [InlineData("\"unitPrice\":1e-30", "properties.unitPrice must be")]
    [InlineData("\"unitPrice\":1.000000000000000000000000000000001", "properties.unitPrice must be")]
    [InlineData("\"unitPrice\":1000000001", "properties.unitPrice must be")]
    [InlineData("\"currency\":\"pounds\"", "properties.currency must be")]
    [InlineData("\"currency\":\"gbp\"", "properties.currency must be")]
    [InlineData("\"currency\":null", "properties.currency is missing")]
    [InlineData("\"country\":\"England\"", "properties.country must be")]
    [InlineData("\"cancelled\":\"no\"", "properties.cancelled must be")]
    [InlineData("\"orderId\":536365", "properties.orderId must be")]
    [InlineData("\"orderId\":null", "properties.orderId is missing")]
    [InlineData("\"product\\u0049d\":null", "properties.productId is missing")]
    [InlineData("\"productId\":\"\"", "properties.productId must be")]
    public void An_order_line_that_is_none_is_refused(string wrong, string error)
    {
        // The last of two equal names counts, as it does in PostgreSQL's jsonb.
        var item = Read($$"""
            {"messageId":"1","event":"order-line","properties":{"orderId":"o","productId":"p","quantity":1,"unitPrice":1,"currency":"GBP",{{wrong}} } }
            """).Single();
        Assert.StartsWith(error, item.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_order_line_needs_its_order_product_quantity_price_and_currency()
    {
        string[] fields = ["\"orderId\":\"o\"", "\"productId\":\"p\"", "\"quantity\":1", "\"unitPrice\":1", "\"currency\":\"GBP\""];
        foreach (var missing in fields)
            Assert.EndsWith("is missing", Read($$"""
                {"messageId":"1","event":"order-line","properties":{ {{string.Join(',', fields.Where(f => f != missing))}} } }
                """).Single().Error, StringComparison.Ordinal);
        Assert.NotNull(Read("""{"messageId":"1","event":"order-line"}""").Single().Error);
        Assert.NotNull(Read($$"""{"messageId":"1","event":"order-line","properties":{ {{string.Join(',', fields)}} } }""").Single().Event);
    }

    [Fact]
    public void The_last_of_two_campaigns_counts()
    {
        const string line = """{"orderId":"o","productId":"p","quantity":1,"unitPrice":1,"currency":"GBP","$utm_campaign":"first","$utm_campaign":LAST}""";
        foreach (var (last, campaign) in new[] { ("null", null), ("\"last\"", "last") })
        {
            Assert.Null(OrderLine.TryRead(Encoding.UTF8.GetBytes(line.Replace("LAST", last, StringComparison.Ordinal)), out var read));
            Assert.Equal(campaign, read.Campaign);
        }
    }

    [Fact]
    public void An_amount_is_exact()
    {
        Assert.Null(OrderLine.TryRead("""{"orderId":"o","productId":"p","quantity":-3,"unitPrice":0.100001,"currency":"GBP","note":{"quantity":5}}"""u8, out var line));
        Assert.Equal(-0.300003m, line.Amount);
        Assert.Null(OrderLine.TryRead("""{"orderId":"o","productId":"p","quantity":1,"unitPrice":2.5500000000,"currency":"GBP"}"""u8, out line));
        Assert.Equal("2.550000", line.UnitPrice.ToString(CultureInfo.InvariantCulture));
    }

    private static IReadOnlyList<ReadItem> Read(string json) => EventReader.Read(Encoding.UTF8.GetBytes(json), Now);
}
