using Microsoft.AspNetCore.Http;

namespace Agency.Platform.Tests;

/// <summary>RFC 9110, 13.1.1 and 13.1.2.</summary>
public sealed class ConditionsTests
{
    [Theory]
    [InlineData("\"3\"", true)]
    [InlineData(" \"3\" ", true)]
    [InlineData("\"2\", \"3\"", true)]
    [InlineData("\"3\",\"abc\",W/\"2\"", true)]
    [InlineData("*", true)]
    [InlineData("\"2\"", false)]
    [InlineData("\"2\", \"4\"", false)]
    [InlineData("W/\"3\"", false)]
    [InlineData("\"abc\"", false)]
    [InlineData("\"99999999999999999999\", \"\"", false)]
    public void A_change_is_made_when_one_of_the_tags_is_the_current_one(string header, bool matches)
    {
        var refusal = Conditions.Refusal(IfMatch(header), 3, "thing");
        Assert.Equal(matches ? null : 412, refusal?.Status);
        Assert.Equal(404, Conditions.Refusal(IfMatch(header), 0, "thing")?.Status);
    }

    [Theory]
    [InlineData(null, 428)]
    [InlineData("", 428)]
    [InlineData("3", 400)]
    [InlineData("\"3", 400)]
    [InlineData("\"3\" x", 400)]
    [InlineData("\"3\", x", 400)]
    [InlineData("\"3\" \"4\"", 400)]
    [InlineData("\"3\", *", 400)]
    public void What_is_no_list_of_tags_is_refused(string? header, int status) =>
        Assert.Equal(status, Assert.Throws<ProblemException>(() => IfMatch(header)).Problem.Status);

    [Theory]
    [InlineData("\"3\"", true)]
    [InlineData("W/\"3\"", true)]
    [InlineData("\"2\", W/\"3\"", true)]
    [InlineData("*", true)]
    [InlineData("\"a, \"", false)]
    [InlineData("\"a,3\"", false)]
    [InlineData("3", false)]
    [InlineData("\"2\"", false)]
    [InlineData("", false)]
    public async Task A_read_is_not_sent_again_to_who_has_one_of_the_tags(string header, bool matches)
    {
        var answer = Answer.Document("text"u8.ToArray(), "text/plain");
        var http = new DefaultHttpContext();
        http.Request.Method = "GET";
        await answer.ExecuteAsync(http);
        var tag = http.Response.Headers.ETag.ToString().Trim('"');
        http.Request.Headers.IfNoneMatch = header.Replace("3", tag, StringComparison.Ordinal);
        await answer.ExecuteAsync(http);
        Assert.Equal(matches ? 304 : 200, http.Response.StatusCode);
    }

    private static long[]? IfMatch(string? header)
    {
        var http = new DefaultHttpContext().Request;
        http.Headers.IfMatch = header;
        return http.IfMatch();
    }
}
