using System.Net;
using System.Text.Json;
using Agency.Testing;

namespace Agency.Users.Tests;

public sealed class ChangeUserTests(UsersHost users) : IClassFixture<UsersHost>
{
    private const string Changed = """{"email":"new@example.com","name":"New"}""";

    [Fact]
    public async Task A_change_replaces_everything()
    {
        using var client = users.NewOrganisation();
        var created = await (await client.CreateAsync("""{"email":"a@example.com","name":"A","country":"GB","tags":["x"],"externalId":"7"}""")).JsonAsync();
        var id = created.GetProperty("id").GetString()!;
        var changed = await client.PutAsync(id, "\"1\"", Changed);
        Assert.Equal((HttpStatusCode.OK, "\"2\""), (changed.StatusCode, changed.Headers.ETag!.Tag));
        var user = await client.GetJsonAsync($"/users/{id}");
        Assert.Equal((await changed.JsonAsync()).ToString(), user.ToString());
        Assert.Equal("New", user.GetProperty("name").GetString());
        Assert.Equal(JsonValueKind.Null, user.GetProperty("country").ValueKind);
        Assert.Equal(JsonValueKind.Null, user.GetProperty("externalId").ValueKind);
        Assert.Empty(user.GetProperty("tags").EnumerateArray());
        Assert.Equal(created.GetProperty("createdAt").GetString(), user.GetProperty("createdAt").GetString());
        Assert.True(user.GetProperty("updatedAt").GetDateTimeOffset() > user.GetProperty("createdAt").GetDateTimeOffset());
    }

