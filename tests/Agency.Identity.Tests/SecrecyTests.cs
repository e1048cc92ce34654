using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Agency.Users;
using Microsoft.Extensions.Logging;

namespace Agency.Identity.Tests;

public sealed class SecrecyTests
{
    [Fact]
    public async Task Tokens_keys_secrets_and_emails_are_never_logged()
    {
        using var log = new LogLines();
        await using var server = await OidcServer.StartAsync();
        var webhookSecret = WebhookSignature.NewSecret();
        await using var host = await TestHost.StartAsync(
            [typeof(CreateApiKey).Assembly, typeof(ListDeadLetters).Assembly, typeof(ReceiveClerkWebhook).Assembly, typeof(CreateUser).Assembly],
            configure: builder =>
            {
                builder.Logging.AddProvider(log);
                builder.Logging.AddFilter((_, _) => true);
            },
            settings: [("Auth:Issuer", server.Address), ("Auth:Audience", "api"), ("Clerk:WebhookSecrets", webhookSecret), ("Clerk:Organisation", "acme")]);

        var good = server.Token(null, ("scope", "apikeys:write platform:read users:write"));
        var bad = server.Token(t => t.Audience = "elsewhere");
        Assert.Equal(HttpStatusCode.OK, await GetAsync(host, good));
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync(host, bad));
        server.Rotate();
        await server.StopAsync();
        var unknown = server.Token();
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync(host, unknown));

        using var client = Bearer(host, good);
        var key = (await (await client.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"ci","scopes":["platform:read"]}""")).JsonAsync()).GetProperty("key").GetString()!;
        Assert.Equal(HttpStatusCode.OK, await GetAsync(host, key));
        Assert.Equal(HttpStatusCode.Unauthorized, await GetAsync(host, key[..^1] + "x"));
        await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"ada@example.com","name":"Ada","externalId":"user_9"}""");
        const string Message = """
            {"type":"user.created","data":{"id":"user_1","updated_at":1,"primary_email_address_id":"i","email_addresses":[{"id":"i","email_address":"ada@example.com"}]}}
            """;
        var signature = new WebhookSignature(webhookSecret).Sign("msg_1", DateTimeOffset.UtcNow, Encoding.UTF8.GetBytes(Message));
        var taken = await client.SendJsonAsync(HttpMethod.Post, "/webhooks/clerk", Message,
            ("svix-id", "msg_1"), ("svix-timestamp", WebhookSignature.Timestamp(DateTimeOffset.UtcNow)), ("svix-signature", signature));
        Assert.Equal(HttpStatusCode.Conflict, taken.StatusCode);

        Assert.Contains(log.Lines, line => line.Contains("could not be fetched", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.Contains("A token was refused", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.Contains("ReceiveClerkWebhook refused with 409", StringComparison.Ordinal));
        foreach (var secret in new[] { good, bad, unknown }.SelectMany(token => token.Split('.')[1..]).Concat([key[20..60], webhookSecret["whsec_".Length..], signature, "ada@example"]))
            Assert.DoesNotContain(log.Lines, line => line.Contains(secret, StringComparison.OrdinalIgnoreCase));
    }

    private static async Task<HttpStatusCode> GetAsync(TestHost host, string credential)
    {
        using var client = Bearer(host, credential);
        return (await client.GetAsync(new Uri("/dead-letters", UriKind.Relative))).StatusCode;
    }

    private static HttpClient Bearer(TestHost host, string credential)
    {
        var client = host.Client(null);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", credential);
        return client;
    }
}
