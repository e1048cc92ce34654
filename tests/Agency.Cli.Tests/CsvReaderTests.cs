namespace Agency.Cli.Tests;

public sealed class CsvReaderTests
{
    [Theory]
    [InlineData("a,b\n1,2\n", new[] { "1", "2" })]
    [InlineData("a,b\r\n1,2\r\n", new[] { "1", "2" })]
    [InlineData("a,b\n1,2", new[] { "1", "2" })]
    [InlineData("a,b\n\"1,5\",2", new[] { "1,5", "2" })]
    [InlineData("a,b\n\"say \"\"hi\"\"\",2", new[] { "say \"hi\"", "2" })]
    [InlineData("a,b\n\"two\r\nlines\",2", new[] { "two\nlines", "2" })]
    [InlineData("a,b\n  x y  , \" z \" ", new[] { "x y", "z" })]
    [InlineData("a,b\n,", new[] { "", "" })]
    [InlineData("a,b\n\n  \n1,2", new[] { "1", "2" })]
    [InlineData("a,b\n5\" DISH,2", new[] { "5\" DISH", "2" })]
    public async Task A_record_is_split_as_RFC_4180_says(string text, string[] fields)
    {
        var records = await ReadAsync(text);
        Assert.Equal(2, records.Count);
        Assert.Null(records[1].Error);
        Assert.Equal(fields, records[1].Fields);
    }

    [Fact]
    public async Task A_record_of_several_lines_is_known_by_its_first()
    {
        var records = await ReadAsync("a,b\n\"1\n2\n3\",x\n4,y\n");
        Assert.Equal([1, 2, 5], records.Select(r => r.Line));
    }

    [Fact]
    public async Task A_wrong_number_of_fields_is_told_and_the_rest_goes_on()
    {
        var records = await ReadAsync("a,b\n1,2,3\n4\n5,6\n");
        Assert.Equal("it has 3 fields, not 2", records[1].Error);
        Assert.Equal("it has 1 fields, not 2", records[2].Error);
        Assert.Equal(["5", "6"], records[3].Fields);
    }

    [Fact]
    public async Task A_quote_nobody_closes_costs_its_own_line_only()
    {
        var records = await ReadAsync("a,b\n\"1,2\n3,4\n5,6\n");
        Assert.Equal("a quoted field is never closed", records[1].Error);
        Assert.Equal([1, 2, 3, 4], records.Select(r => r.Line));
        Assert.Equal(["5", "6"], records[3].Fields);
    }

    [Fact]
    public async Task A_quote_closed_by_a_later_record_costs_its_own_line_only()
    {
        var records = await ReadAsync("a,b\n\"1,2\n3,\"x, y\"\n5,6\n");
        Assert.Equal((2, "text follows a closing quote"), (records[1].Line, records[1].Error));
        Assert.Equal((3, "x, y"), (records[2].Line, records[2].Fields[1]));
        Assert.Equal(["5", "6"], records[3].Fields);
    }

    [Fact]
    public async Task A_field_that_never_ends_does_not_swallow_the_file()
    {
        var text = "a,b\n\"open,1\n" + string.Concat(Enumerable.Repeat("1,2\n", 500));
        var records = await ReadAsync(text);
        Assert.Single(records, r => r.Error is not null);
        Assert.Equal(502, records.Count);
    }

    private static async Task<List<CsvRecord>> ReadAsync(string text)
    {
        var reader = new CsvReader(new StringReader(text));
        var records = new List<CsvRecord>();
        while (await reader.ReadAsync(CancellationToken.None) is { } record)
            records.Add(record);
        return records;
    }
}
