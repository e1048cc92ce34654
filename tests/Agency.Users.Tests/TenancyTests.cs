using System.Net;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Users.Tests;

public sealed class TenancyTests(UsersHost users) : IClassFixture<UsersHost>
{
    [Theory]
    [InlineData("GET", "/users/{0}")]
    [InlineData("GET", "/users/{0}/related")]
    [InlineData("PUT", "/users/{0}")]
    [InlineData("DELETE", "/users/{0}")]
    public async Task A_user_of_another_organisation_is_not_found_by_any_route(string method, string route)
    {
        using var owner = users.NewOrganisation();
        using var stranger = users.NewOrganisation();
        var id = await ProjectedUserAsync(owner, "a@example.com", "Ada");
        // Also when the owner has just read it into the cache.
        await owner.GetJsonAsync($"/users/{id}");
        var path = string.Format(System.Globalization.CultureInfo.InvariantCulture, route, id);
        var answer = method == "GET"
            ? await stranger.GetAsync(new Uri(path, UriKind.Relative))
            : await stranger.SendJsonAsync(new(method), path, """{"email":"stolen@example.com","name":"Stolen"}""", ("If-Match", "*"));
        Assert.Equal("not-found", await answer.ProblemAsync(HttpStatusCode.NotFound));
        Assert.Equal("Ada", (await owner.GetJsonAsync($"/users/{id}")).GetProperty("name").GetString());
    }

    [Fact]
    public async Task Lists_and_searches_show_the_callers_organisation_only()
    {
        using var owner = users.NewOrganisation();
        using var stranger = users.NewOrganisation();
        await ProjectedUserAsync(owner, "a@example.com", "Ada");
        var own = await ProjectedUserAsync(stranger, "b@example.com", "Ada");
        foreach (var path in new[] { "/users", "/users/search?q=ada" })
            Assert.Equal([own], (await stranger.GetJsonAsync(path)).EnumerateArray().Select(u => u.GetProperty("id").GetString()));
        // Both are at example.com.
        Assert.Empty((await stranger.GetJsonAsync($"/users/{own}/related")).EnumerateArray());
    }

    [Theory]
    [InlineData("users.users")]
    [InlineData("users.user_tags")]
    [InlineData("embedded.graph_nodes")]
    [InlineData("embedded.graph_edges")]
    [InlineData("embedded.search_documents")]
    public async Task A_query_that_forgets_the_tenant_sees_and_changes_nothing(string table)
    {
        using var owner = users.NewOrganisation();
        await owner.CreateAsync("""{"email":"a@example.com","name":"Ada","tags":["x"]}""");
        await ProjectedUserAsync(owner, "b@example.com", "Bob");
        var before = await users.Host.Database.ScalarAsync<long>($"select count(*) from {table}");
        Assert.NotEqual(0, before);

        var app = users.Host.Services.GetRequiredService<Database>().App;
        await using var connection = await app.OpenConnectionAsync();
        Assert.Equal(0L, await ScalarAsync(connection, $"select count(*) from {table}"));
        Assert.Equal(0L, await ScalarAsync(connection, $"with gone as (delete from {table} returning 1) select count(*) from gone"));
        Assert.Equal(0L, await ScalarAsync(connection, $"with moved as (update {table} set tenant_id = 'thief' returning 1) select count(*) from moved"));

        // As another organisation, whatever the query says of the tenant.
        await using var transaction = await connection.BeginTransactionAsync();
        await ScalarAsync(connection, "select set_config('agency.tenant', 'thief', true)");
        Assert.Equal(0L, await ScalarAsync(connection, $"select count(*) from {table} where tenant_id <> 'thief'"));
        Assert.Equal(0L, await ScalarAsync(connection, $"with moved as (update {table} set tenant_id = 'thief' returning 1) select count(*) from moved"));
        await transaction.RollbackAsync();
        Assert.True(await users.Host.Database.ScalarAsync<long>($"select count(*) from {table}") >= before);
    }

    [Fact]
    public async Task A_row_cannot_be_given_to_another_organisation()
    {
        var app = users.Host.Services.GetRequiredService<Database>().App;
        await using var connection = await app.OpenConnectionAsync();
        const string Insert = "insert into users.users (id, tenant_id, email, name) values (gen_random_uuid(), 'victim', 'a@example.com', 'A') returning 1";
        Assert.Equal("42501", (await Assert.ThrowsAsync<PostgresException>(() => ScalarAsync(connection, Insert))).SqlState);
    }

    [Fact]
    public async Task The_search_that_sees_every_row_shows_none_without_a_tenant()
    {
        using var owner = users.NewOrganisation();
        await ProjectedUserAsync(owner, "a@example.com", "Ada");
        var app = users.Host.Services.GetRequiredService<Database>().App;
        await using var connection = await app.OpenConnectionAsync();
        Assert.Equal(0L, await ScalarAsync(connection, "select count(*) from embedded.search_find('users', array['ada'], 10)"));
    }

    private static async Task<object?> ScalarAsync(NpgsqlConnection connection, string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return await command.ExecuteScalarAsync();
    }

    /// <summary>A new user whom both read models know.</summary>
    private static async Task<string> ProjectedUserAsync(HttpClient client, string email, string name)
    {
        var id = await client.CreatedAsync(email, name);
        await HttpTesting.EventuallyAsync(
            () => client.GetJsonAsync($"/users/search?q={email}"), found => found.EnumerateArray().Any(u => u.GetProperty("id").GetString() == id));
        await HttpTesting.EventuallyAsync(
            async () => (await client.GetAsync(new Uri($"/users/{id}/related", UriKind.Relative))).StatusCode, status => status == HttpStatusCode.OK);
        return id;
    }
}
