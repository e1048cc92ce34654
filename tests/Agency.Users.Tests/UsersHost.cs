using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Agency.Testing;

namespace Agency.Users.Tests;

/// <summary>Every app of the domain in one process, shared by the tests of a class; each test is an organisation of its own.</summary>
public sealed class UsersHost : IAsyncLifetime
{
    private int _organisations;

    public TestHost Host { get; private set; } = null!;

    public async Task InitializeAsync() => Host = await TestHost.StartAsync(
    [
        typeof(CreateUser).Assembly, typeof(GetUser).Assembly, typeof(ListUsers).Assembly, typeof(UpdateUser).Assembly, typeof(DeleteUser).Assembly,
        typeof(ProjectUserGraph).Assembly, typeof(ListRelatedUsers).Assembly, typeof(ProjectUserSearch).Assembly, typeof(SearchUsers).Assembly,
    ]);

    public async Task DisposeAsync() => await Host.DisposeAsync();

    public HttpClient NewOrganisation() => Host.Client(organisation: NewOrganisationName());

    public string NewOrganisationName() => $"org-{Interlocked.Increment(ref _organisations)}";
}

internal static class UsersHttp
{
    public static Task<HttpResponseMessage> CreateAsync(this HttpClient client, string json) => client.SendJsonAsync(HttpMethod.Post, "/users", json);

    public static Task<HttpResponseMessage> CreateAsync(this HttpClient client, string email, string name) =>
        client.CreateAsync($$"""{"email":{{Quote(email)}},"name":{{Quote(name)}}}""");

    /// <returns>The new user's id.</returns>
    public static async Task<string> CreatedAsync(this HttpClient client, string email, string name, string? referredBy = null)
    {
        var referrer = referredBy is null ? "" : $",\"referredBy\":\"{referredBy}\"";
        var response = await client.CreateAsync($$"""{"email":{{Quote(email)}},"name":{{Quote(name)}}{{referrer}}}""");
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return (await response.JsonAsync()).GetProperty("id").GetString()!;
    }

    public static Task<HttpResponseMessage> PutAsync(this HttpClient client, string id, string ifMatch, string json) =>
        client.SendJsonAsync(HttpMethod.Put, $"/users/{id}", json, ("If-Match", ifMatch));

    public static Task<HttpResponseMessage> DeleteAsync(this HttpClient client, string id, string ifMatch)
    {
        var request = new HttpRequestMessage(HttpMethod.Delete, $"/users/{id}");
        request.Headers.IfMatch.Add(ifMatch == "*" ? EntityTagHeaderValue.Any : new(ifMatch));
        return client.SendAsync(request);
    }

    public static async Task<JsonElement> GetJsonAsync(this HttpClient client, string path)
    {
        var response = await client.GetAsync(new Uri(path, UriKind.Relative));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return await response.JsonAsync();
    }

    /// <summary>The problem's slug, and that it is a problem of this status.</summary>
    public static async Task<string> ProblemAsync(this HttpResponseMessage response, HttpStatusCode status)
    {
        Assert.Equal(status, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        return (await response.JsonAsync()).GetProperty("type").GetString()!["urn:agency:problem:".Length..];
    }

    /// <summary>The fields that a 400 names.</summary>
    public static async Task<string[]> WrongFieldsAsync(this HttpResponseMessage response)
    {
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        return [.. (await response.JsonAsync()).GetProperty("errors").EnumerateObject().Select(e => e.Name).Order(StringComparer.Ordinal)];
    }

    private static string Quote(string text) => JsonSerializer.Serialize(text);
}
