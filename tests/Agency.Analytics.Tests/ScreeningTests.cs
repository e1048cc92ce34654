using System.Net;
using System.Text;

namespace Agency.Analytics.Tests;

public sealed class ScreeningTests
{
    private const string Googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    private static readonly AnalyticsConfigDto Defaults = AnalyticsConfigDto.Default;

    [Fact]
    public void Bots_are_excluded_unless_they_are_wanted()
    {
        var bot = EventOrigin.OfRequest(Googlebot, null, null);
        Assert.Equal("bot", Screen(Defaults, """{"messageId":"1","event":"a"}""", bot).Excluded);
        Assert.Null(Screen(Defaults with { FilterBots = false }, """{"messageId":"1","event":"a"}""", bot).Excluded);
        Assert.Null(Screen(Defaults, """{"messageId":"1","event":"a"}""", EventOrigin.OfRequest("curl/8.5.0", null, null)).Excluded);
    }

    [Theory]
    [InlineData(null, "203.0.113.9", "address")]
    [InlineData(null, "::ffff:203.0.113.9", "address")]
    [InlineData(null, "203.0.113.10", null)]
    [InlineData(null, "10.9.9.9", "address")]
    [InlineData(null, "2001:db8::7", "address")]
    [InlineData(null, null, null)]
    [InlineData("10.1.1.1", "203.0.113.10", "address")]
    [InlineData("198.51.100.1", "203.0.113.9", null)]
    public void An_address_is_the_visitors_and_else_the_requests(string? visitor, string? request, string? excluded)
    {
        var config = Defaults with { ExcludedAddresses = ["203.0.113.9", "10.0.0.0/8", "2001:db8::/32"] };
        var context = visitor is null ? "{}" : $$"""{"address":"{{visitor}}"}""";
        var origin = EventOrigin.OfRequest(null, request is null ? null : IPAddress.Parse(request), null);
        Assert.Equal(excluded, Screen(config, $$"""{"messageId":"1","event":"a","context":{{context}}}""", origin).Excluded);
    }

    [Fact]
    public void Each_item_of_a_batch_has_its_own_address()
    {
        var config = Defaults with { ExcludedAddresses = ["10.0.0.0/8"] };
        var items = EventReader.Read(Encoding.UTF8.GetBytes("""
            [{"messageId":"1","event":"a"},{"messageId":"2","event":"a","context":{"address":"10.0.0.1"}},{"messageId":"3","event":"a"},
             {"messageId":"4","event":"a","context":{"address":"11.0.0.1"}},5]
            """), DateTimeOffset.UnixEpoch, EventOrigin.OfRequest(null, IPAddress.Parse("192.0.2.1"), null));
        Assert.Equal([null, "address", null, null, null], new Screening(config).Of(items, DateTime.UnixEpoch, new HashSet<long>()).Select(i => i.Excluded));
    }

    [Theory]
    [InlineData("\"userId\":\"u\"", "user")]
    [InlineData("\"anonymousId\":\"u\"", "user")]
    [InlineData("\"userId\":\"v\",\"anonymousId\":\"u\"", "user")]
    [InlineData("\"userId\":\"U\"", null)]
    [InlineData("\"properties\":{}", null)]
    public void A_user_is_excluded_by_either_id(string ids, string? excluded) =>
        Assert.Equal(excluded, Screen(Defaults with { ExcludedUsers = ["u"] }, $$"""{"messageId":"1","event":"a",{{ids}}}""").Excluded);

