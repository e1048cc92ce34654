using System.Net;
using System.Text;
using System.Text.Json.Nodes;

namespace Agency.Analytics.Tests;

public sealed class EventContextTests
{
    private const string Chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    private const string Iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
    private const string Googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    private static readonly IPAddress Server = IPAddress.Parse("203.0.113.9");

    [Fact]
    public void Everything_that_is_known_is_added_at_the_end()
    {
        var e = Read("""
            {"url":"https://www.shop.example/caf%C3%A9?utm_source=news&utm_medium=e-mail&utm_campaign=Black+Friday&utm_term=a%26b&utm_content=caf%C3%A9&x=1#top",
             "referrer":"https://www.Search.example:8443/?q=1","userAgent":"CHROME","address":"198.51.100.7","country":"GB"}
            """.Replace("CHROME", Chrome, StringComparison.Ordinal), properties: """{"plan":"pro"}""");
        Assert.Equal(
            """
            {"plan":"pro","$url":"https://www.shop.example/caf%C3%A9?utm_source=news&utm_medium=e-mail&utm_campaign=Black+Friday&utm_term=a%26b&utm_content=caf%C3%A9&x=1#top",
            "$path":"/caf%C3%A9","$referrer":"search.example","$utm_source":"news","$utm_medium":"e-mail","$utm_campaign":"Black Friday","$utm_term":"a&b","$utm_content":"café",
            "$device":"desktop","$os":"Windows","$browser":"Chrome","$country":"GB"}
            """.ReplaceLineEndings(""),
            Text(e));
        Assert.Equal(("198.51.100.7", false), (e.Origin!.Address!.ToString(), e.Origin.IsBot));
        Assert.DoesNotContain("198.51", Text(e), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("{ }")]
    [InlineData(" {\"a\":1} ")]
    [InlineData("{\"a\":{\"$os\":2}, \"b\":[] \n}")]
    public void What_is_added_to_leaves_an_object(string properties)
    {
        var added = JsonNode.Parse(Text(Read("""{"country":"GB"}""", properties: properties)))!.AsObject();
        Assert.Equal("GB", (string?)added["$country"]);
        added.Remove("$country");
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(properties), added));
    }

    [Fact]
    public void Nothing_is_added_or_copied_when_nothing_is_known()
    {
        var body = """{"messageId":"1","event":"a","properties":{"a":1},"context":{"url":"","referrer":null,"country":"XX"}}"""u8.ToArray();
        Assert.Equal("""{"a":1}""", Text(EventReader.Read(body, DateTimeOffset.UnixEpoch).Single()));
        var plain = EventReader.Read("""{"messageId":"1","event":"a","properties":{"a":1}}"""u8.ToArray(), DateTimeOffset.UnixEpoch, EventOrigin.OfRequest("acme-sdk/1.0", Server, "GB")).Single();
        Assert.Equal("""{"a":1}""", Text(plain));
    }

    [Theory]
    [InlineData("""{"$url":"/mine","$os":null}""")]
    [InlineData("""{"\u0024url":"/mine","\u0024o\u0073":null}""")]
    public void What_the_client_says_itself_is_kept(string own)
    {
        var properties = JsonNode.Parse(Text(Read("""{"url":"https://a.example/x","userAgent":"CHROME"}""".Replace("CHROME", Chrome, StringComparison.Ordinal), properties: own)))!;
        Assert.Equal(("/mine", null, "/x", "Chrome"), ((string?)properties["$url"], (string?)properties["$os"], (string?)properties["$path"], (string?)properties["$browser"]));
    }

    [Theory]
    [InlineData("https://a.example", "/", "a.example")]
    [InlineData("https://a.example?x=1", "/", "a.example")]
    [InlineData("http://user:secret@www.a.example:8080/x/y?z", "/x/y", "a.example")]
    [InlineData("https://[2001:db8::1]:8443/x", "/x", "[2001:db8::1]")]
    [InlineData("android-app://com.google.android.gm/", "/", "com.google.android.gm")]
    [InlineData("/pricing?from=https://b.example/", "/pricing", "")]
    [InlineData("file:///home/a", "", "")]
    [InlineData("about:blank", "", "")]
    [InlineData("nonsense", "", "")]
    [InlineData("https://", "", "")]
    [InlineData("://", "", "")]
    [InlineData("https://a b/", "", "")]
    [InlineData("#https://a.example/", "", "")]
    public void A_pages_address_has_a_path_and_a_host(string url, string path, string host)
    {
        var page = new PageUrl(url);
        Assert.Equal((path, host), (page.Path.ToString(), page.Host.ToString()));
    }

    [Theory]
    [InlineData("utm_source=a&utm_source=b", "a")]
    [InlineData("UTM_Source=a", "a")]
    [InlineData("xutm_source=a", null)]
    [InlineData("utm_source=", null)]
    [InlineData("utm_source", null)]
    [InlineData("utm_source=+%20", null)]
    [InlineData("utm_source=a%00b%0Ac", "a b c")]
    [InlineData("utm_source=%zz%", "%zz%")]
    [InlineData("utm_source=%ED%A0%80x", "%ED%A0%80x")]
    [InlineData("utm_source=%F0%9F%98%80", "😀")]
    [InlineData("#utm_source=a", null)]
    public void A_campaigns_parameter_is_decoded_whatever_it_holds(string query, string? source) =>
        Assert.Equal(source, new PageUrl("https://a.example/?" + query).Parameter("utm_source"));

    [Fact]
    public void A_campaigns_parameter_is_cut_between_characters()
    {
        Assert.Equal(200, new PageUrl("/?utm_source=" + new string('x', 1000)).Parameter("utm_source")!.Length);
        Assert.Equal(199, new PageUrl("/?utm_source=x" + string.Concat(Enumerable.Repeat("😀", 200))).Parameter("utm_source")!.Length);
    }

    [Theory]
    [InlineData("https://www.a.example/x", "http://A.example/y", false)]
    [InlineData("https://a.example/x", "https://b.a.example/", true)]
    [InlineData("", "https://a.example/", true)]
    [InlineData("/x", "nonsense", false)]
    public void A_referrer_is_another_host(string url, string referrer, bool isKept) =>
        Assert.Equal(isKept, Text(Read($$"""{"url":"{{url}}","referrer":"{{referrer}}"}""")).Contains("$referrer", StringComparison.Ordinal));

    [Fact]
    public void A_browsers_request_tells_of_the_visitor_and_a_servers_of_nobody()
    {
        Assert.Equal("""{"$device":"mobile","$os":"iOS","$browser":"Safari","$country":"FR"}""", Text(Read("null", EventOrigin.OfRequest(Iphone, Server, "FR"))));
        Assert.Equal("""{"$device":"mobile","$os":"iOS","$browser":"Safari"}""", Text(Read("null", EventOrigin.OfRequest(Iphone, Server, "T1"))));
        Assert.Equal("""{"$device":"desktop","$os":"Windows","$browser":"Chrome","$country":"DE"}""",
            Text(Read($$"""{"userAgent":"{{Chrome}}","country":"DE"}""", EventOrigin.OfRequest(Iphone, Server, "FR"))));
        Assert.Equal("{}", Text(Read("null", EventOrigin.OfRequest("okhttp/4.12.0", Server, "FR"))));
        Assert.Equal(Server, Read("null", EventOrigin.OfRequest("okhttp/4.12.0", Server, "FR")).Origin!.Address);
        Assert.Equal("10.1.2.3", EventOrigin.OfRequest(null, IPAddress.Parse("::ffff:10.1.2.3"), null).Address!.ToString());
    }

    [Fact]
    public void A_bot_is_told_by_the_visitors_user_agent_and_else_by_the_requests()
    {
        Assert.True(Read("null", EventOrigin.OfRequest(Googlebot, Server, null)).Origin!.IsBot);
        Assert.True(Read("null", EventOrigin.OfRequest("Slackbot 1.0 (+https://api.slack.com/robots)", Server, null)).Origin!.IsBot);
        Assert.False(Read($$"""{"userAgent":"{{Chrome}}"}""", EventOrigin.OfRequest(Googlebot, Server, null)).Origin!.IsBot);
        var told = Read($$"""{"userAgent":"{{Googlebot}}"}""", EventOrigin.OfRequest(Iphone, Server, null));
        Assert.Equal("""True {"$device":"bot"}""", $"{told.Origin!.IsBot} {Text(told)}");
        Assert.False(EventOrigin.OfRequest(new string('x', 100_000), Server, null).IsBot);
    }

    [Theory]
    [InlineData("7", "context must be a JSON object")]
    [InlineData("[]", "context must be a JSON object")]
    [InlineData("""{"page":"x"}""", "context has a field that is not one of")]
    [InlineData("""{"url":"x","url":"y"}""", "context has a field twice")]
    [InlineData("""{"url":{"a":[]}}""", "context.url must be a string of at most 2048 characters")]
    [InlineData("""{"referrer":1}""", "context.referrer must be")]
    [InlineData("""{"userAgent":"a\u0000"}""", "context.userAgent must be")]
    [InlineData("""{"url":"\ud800"}""", "context.url must be")]
    [InlineData("""{"\udc00\ud800":1}""", "context has a field whose name holds half a surrogate pair")]
    [InlineData("""{"url":"LONG"}""", "context.url must be")]
    [InlineData("""{"address":"localhost"}""", "context.address must be an IPv4 or IPv6 address")]
    [InlineData("""{"address":"010.0.0.1"}""", "context.address must be")]
    [InlineData("""{"address":"1"}""", "context.address must be")]
    [InlineData("""{"address":"[::1]:80"}""", "context.address must be")]
    [InlineData("""{"address":"fe80::1%eth0"}""", "context.address must be")]
    [InlineData("""{"address":"10.0.0.0/8"}""", "context.address must be")]
    [InlineData("""{"country":"gb"}""", "context.country must be an ISO 3166 alpha-2 code")]
    [InlineData("""{"country":"GBR"}""", "context.country must be")]
    public void A_bad_context_is_the_error_of_its_item(string context, string error)
    {
        var item = Read(context.Replace("LONG", new string('x', 2049), StringComparison.Ordinal));
        Assert.Null(item.Event);
        Assert.StartsWith(error, item.Error, StringComparison.Ordinal);
    }

    private static ReadItem Read(string context, EventOrigin? request = null, string properties = "{}") => EventReader.Read(
        Encoding.UTF8.GetBytes($$"""[{"messageId":"1","event":"a","context":{{context}},"properties":{{properties}}},{"messageId":"2","event":"after"}]"""),
        DateTimeOffset.UnixEpoch, request)[0];

    private static string Text(ReadItem item) => Encoding.UTF8.GetString(item.Event!.Properties.Utf8.Span);
}
