using System.Net;
using Agency.Testing;

namespace Agency.Users.Tests;

public sealed class CreateUserTests(UsersHost users) : IClassFixture<UsersHost>
{
    [Fact]
    public async Task A_created_user_can_be_read()
    {
        using var client = users.NewOrganisation();
        var referrer = await client.CreatedAsync("first@example.com", "First");
        var created = await client.CreateAsync($$"""
            {"email":" a@example.com ","name":" A ","country":"gb","tags":["x","y"],"externalId":"17850","referredBy":"{{referrer}}"}
            """);
        Assert.Equal(HttpStatusCode.Created, created.StatusCode);
        var read = await client.GetAsync(created.Headers.Location);
        Assert.Equal("\"1\"", read.Headers.ETag!.Tag);
        var user = await read.JsonAsync();
        Assert.Equal("a@example.com", user.GetProperty("email").GetString());
        Assert.Equal("A", user.GetProperty("name").GetString());
        Assert.Equal("GB", user.GetProperty("country").GetString());
        Assert.Equal(["x", "y"], user.GetProperty("tags").EnumerateArray().Select(t => t.GetString()!));
        Assert.Equal("17850", user.GetProperty("externalId").GetString());
        Assert.Equal(referrer, user.GetProperty("referredBy").GetString());
        Assert.Equal((await created.JsonAsync()).ToString(), user.ToString());
    }

    [Theory]
    [InlineData("""{"email":"x","name":"","country":"UK","tags":["a","a"],"externalId":""}""", new[] { "country", "email", "externalId", "name", "tags" })]
    [InlineData("""{"email":"a\u0000b@example.com","name":"A"}""", new[] { "email" })]
    [InlineData("""{"email":"a@example.com","name":"A","tags":[null]}""", new[] { "tags" })]
    [InlineData("""{"email":"a@example.com","name":"A","referredBy":"0197f1de-0000-7000-8000-000000000000"}""", new[] { "referredBy" })]
    [InlineData("""{"email":"a@example.com","name":"A","referredBy":"somebody"}""", new[] { "referredBy" })]
    public async Task Bad_fields_are_named_as_in_the_json(string json, string[] fields)
    {
        using var client = users.NewOrganisation();
        Assert.Equal(fields, await (await client.CreateAsync(json)).WrongFieldsAsync());
        Assert.Empty((await client.GetJsonAsync("/users")).EnumerateArray());
    }

    [Theory]
    [InlineData("""{"name":"A"}""")]
    [InlineData("""{"email":null,"name":"A"}""")]
    [InlineData("""{"email":"a@example.com","name":"A","admin":true}""")]
    [InlineData("""{"email":"a@example.com","name":"\ud800"}""")]
    [InlineData("""["a@example.com"]""")]
    [InlineData("null")]
    [InlineData("{")]
    public async Task What_is_no_command_is_refused(string json)
    {
        using var client = users.NewOrganisation();
        Assert.NotEmpty(await (await client.CreateAsync(json)).WrongFieldsAsync());
    }

    [Fact]
    public async Task Duplicate_email_is_rejected_whatever_its_case()
    {
        using var client = users.NewOrganisation();
        await client.CreatedAsync("José@Example.com", "A");
        foreach (var same in new[] { "José@Example.com", "josé@example.COM", "JOSÉ@EXAMPLE.COM", "jose\u0301@example.com" })
            Assert.Equal("email-taken", await (await client.CreateAsync(same, "B")).ProblemAsync(HttpStatusCode.Conflict));
        Assert.Single((await client.GetJsonAsync("/users")).EnumerateArray());
    }

    [Fact]
    public async Task Duplicate_external_id_is_rejected_and_told_from_the_email()
    {
        using var client = users.NewOrganisation();
        await client.CreateAsync("""{"email":"a@example.com","name":"A","externalId":"7"}""");
        var taken = await client.CreateAsync("""{"email":"b@example.com","name":"B","externalId":"7"}""");
        Assert.Equal("external-id-taken", await taken.ProblemAsync(HttpStatusCode.Conflict));
    }

    [Fact]
    public async Task Two_organisations_may_know_the_same_person()
    {
        using var one = users.NewOrganisation();
        using var two = users.NewOrganisation();
        Assert.NotEqual(await one.CreatedAsync("a@example.com", "A"), await two.CreatedAsync("a@example.com", "A"));
    }

    [Fact]
    public async Task A_referrer_of_another_organisation_is_nobody()
    {
        using var one = users.NewOrganisation();
        using var two = users.NewOrganisation();
        var stranger = await two.CreatedAsync("a@example.com", "A");
        var refused = await one.CreateAsync($$"""{"email":"b@example.com","name":"B","referredBy":"{{stranger}}"}""");
        Assert.Equal(["referredBy"], await refused.WrongFieldsAsync());
    }

    [Fact]
    public async Task Of_fifty_at_once_with_one_email_one_is_created()
    {
        using var client = users.NewOrganisation();
        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(i => client.CreateAsync(i % 2 == 0 ? "same@example.com" : "SAME@example.com", $"User {i}")));
        Assert.Single(answers, a => a.StatusCode == HttpStatusCode.Created);
        Assert.All(answers.Where(a => a.StatusCode != HttpStatusCode.Created), a => Assert.Equal(HttpStatusCode.Conflict, a.StatusCode));
        Assert.Single((await client.GetJsonAsync("/users")).EnumerateArray());
    }

    [Fact]
    public async Task A_repeated_key_creates_once()
    {
        using var client = users.NewOrganisation();
        const string Json = """{"email":"a@example.com","name":"A"}""";
        var first = await client.SendJsonAsync(HttpMethod.Post, "/users", Json, ("Idempotency-Key", "k1"));
        var again = await client.SendJsonAsync(HttpMethod.Post, "/users", Json, ("Idempotency-Key", "k1"));
        Assert.Equal((HttpStatusCode.Created, HttpStatusCode.Created), (first.StatusCode, again.StatusCode));
        Assert.Equal(first.Headers.Location, again.Headers.Location);
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
    }

    [Fact]
    public async Task Nothing_is_created_without_the_scope()
    {
        using var reader = users.Host.Client("users:read", users.NewOrganisationName());
        Assert.Equal(HttpStatusCode.Forbidden, (await reader.CreateAsync("a@example.com", "A")).StatusCode);
    }
}
