using System.Net;
using System.Net.Http.Headers;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Platform.Tests;

/// <summary>Who may call, and what every error looks like.</summary>
public sealed class ConventionsTests : IAsyncLifetime
{
    private TestHost _host = null!;

    public async Task InitializeAsync() =>
        _host = await TestHost.StartAsync([typeof(ListDeadLetters).Assembly, typeof(CheckLiveness).Assembly, typeof(CheckReadiness).Assembly]);

    public async Task DisposeAsync() => await _host.DisposeAsync();

    public static TheoryData<string> BadTokens => new("none", "garbage", "expired", "not-yet", "other-key", "other-issuer", "other-audience", "no-organisation", "no-subject", "hmac", "unsigned");

    [Theory]
    [MemberData(nameof(BadTokens))]
    public async Task A_token_that_is_not_good_is_refused(string kind)
    {
        using var client = _host.Client(null);
        if (Bad(kind) is { } token)
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        var response = await client.GetAsync(new Uri("/dead-letters", UriKind.Relative));
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        Assert.Equal("Bearer", response.Headers.WwwAuthenticate.ToString());
        await AssertProblemAsync(response, "unauthenticated");
    }

    [Fact]
    public async Task A_token_without_the_scope_is_refused()
    {
        using var client = _host.Client("users:read");
        var response = await client.GetAsync(new Uri("/dead-letters", UriKind.Relative));
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        Assert.Contains("platform:read", (await AssertProblemAsync(response, "forbidden")).GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("GET", "/nowhere", 404, "not-found")]
    [InlineData("PUT", "/dead-letters", 405, "method-not-allowed")]
    [InlineData("GET", "/dead-letters?limit=0", 400, "validation")]
    [InlineData("GET", "/dead-letters?limit=1&limit=2", 400, "validation")]
    [InlineData("GET", "/dead-letters?other=1", 400, "validation")]
    [InlineData("GET", "/dead-letters?cursor=%25%25", 400, "validation")]
    [InlineData("GET", "/dead-letters?cursor=YWJj", 400, "validation")]
    public async Task Every_error_is_a_problem(string method, string path, int status, string type)
    {
        using var client = _host.Client("platform:read");
        var response = await client.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal(status, (int)response.StatusCode);
        await AssertProblemAsync(response, type);
    }

    [Theory]
    [InlineData("Engines:Graph", "neo4j")]
    [InlineData("Engines:Log", "kafka")]
    [InlineData("Engines:Cache", "redis")]
    public async Task An_engine_that_this_build_does_not_have_stops_the_start(string setting, string engine) => Assert.Contains(
        $"{setting} is '{engine}'",
        (await Assert.ThrowsAsync<InvalidOperationException>(() =>
            TestHost.StartAsync([typeof(CheckLiveness).Assembly], settings: (setting, engine)))).Message,
        StringComparison.Ordinal);

    [Fact]
    public async Task Health_tells_the_truth()
    {
        using var client = _host.Client(null);
        Assert.Equal(HttpStatusCode.NoContent, (await client.GetAsync(new Uri("/health/live", UriKind.Relative))).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync(new Uri("/health/ready", UriKind.Relative))).StatusCode);
        await _host.Database.RunAsync("delete from platform.migrations where domain = 'embedded'");
        var unready = await client.GetAsync(new Uri("/health/ready", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, unready.StatusCode);
        Assert.Contains("./agency migrate", await unready.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Readiness_looks_at_the_way_that_requests_take_and_tells_nobody_where_it_leads()
    {
        await using var database = await TestDatabase.CreateAsync([typeof(CheckReadiness).Assembly]);
        var wrong = new Npgsql.NpgsqlConnectionStringBuilder(database.Settings.App) { Username = "nobody_of_this_name" }.ConnectionString;
        await using var host = await TestHost.StartAsync([typeof(CheckReadiness).Assembly], database, settings: ("ConnectionStrings:App", wrong));
        using var client = host.Client(null);
        var unready = await client.GetAsync(new Uri("/health/ready", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, unready.StatusCode);
        var text = await unready.Content.ReadAsStringAsync();
        Assert.Contains("\"database\":\"unreachable\"", text, StringComparison.Ordinal);
        Assert.DoesNotContain("nobody_of_this_name", text, StringComparison.Ordinal);
    }

    [Theory]
    // What is no path or no HTTP the server refuses itself, before there is a request to write a problem for.
    [InlineData("GET /dead-letters/%00 HTTP/1.1", "400 Bad Request", false)]
    [InlineData("GET /dead-letters HTTP/1.9", "505 HTTP Version Not Supported", false)]
    [InlineData("GET  /dead-letters", "400 Bad Request", false)]
    [InlineData("GET /dead-letters/%zz HTTP/1.1", "404 Not Found", true)]
    [InlineData("GET /dead-letters/%c0%80 HTTP/1.1", "404 Not Found", true)]
    [InlineData("GET /dead-letters/%25%30%30 HTTP/1.1", "404 Not Found", true)]
    [InlineData("BREW /dead-letters HTTP/1.1", "405 Method Not Allowed", true)]
    public async Task A_request_that_is_hardly_one_is_refused(string line, string status, bool isProblem)
    {
        using var socket = new System.Net.Sockets.TcpClient();
        await socket.ConnectAsync(_host.Address.Host, _host.Address.Port);
        await using var stream = socket.GetStream();
        await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        using var reader = new StreamReader(stream);
        var answer = await reader.ReadToEndAsync();
        Assert.StartsWith($"HTTP/1.1 {status}", answer, StringComparison.Ordinal);
        Assert.Equal(isProblem, answer.Contains("\r\nContent-Type: application/problem+json\r\n", StringComparison.Ordinal));
        Assert.Equal(isProblem, answer.Contains("\r\nX-Trace-Id: ", StringComparison.Ordinal));
        Assert.DoesNotContain("   at ", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Stored_JSON_that_cannot_be_read_is_the_servers_fault()
    {
        await using var host = await TestHost.StartAsync([typeof(ReadBrokenJson).Assembly]);
        using var client = host.Client(null);
        var answer = await client.GetAsync(new Uri("/broken-json", UriKind.Relative));
        Assert.Equal(HttpStatusCode.InternalServerError, answer.StatusCode);
        await AssertProblemAsync(answer, "internal");
    }

    private static async Task<System.Text.Json.JsonElement> AssertProblemAsync(HttpResponseMessage response, string type)
    {
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType!.MediaType);
        var problem = await response.JsonAsync();
        Assert.Equal("urn:agency:problem:" + type, problem.GetProperty("type").GetString());
        Assert.Equal((int)response.StatusCode, problem.GetProperty("status").GetInt32());
        Assert.Equal(response.Headers.GetValues("X-Trace-Id").Single(), problem.GetProperty("traceId").GetString());
        Assert.DoesNotContain("   at ", problem.GetRawText(), StringComparison.Ordinal);
        return problem;
    }

    private string? Bad(string kind)
    {
        var issuer = (LocalIssuer)_host.Services.GetService(typeof(LocalIssuer))!;
        using var other = System.Security.Cryptography.ECDsa.Create(System.Security.Cryptography.ECCurve.NamedCurves.nistP256);
        var claims = new Dictionary<string, object> { ["sub"] = "s", ["org_id"] = "acme", ["scope"] = "platform:read" };
        var token = new SecurityTokenDescriptor
        {
            Issuer = LocalIssuer.Name,
            Audience = LocalIssuer.Audience,
            NotBefore = DateTime.UtcNow.AddHours(-2),
            Expires = DateTime.UtcNow.AddHours(1),
            Claims = claims,
            SigningCredentials = new(issuer.Key, SecurityAlgorithms.EcdsaSha256),
        };
        switch (kind)
        {
            case "none": return null;
            case "garbage": return "a.b.c";
            case "expired": token.Expires = DateTime.UtcNow.AddMinutes(-5); break;
            case "not-yet": token.NotBefore = DateTime.UtcNow.AddMinutes(30); break;
            case "other-key": token.SigningCredentials = new(new ECDsaSecurityKey(other) { KeyId = issuer.Key.KeyId }, SecurityAlgorithms.EcdsaSha256); break;
            case "other-issuer": token.Issuer = "https://elsewhere.example"; break;
            case "other-audience": token.Audience = "elsewhere"; break;
            case "no-organisation": claims.Remove("org_id"); break;
            case "no-subject": claims.Remove("sub"); break;
            // The confusion of algorithms: the public key used as a shared secret.
            case "hmac": token.SigningCredentials = new(new SymmetricSecurityKey(issuer.Key.ECDsa.ExportSubjectPublicKeyInfo()), SecurityAlgorithms.HmacSha256); break;
            case "unsigned":
                var header = Base64UrlEncoder.Encode("""{"alg":"none","typ":"JWT"}""");
                var good = issuer.Issue("acme", "s", ["platform:read"], TimeSpan.FromHours(1));
                return $"{header}.{good.Split('.')[1]}.";
            default: throw new ArgumentException(kind);
        }

        return new JsonWebTokenHandler().CreateToken(token);
    }
}

/// <summary>A function whose data is not what it was.</summary>
public sealed class ReadBrokenJson
{
    [Function(nameof(ReadBrokenJson)), AllowAnonymous, Operation(Status = 204)]
    public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "broken-json")] HttpRequest http) =>
        System.Text.Json.JsonDocument.Parse("{").RootElement.ValueKind == 0 ? Answer.NoContent() : Answer.Accepted();
}
