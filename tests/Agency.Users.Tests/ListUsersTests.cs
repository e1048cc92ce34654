using System.Net;
using Agency.Testing;

namespace Agency.Users.Tests;

public sealed class ListUsersTests(UsersHost users) : IClassFixture<UsersHost>
{
    [Fact]
    public async Task Pages_have_neither_gaps_nor_repeats_while_rows_are_inserted_and_deleted()
    {
        using var client = users.NewOrganisation();
        var there = new List<string>();
        for (var i = 0; i < 30; i++)
            there.Add(await client.CreatedAsync($"u{i}@example.com", $"U{i}"));
        // The order of the list, which is not that of their making when two are made within a millisecond.
        there.Sort(StringComparer.Ordinal);
        var seen = new List<string>();
        string? next = "/users?limit=7";
        for (var page = 0; next is not null && page < 20; page++)
        {
            var response = await client.GetAsync(new Uri(next, UriKind.Relative));
            seen.AddRange((await response.JsonAsync()).EnumerateArray().Select(u => u.GetProperty("id").GetString()!));
            next = Next(response);
            await client.CreatedAsync($"late{page}@example.com", "Late");
            // One that has been seen already: an offset would now skip a row.
            Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync(there[page], "*")).StatusCode);
        }

        Assert.Equal(seen.Count, seen.Distinct().Count());
        Assert.Equal(there, seen.Intersect(there));
        Assert.Equal(seen.Order(StringComparer.Ordinal), seen);
    }

    [Fact]
    public async Task A_list_can_be_narrowed_by_country_and_tag_and_its_pages_stay_so()
    {
        using var client = users.NewOrganisation();
        for (var i = 0; i < 12; i++)
            await client.CreateAsync($$"""{"email":"u{{i}}@example.com","name":"U{{i}}","country":"{{(i % 2 == 0 ? "GB" : "FR")}}","tags":["t{{i % 3}}","all"]}""");
        Assert.Equal(["U0", "U2", "U4", "U6", "U8", "U10"], await NamesAsync(client, "/users?country=gb&limit=2"));
        Assert.Equal(["U1", "U4", "U7", "U10"], await NamesAsync(client, "/users?tag=t1&limit=3"));
        Assert.Equal(["U4", "U10"], await NamesAsync(client, "/users?tag=t1&country=GB&limit=1"));
        Assert.Equal([], await NamesAsync(client, "/users?tag=none"));
    }

    [Fact]
    public async Task A_list_by_tag_follows_changes()
    {
        using var client = users.NewOrganisation();
        var id = (await (await client.CreateAsync("""{"email":"a@example.com","name":"A","tags":["x","y"]}""")).JsonAsync()).GetProperty("id").GetString()!;
        await client.PutAsync(id, "*", """{"email":"a@example.com","name":"A","tags":["y","z"]}""");
        Assert.Equal([], await NamesAsync(client, "/users?tag=x"));
        Assert.Equal(["A"], await NamesAsync(client, "/users?tag=y"));
        Assert.Equal(["A"], await NamesAsync(client, "/users?tag=z"));
        await client.DeleteAsync(id, "*");
        Assert.Equal(0, await users.Host.Database.ScalarAsync<long>($"select count(*) from users.user_tags where user_id = '{id}'"));
    }

    [Fact]
    public async Task The_last_page_has_no_link()
    {
        using var client = users.NewOrganisation();
        await client.CreatedAsync("a@example.com", "A");
        await client.CreatedAsync("b@example.com", "B");
        Assert.Null(Next(await client.GetAsync(new Uri("/users?limit=2", UriKind.Relative))));
        Assert.NotNull(Next(await client.GetAsync(new Uri("/users?limit=1", UriKind.Relative))));
    }

    [Theory]
    [InlineData("limit=0", "limit")]
    [InlineData("limit=501", "limit")]
    [InlineData("limit=x", "limit")]
    [InlineData("cursor=!", "cursor")]
    [InlineData("cursor=YWJj", "cursor")]
    [InlineData("country=UK", "country")]
    [InlineData("country=GB&country=FR", "country")]
    [InlineData("offset=3", "offset")]
    public async Task Parameters_that_do_not_fit_are_named(string query, string field)
    {
        using var client = users.NewOrganisation();
        Assert.Equal([field], await (await client.GetAsync(new Uri($"/users?{query}", UriKind.Relative))).WrongFieldsAsync());
    }

    private static string? Next(HttpResponseMessage response)
    {
        if (!response.Headers.TryGetValues("Link", out var links))
            return null;
        var link = links.Single();
        Assert.EndsWith(">; rel=\"next\"", link, StringComparison.Ordinal);
        return link[1..link.IndexOf('>', StringComparison.Ordinal)];
    }

    private static async Task<List<string>> NamesAsync(HttpClient client, string path)
    {
        var names = new List<string>();
        for (string? next = path; next is not null;)
        {
            var response = await client.GetAsync(new Uri(next, UriKind.Relative));
            names.AddRange((await response.JsonAsync()).EnumerateArray().Select(u => u.GetProperty("name").GetString()!));
            next = Next(response);
        }

        return names;
    }
}
