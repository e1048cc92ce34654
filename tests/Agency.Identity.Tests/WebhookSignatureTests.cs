using System.Text;
using Agency.Platform;

namespace Agency.Identity.Tests;

public sealed class WebhookSignatureTests
{
    private const string Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    private const string Id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    private static readonly byte[] Body = Encoding.UTF8.GetBytes("""{"test": 2432232314}""");
    private static readonly DateTimeOffset At = DateTimeOffset.FromUnixTimeSeconds(1614265330);

    // The example that Svix publishes for implementers.
    [Fact]
    public void The_published_example_is_signed_alike() =>
        Assert.Equal("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", new WebhookSignature(Secret).Sign(Id, At, Body));

    [Fact]
    public void What_is_signed_is_accepted()
    {
        var signature = new WebhookSignature(WebhookSignature.NewSecret());
        Assert.Null(signature.Refusal(Id, WebhookSignature.Timestamp(At), signature.Sign(Id, At, Body), Body, At));
    }

    [Theory]
    [InlineData(-299, true)]
    [InlineData(299, true)]
    [InlineData(-301, false)]
    [InlineData(301, false)]
    public void Five_minutes_of_difference_are_tolerated_both_ways(int seconds, bool accepted)
    {
        var signature = new WebhookSignature(Secret);
        Assert.Equal(accepted, signature.Refusal(Id, WebhookSignature.Timestamp(At), signature.Sign(Id, At, Body), Body, At.AddSeconds(seconds)) is null);
    }

    [Theory]
    [InlineData("id")]
    [InlineData("timestamp")]
    [InlineData("body")]
    [InlineData("secret")]
    [InlineData("signature")]
    [InlineData("version")]
    [InlineData("no version")]
    [InlineData("shortened")]
    [InlineData("no signature")]
    [InlineData("no id")]
    [InlineData("no timestamp")]
    [InlineData("signed timestamp")]
    [InlineData("huge timestamp")]
    [InlineData("fraction")]
    public void Whatever_differs_is_refused(string what)
    {
        var signature = new WebhookSignature(Secret);
        var (id, timestamp, header, body) = ((string?)Id, (string?)WebhookSignature.Timestamp(At), (string?)signature.Sign(Id, At, Body), Body.ToArray());
        Assert.Null(signature.Refusal(id, timestamp, header, body, At));
        switch (what)
        {
            case "id": id += "x"; break;
            case "timestamp": timestamp = WebhookSignature.Timestamp(At.AddSeconds(1)); break;
            case "body": body[3] ^= 1; break;
            case "secret": header = new WebhookSignature(WebhookSignature.NewSecret()).Sign(Id, At, Body); break;
            case "signature": header = header!.Replace('g', 'h'); break;
            case "version": header = header!.Replace("v1,", "v1a,", StringComparison.Ordinal); break;
            case "no version": header = header![3..]; break;
            case "shortened": header = "v1," + Convert.ToBase64String(Convert.FromBase64String(header![3..])[..16]); break;
            case "no signature": header = null; break;
            case "no id": id = null; break;
            case "no timestamp": timestamp = null; break;
            case "signed timestamp": timestamp = "+" + timestamp; break;
            case "huge timestamp": timestamp = long.MaxValue.ToString(System.Globalization.CultureInfo.InvariantCulture); break;
            default: timestamp += ".0"; break;
        }

        Assert.NotNull(signature.Refusal(id, timestamp, header, body, At));
    }

    [Fact]
    public void A_signed_text_cannot_be_cut_in_another_way()
    {
        var signature = new WebhookSignature(Secret);
        Assert.Throws<ArgumentException>(() => signature.Sign("a.1614265330", At, Body));
        // The text that is signed for the id a.1614265330 is that of the id a with a longer body.
        var header = signature.Sign("a", At, Encoding.UTF8.GetBytes($"1614265330.{Encoding.UTF8.GetString(Body)}"));
        Assert.NotNull(signature.Refusal("a.1614265330", WebhookSignature.Timestamp(At), header, Body, At));
    }

    [Fact]
    public void Secrets_can_be_changed_without_a_gap()
    {
        var (before, after) = (WebhookSignature.NewSecret(), WebhookSignature.NewSecret());
        var both = new WebhookSignature(after, before);
        Assert.Null(both.Refusal(Id, WebhookSignature.Timestamp(At), new WebhookSignature(before).Sign(Id, At, Body), Body, At));
        Assert.Null(both.Refusal(Id, WebhookSignature.Timestamp(At), new WebhookSignature(after).Sign(Id, At, Body), Body, At));
        foreach (var one in new[] { before, after })
            Assert.Null(new WebhookSignature(one).Refusal(Id, WebhookSignature.Timestamp(At), "v1a,AAAA  v2,x " + both.Sign(Id, At, Body), Body, At));
    }

    [Theory]
    [InlineData("whsec_")]
    [InlineData("whsec_not base64!")]
    [InlineData("whsec_c2hvcnQ=")]
    public void A_secret_must_be_one(string secret) => Assert.Throws<FormatException>(() => new WebhookSignature(secret));

    [Fact]
    public void A_signature_needs_a_secret() => Assert.Throws<FormatException>(() => new WebhookSignature());
}
