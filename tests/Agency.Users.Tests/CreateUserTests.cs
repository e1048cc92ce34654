using System.Net;
using Agency.Testing;

namespace Agency.Users.Tests;

public sealed class CreateUserTests : IAsyncLifetime
{
    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await TestHost.StartAsync([typeof(CreateUser).Assembly, typeof(GetUser).Assembly]);

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task A_created_user_can_be_read()
    {
        using var client = _host.Client();
        var created = await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"a@example.com","name":"A"}""");
        Assert.Equal(HttpStatusCode.Created, created.StatusCode);
        var read = await client.GetAsync(created.Headers.Location);
        Assert.Equal("\"1\"", read.Headers.ETag!.Tag);
        Assert.Equal("a@example.com", (await read.JsonAsync()).GetProperty("email").GetString());
    }
}
