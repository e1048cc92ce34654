using Agency.Platform;
using Microsoft.Extensions.Configuration;

namespace Agency.Identity.Tests;

public sealed class AuthOptionsTests
{
    [Fact]
    public void Nothing_configured_means_the_local_issuer()
    {
        var options = From();
        Assert.Null(options.Issuer);
        Assert.Equal([LocalIssuer.Audience], options.Audiences);
    }

    [Fact]
    public void All_settings_are_read()
    {
        var options = From(
            ("Issuer", "https://clerk.example.com"), ("Audience", "a b"), ("AuthorizedParties", "https://one.example https://two.example"),
            ("KeyRefreshCooldown", "00:01:00"), ("KeyLifetime", "00:05:00"), ("KeyGrace", "01:00:00"), ("FetchTimeout", "00:00:02"),
            ("Claims:Subject", "uid"), ("Claims:Organisation", "team"), ("Claims:Scope", "rights"), ("Claims:Roles", "groups"), ("Roles:admin", "users:read users:write"));
        Assert.Equal("https://clerk.example.com", options.Issuer);
        Assert.Equal(["a", "b"], options.Audiences);
        Assert.Equal(["https://one.example", "https://two.example"], options.AuthorizedParties);
        Assert.Equal([60, 300, 3600, 2], new[] { options.KeyRefreshCooldown, options.KeyLifetime, options.KeyGrace, options.FetchTimeout }.Select(t => t.TotalSeconds));
        Assert.Equal(["uid", "team", "rights", "groups"], [options.SubjectClaim, .. options.OrganisationClaims, .. options.ScopeClaims, .. options.RoleClaims]);
        Assert.Equal(["users:read", "users:write"], options.Roles["ADMIN"]);
    }

    [Theory]
    [InlineData("Auth:Issuer", "not an address")]
    [InlineData("Auth:Issuer", "http://clerk.example.com")]
    [InlineData("Auth:Issuer", "ftp://clerk.example.com")]
    [InlineData("Auth:Issuer", "https://clerk.example.com?x=1")]
    [InlineData("Auth:KeyRefreshCooldown", "soon")]
    [InlineData("Auth:KeyRefreshCooldown", "00:06:00")]
    [InlineData("Auth:KeyLifetime", "0")]
    [InlineData("Auth:FetchTimeout", "01:00:00")]
    [InlineData("Auth:Roles:admin", "everything")]
    [InlineData("Auth:Roles:admin", "")]
    public void A_wrong_setting_is_named_with_its_value(string name, string value)
    {
        var wrong = Assert.Throws<InvalidOperationException>(() => From(("Audience", "api"), (name["Auth:".Length..], value)));
        Assert.StartsWith($"{name} is '{value}'. It must ", wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_issuer_needs_an_audience_or_a_party()
    {
        var wrong = Assert.Throws<InvalidOperationException>(() => From(("Issuer", "https://clerk.example.com")));
        Assert.Contains("Set Auth:Audience", wrong.Message, StringComparison.Ordinal);
        Assert.Empty(From(("Issuer", "https://clerk.example.com"), ("AuthorizedParties", "https://app.example")).Audiences);
    }

    [Fact]
    public void A_wrong_webhook_secret_is_not_repeated()
    {
        var settings = new ConfigurationBuilder().AddInMemoryCollection([new("Clerk:WebhookSecrets", "whsec_c2hvcnQ=")]).Build();
        var wrong = Assert.Throws<InvalidOperationException>(() => ClerkOptions.From(settings));
        Assert.StartsWith("Clerk:WebhookSecrets is wrong.", wrong.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("c2hvcnQ", wrong.ToString(), StringComparison.Ordinal);
    }

    private static AuthOptions From(params (string Name, string Value)[] settings) => AuthOptions.From(new ConfigurationBuilder()
        .AddInMemoryCollection(settings.Select(s => KeyValuePair.Create("Auth:" + s.Name, (string?)s.Value))).Build());
}