    [Theory]
    [InlineData("{}", "plan missing")]
    [InlineData("""{"plan":null}""", "plan missing")]
    [InlineData("""{"plan":"free"}""", "")]
    [InlineData("""{"plan":"free","plan":null}""", "plan missing")]
    [InlineData("""{"plan":"Free","plan":"free"}""", "")]
    [InlineData("""{"plan":"free","plan":"Free"}""", "plan values")]
    [InlineData("""{"plan":"free","other":1,"other":2}""", "other unknown-property")]
    [InlineData("""{"pl\u0061n":"fr\u0065e"}""", "")]
    [InlineData("""{"plan":"Free"}""", "plan values")]
    [InlineData("""{"plan":7}""", "plan type")]
    [InlineData("""{"plan":"free","seats":1}""", "")]
    [InlineData("""{"plan":"free","seats":1.0}""", "")]
    [InlineData("""{"plan":"free","seats":1e1}""", "")]
    [InlineData("""{"plan":"free","seats":1.5}""", "seats type")]
    [InlineData("""{"plan":"free","seats":"1"}""", "seats type")]
    [InlineData("""{"plan":"free","seats":0}""", "seats minimum")]
    [InlineData("""{"plan":"free","seats":101}""", "seats maximum")]
    [InlineData("""{"plan":"free","seats":1e300}""", "seats maximum")]
    [InlineData("""{"plan":"free","seats":1e-300}""", "seats type")]
    [InlineData("""{"plan":"free","price":1e-300}""", "")]
    [InlineData("""{"plan":"free","price":-1e300}""", "price minimum")]
    [InlineData("""{"plan":"free","price":0.1}""", "")]
    [InlineData("""{"plan":"free","note":"12345"}""", "")]
    [InlineData("""{"plan":"free","note":"123456"}""", "note max-length")]
    [InlineData("""{"plan":"free","note":"\u00e9\u00e9\u00e9\u00e9\u00e9"}""", "")]
    [InlineData("""{"plan":"free","trial":true,"tags":[1,{"plan":7}],"more":{"plan":7}}""", "")]
    [InlineData("""{"plan":"free","trial":"yes","tags":{},"more":[]}""", "trial type, tags type, more type")]
    [InlineData("""{"plan":"free","other":{"seats":0},"$url":"/x"}""", "other unknown-property")]
    [InlineData("""{"seats":0,"other":1}""", "seats minimum, other unknown-property, plan missing")]
    public void An_event_is_held_against_the_plan(string properties, string broken)
    {
        var plan = new TrackingPlan(Events:
        [
            new("sign-up", [
                new("plan", "string", Required: true, Values: ["free", "pro"]), new("seats", "integer", Minimum: 1, Maximum: 100), new("note", "string", MaxLength: 5),
                new("price", "number", Minimum: 0), new("trial", "boolean"), new("tags", "array"), new("more", "object"),
            ], AllowUnknownProperties: false),
        ]);
        var item = Screen(Defaults with { TrackingPlan = plan }, $$"""{"messageId":"1","event":"sign-up","properties":{{properties}}}""");
        Assert.Equal(broken, string.Join(", ", item.Violations.Select(v => $"{v.Property} {v.Rule}")));
        Assert.False(item.IsRefused);
        Assert.NotNull(item.Candidate);
        Assert.Equal(broken.Length > 0, Screen(Defaults with { TrackingPlan = plan with { Mode = "refuse" } }, $$"""{"messageId":"1","event":"sign-up","properties":{{properties}}}""").IsRefused);
    }

    [Fact]
    public void An_event_that_the_plan_does_not_name_follows_it_unless_it_says_otherwise()
    {
        var plan = new TrackingPlan(Events: [new("sign-up")]);
        Assert.Empty(Screen(Defaults with { TrackingPlan = plan }, """{"messageId":"1","event":"other"}""").Violations);
        Assert.Equal("unknown-event", Assert.Single(Screen(Defaults with { TrackingPlan = plan with { AllowUnknownEvents = false } }, """{"messageId":"1","event":"other"}""").Violations).Rule);
        Assert.Empty(Screen(Defaults with { TrackingPlan = plan with { AllowUnknownEvents = false } }, """{"messageId":"1","event":"sign-up","properties":{"a":1}}""").Violations);
    }

    [Fact]
    public void What_a_refused_item_is_told_names_what_is_wrong()
    {
        var plan = new TrackingPlan("refuse", Events: [new("a", [new("p", "string", true, [.. Enumerable.Range(0, 12).Select(i => $"v{i}")]), new("q", "number", true, Maximum: 1.5m)])]);
        var item = Screen(Defaults with { TrackingPlan = plan }, """{"messageId":"1","event":"a","properties":{"q":2,"p":"x"}}""");
        Assert.Equal(
            "does not follow the tracking plan: properties.q must be at most 1.5; properties.p must be one of v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, ...",
            item.Error);
        Assert.Null(item.Candidate);
    }

    [Fact]
    public void What_is_told_of_one_event_is_bounded()
    {
        var plan = new TrackingPlan(Events: [new("a", [], AllowUnknownProperties: false)]);
        var names = string.Join(',', Enumerable.Range(0, 50).Select(i => $"\"{i}{new string('é', 198)}😀\":1"));
        var violations = Screen(Defaults with { TrackingPlan = plan }, $$"""{"messageId":"1","event":"a","properties":{ {{names}} } }""").Violations;
        Assert.Equal(PlanCheck.MaxOfOneEvent, violations.Count);
        Assert.Equal("0" + new string('é', 198), violations[0].Property);
    }

    private static ScreenedItem Screen(AnalyticsConfigDto config, string item, EventOrigin? origin = null) =>
        new Screening(config).Of(EventReader.Read(Encoding.UTF8.GetBytes(item), DateTimeOffset.UnixEpoch, origin), DateTime.UnixEpoch, new HashSet<long>()).Single();
}