    [Fact]
    public async Task A_change_of_nothing_is_a_new_version_and_an_event()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        for (var version = 1; version <= 3; version++)
            Assert.Equal($"\"{version + 1}\"", (await client.PutAsync(id, $"\"{version}\"", """{"email":"a@example.com","name":"A"}""")).Headers.ETag!.Tag);
        Assert.Equal(
            ["agency.users.user-created.v1 1", "agency.users.user-updated.v1 2", "agency.users.user-updated.v1 3", "agency.users.user-updated.v1 4"],
            await users.Host.Database.QueryAsync<string>($"select type || ' ' || version from platform.events where subject = '{id}' order by version"));
    }

    [Theory]
    [InlineData("PUT")]
    [InlineData("DELETE")]
    public async Task A_change_must_say_what_it_changes(string method)
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        Assert.Equal("precondition-required", await (await client.SendJsonAsync(new(method), $"/users/{id}", Changed)).ProblemAsync((HttpStatusCode)428));
        foreach (var stale in new[] { "\"2\"", "\"0\"", "\"abc\"" })
            Assert.Equal("precondition-failed",
                await (await client.SendJsonAsync(new(method), $"/users/{id}", Changed, ("If-Match", stale))).ProblemAsync(HttpStatusCode.PreconditionFailed));
        Assert.Equal("A", (await client.GetJsonAsync($"/users/{id}")).GetProperty("name").GetString());
    }

    [Theory]
    [InlineData("PUT")]
    [InlineData("DELETE")]
    public async Task Who_is_not_there_cannot_be_changed(string method)
    {
        using var client = users.NewOrganisation();
        var answer = await client.SendJsonAsync(new(method), $"/users/{Guid.CreateVersion7()}", Changed, ("If-Match", "\"1\""));
        Assert.Equal("not-found", await answer.ProblemAsync(HttpStatusCode.NotFound));
    }

    [Fact]
    public async Task A_change_obeys_the_rules_of_a_new_user()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        var refused = await client.PutAsync(id, "\"1\"", """{"email":"x","name":"","country":"UK","tags":["a","a"],"externalId":""}""");
        Assert.Equal(["country", "email", "externalId", "name", "tags"], await refused.WrongFieldsAsync());
    }

    [Fact]
    public async Task A_change_cannot_take_what_another_user_has()
    {
        using var client = users.NewOrganisation();
        await client.CreateAsync("""{"email":"a@example.com","name":"A","externalId":"7"}""");
        var id = await client.CreatedAsync("b@example.com", "B");
        Assert.Equal("email-taken", await (await client.PutAsync(id, "\"1\"", """{"email":"A@example.com","name":"B"}""")).ProblemAsync(HttpStatusCode.Conflict));
        Assert.Equal("external-id-taken",
            await (await client.PutAsync(id, "\"1\"", """{"email":"b@example.com","name":"B","externalId":"7"}""")).ProblemAsync(HttpStatusCode.Conflict));
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync(id, "\"1\"", """{"email":"B@Example.com","name":"B"}""")).StatusCode);
    }

    [Fact]
    public async Task Of_parallel_changes_with_one_entity_tag_one_wins()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => client.PutAsync(id, "\"1\"", $$"""{"email":"a@example.com","name":"A{{i}}"}""")));
        var won = Assert.Single(answers, a => a.StatusCode == HttpStatusCode.OK);
        Assert.All(answers.Where(a => a != won), a => Assert.Equal(HttpStatusCode.PreconditionFailed, a.StatusCode));
        var user = await client.GetJsonAsync($"/users/{id}");
        Assert.Equal(2, user.GetProperty("version").GetInt64());
        Assert.Equal((await won.JsonAsync()).ToString(), user.ToString());
    }

    [Fact]
    public async Task A_user_cannot_refer_themselves_but_two_can_refer_each_other()
    {
        using var client = users.NewOrganisation();
        var a = await client.CreatedAsync("a@example.com", "A");
        var b = await client.CreatedAsync("b@example.com", "B", referredBy: a);
        Assert.Equal(["referredBy"], await (await client.PutAsync(a, "\"1\"", $$"""{"email":"a@example.com","name":"A","referredBy":"{{a}}"}""")).WrongFieldsAsync());
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync(a, "\"1\"", $$"""{"email":"a@example.com","name":"A","referredBy":"{{b}}"}""")).StatusCode);
    }

    [Fact]
    public async Task Who_was_referred_by_a_deleted_user_can_still_be_changed()
    {
        using var client = users.NewOrganisation();
        var a = await client.CreatedAsync("a@example.com", "A");
        var b = await client.CreatedAsync("b@example.com", "B", referredBy: a);
        var c = await client.CreatedAsync("c@example.com", "C");
        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync(a, "\"1\"")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync(b, "\"1\"", $$"""{"email":"b@example.com","name":"B2","referredBy":"{{a}}"}""")).StatusCode);
        Assert.Equal(["referredBy"], await (await client.PutAsync(c, "\"1\"", $$"""{"email":"c@example.com","name":"C","referredBy":"{{a}}"}""")).WrongFieldsAsync());
    }

    [Fact]
    public async Task A_deleted_user_is_gone_and_the_email_free()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        await client.GetJsonAsync($"/users/{id}");
        var deleted = await client.DeleteAsync(id, "\"1\"");
        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        Assert.Empty(await deleted.Content.ReadAsByteArrayAsync());
        Assert.Equal("not-found", await (await client.GetAsync(new Uri($"/users/{id}", UriKind.Relative))).ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal(HttpStatusCode.NotFound, (await client.DeleteAsync(id, "\"1\"")).StatusCode);
        Assert.Equal(["agency.users.user-deleted.v1 2"],
            await users.Host.Database.QueryAsync<string>($"select type || ' ' || version from platform.events where subject = '{id}' and version > 1"));
        Assert.NotEqual(id, await client.CreatedAsync("A@example.com", "A again"));
    }

    [Fact]
    public async Task Any_version_may_be_changed_by_who_says_so()
    {
        using var client = users.NewOrganisation();
        var id = await client.CreatedAsync("a@example.com", "A");
        Assert.Equal(HttpStatusCode.OK, (await client.PutAsync(id, "*", Changed)).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync(id, "*")).StatusCode);
    }
}
