using Agency.Platform;

namespace Agency.Users.Tests;

public sealed class UserDetailsTests
{
    private static readonly UserDetails Valid = new("ada@example.com", "Ada");

    [Theory]
    [InlineData("ada@example.com")]
    [InlineData("  ada@example.com\n")]
    [InlineData("a.b+c_d'e@mail.example.co.uk")]
    [InlineData("josé@exämple.de")]
    [InlineData("用户@例子.广告")]
    public void An_address_is_taken_and_trimmed(string email) => Assert.Equal(email.Trim(), (Valid with { Email = email }).Checked().Email);

    [Theory]
    [InlineData("")]
    [InlineData("   ")]
    [InlineData("ada")]
    [InlineData("@example.com")]
    [InlineData("ada@")]
    [InlineData("ada@localhost")]
    [InlineData("ada@example..com")]
    [InlineData("ada@.example.com")]
    [InlineData("ada@-example.com")]
    [InlineData("ada@127.0.0.1")]
    [InlineData("ada@@example.com")]
    [InlineData("ada@x@example.com")]
    [InlineData(".ada@example.com")]
    [InlineData("a..da@example.com")]
    [InlineData("a da@example.com")]
    [InlineData("Ada <ada@example.com>")]
    [InlineData("ada@example.com, bob@example.com")]
    [InlineData("\"ada\"@example.com")]
    [InlineData("a\0da@example.com")]
    [InlineData("a\tda@example.com")]
    [InlineData("ada@exam\u007Fple.com")]
    public void What_is_not_one_plain_address_is_refused(string email) => Assert.Equal(["email"], WrongFields(Valid with { Email = email }));

    [Fact]
    public void An_address_has_at_most_254_characters()
    {
        var domain = string.Join('.', Enumerable.Repeat(new string('d', 63), 3)) + ".com";
        var longest = new string('a', 254 - 1 - domain.Length) + "@" + domain;
        Assert.Equal(254, (Valid with { Email = longest }).Checked().Email.Length);
        Assert.Equal(["email"], WrongFields(Valid with { Email = "a" + longest }));
    }

    [Theory]
    [InlineData(" x ", true)]
    [InlineData("", false)]
    [InlineData(" \t ", false)]
    [InlineData("a\0b", false)]
    [InlineData("a\nb", false)]
    public void A_name_has_a_character_and_none_that_controls(string name, bool valid) =>
        Assert.Equal(valid ? [] : ["name"], WrongFields(Valid with { Name = name }));

    [Fact]
    public void A_name_has_at_most_200_characters_without_the_spaces_around()
    {
        Assert.Equal(200, (Valid with { Name = " " + new string('n', 200) + " " }).Checked().Name.Length);
        Assert.Equal(["name"], WrongFields(Valid with { Name = new string('n', 201) }));
    }

    [Theory]
    [InlineData("gb", "GB")]
    [InlineData(" De ", "DE")]
    [InlineData(null, null)]
    public void A_country_is_kept_in_upper_case(string? given, string? kept) => Assert.Equal(kept, (Valid with { Country = given }).Checked().Country);

    [Theory]
    [InlineData("")]
    [InlineData("UK")]
    [InlineData("XX")]
    [InlineData("GBR")]
    [InlineData("United Kingdom")]
    public void What_is_no_iso_code_is_no_country(string country) => Assert.Equal(["country"], WrongFields(Valid with { Country = country }));

    [Fact]
    public void The_list_of_countries_is_whole() =>
        Assert.Equal(249, Enumerable.Range(0, 26 * 26).Count(i => Countries.IsCode($"{(char)('A' + (i / 26))}{(char)('A' + (i % 26))}")));

    [Fact]
    public void Tags_are_trimmed() => Assert.Equal(["a", "b"], (Valid with { Tags = [" a", "b "] }).Checked().Tags!);

    public static TheoryData<string?[]> WrongTags => new()
    {
        { [""] }, { ["  "] }, { [null] }, { [new string('t', 51)] }, { ["a\0"] }, { ["a", "a"] }, { ["a", " a "] },
        { [.. Enumerable.Range(0, 21).Select(i => $"t{i}")] },
    };

    [Theory]
    [MemberData(nameof(WrongTags))]
    public void Tags_are_at_most_20_short_and_different(string?[] tags) => Assert.Equal(["tags"], WrongFields(Valid with { Tags = tags! }));

    [Fact]
    public void Twenty_tags_of_fifty_characters_are_taken() =>
        Assert.Equal(20, (Valid with { Tags = [.. Enumerable.Range(0, 20).Select(i => $"{i:00}" + new string('t', 48))] }).Checked().Tags!.Count);

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("a\0")]
    public void An_external_id_says_something(string externalId) => Assert.Equal(["externalId"], WrongFields(Valid with { ExternalId = externalId }));

    [Fact]
    public void An_external_id_has_at_most_200_characters()
    {
        Assert.Equal(200, (Valid with { ExternalId = new string('x', 200) }).Checked().ExternalId!.Length);
        Assert.Equal(["externalId"], WrongFields(Valid with { ExternalId = new string('x', 201) }));
    }

    [Fact]
    public void Every_wrong_field_is_named_at_once() =>
        Assert.Equal(["country", "email", "externalId", "name", "tags"], WrongFields(new("x", "", "?", [""], "")));

    private static string[] WrongFields(UserDetails details)
    {
        try
        {
            details.Checked();
            return [];
        }
        catch (ProblemException refused)
        {
            Assert.Equal(400, refused.Problem.Status);
            return [.. refused.Problem.Errors!.Keys.Order(StringComparer.Ordinal)];
        }
    }
}
