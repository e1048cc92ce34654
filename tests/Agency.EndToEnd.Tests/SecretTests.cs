using System.Net;
using Agency.Testing;
using Npgsql;

namespace Agency.EndToEnd.Tests;

/// <summary>What a run prints names nobody and opens nothing, also when much goes wrong.</summary>
public sealed class SecretTests(Platform platform) : IClassFixture<Platform>
{
    private const string Email = "grace.hopper@navy.example";

    [Fact]
    public async Task No_token_key_email_or_password_is_in_any_log()
    {
        var shop = new UntidyShop(4, 400);
        var ran = await platform.RunAsync(platform.Token("logs"), "import", shop.WriteTo(platform.Home));
        Assert.NotEqual(1, ran.ExitCode);
        var secrets = new List<string> { Email, "@online-retail.example" };

        using var client = platform.Client("logs");
        var body = $$"""{"email":"{{Email}}","name":"Grace"}""";
        await ExpectAsync(HttpStatusCode.Created, client.SendJsonAsync(HttpMethod.Post, "/users", body, ("Idempotency-Key", "key-of-grace-hopper")));
        secrets.Add("key-of-grace-hopper");
        await ExpectAsync(HttpStatusCode.Conflict, client.SendJsonAsync(HttpMethod.Post, "/users", body));
        await ExpectAsync(HttpStatusCode.BadRequest, client.SendJsonAsync(HttpMethod.Post, "/users", $$"""{"email":"{{Email}}","name":7}"""));
        await ExpectAsync(HttpStatusCode.BadRequest, client.SendJsonAsync(HttpMethod.Post, "/users", $$"""{"email":"{{Email}}" """));

        // A machine's key, used, revoked and used again.
        using var made = await client.SendJsonAsync(HttpMethod.Post, "/api-keys", """{"name":"robot","scopes":["users:read"]}""");
        var apiKey = (await made.JsonAsync()).GetProperty("key").GetString()!;
        secrets.Add(apiKey);
        using var machine = new HttpClient { BaseAddress = platform.Address };
        await ExpectAsync(HttpStatusCode.OK, machine.SendJsonAsync(HttpMethod.Get, "/users", "", ("Authorization", "Bearer " + apiKey)));
        await ExpectAsync(HttpStatusCode.Forbidden, machine.SendJsonAsync(HttpMethod.Post, "/users", body, ("Authorization", "Bearer " + apiKey)));
        await ExpectAsync(HttpStatusCode.NoContent, client.SendJsonAsync(HttpMethod.Delete, made.Headers.Location!.ToString(), "", ("If-Match", "*")));

        // A webhook's secret.
        using var hook = await client.SendJsonAsync(HttpMethod.Post, "/webhooks", """{"url":"https://nowhere.example/","eventTypes":["agency.users.*"]}""");
        secrets.Add((await hook.JsonAsync()).GetProperty("secret").GetString()!);
        await ExpectAsync(HttpStatusCode.Created, client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"hooked@navy.example","name":"Hooked"}"""));
        secrets.Add("hooked@navy.example");

        // Tokens that are none, in each place where one may stand.
        foreach (var bad in new[] { "not.a.token", platform.Token("logs")[..^8] + "AAAAAAAA", apiKey, apiKey[..^8] + "00000000" })
        {
            secrets.Add(bad);
            foreach (var (name, value) in new[] { ("Authorization", "Bearer " + bad), ("Authorization", "ApiKey " + bad), ("X-Api-Key", bad) })
            {
                using var stranger = new HttpClient { BaseAddress = platform.Address };
                await ExpectAsync(HttpStatusCode.Unauthorized, stranger.SendJsonAsync(HttpMethod.Get, "/users?token=" + bad, "", (name, value)));
            }
        }

        // Failures that the log does tell of: of a command, of a consumer, and of the database.
        await platform.ExecuteAsync("alter table users.users add constraint refused check (name <> 'Refused')");
        await ExpectAsync(HttpStatusCode.InternalServerError, client.SendJsonAsync(HttpMethod.Post, "/users", $$"""{"email":"refused.{{Email}}","name":"Refused"}"""));
        await platform.ExecuteAsync($$"""
            insert into platform.events (event_id, tenant_id, topic, type, subject, version, data)
            values (gen_random_uuid(), 'logs', 'agency.users', 'agency.users.user-created.v1', 'poison', 1,
              '{"user":{"id":"{{Email}}","email":"{{Email}}","name":"Grace"} }')
            """);
        await HttpTesting.EventuallyAsync(
            () => platform.ScalarAsync<long>("select count(*) from platform.parked where subject = 'poison'"), parked => parked == Platform.ConsumerGroups.Count(g => g.Topic == "agency.users"));
        await platform.TerminateSessionsAsync();
        await ExpectAsync(HttpStatusCode.OK, HttpTesting.EventuallyAsync(() => client.GetAsync("/users"), answer => answer.IsSuccessStatusCode));

        await platform.Host.SignalAsync("TERM");
        Assert.Equal(0, (await platform.Host.EndAsync()).ExitCode);
        using var late = platform.Start(platform.Token("logs"), "import", shop.WriteTo(platform.Home));
        Assert.Equal(1, (await late.EndAsync()).ExitCode);

        var log = platform.Log + late.Output + late.Error;
        // The log is the right one: it tells of the failures.
        Assert.Contains("CreateUser failed.", log, StringComparison.Ordinal);
        Assert.Contains("ProjectUserGraph could not handle", log, StringComparison.Ordinal);
        secrets.AddRange(platform.Tokens);
        // Whoever has the signature alone still has most of a token.
        secrets.AddRange(platform.Tokens.Select(token => token[(token.LastIndexOf('.') + 1)..]));
        secrets.AddRange(new[] { platform.Settings.Admin, platform.Settings.App, platform.Settings.System }
            .Select(connection => new NpgsqlConnectionStringBuilder(connection).Password!)
            // A test server may have a password that is also an ordinary word.
            .Where(password => password.Length >= 12));
        secrets.AddRange((await File.ReadAllLinesAsync(Path.Combine(platform.Home, "keys", "issuer.pem"))).Where(line => !line.StartsWith('-')));
        Assert.All(secrets, secret => Assert.False(log.Contains(secret, StringComparison.OrdinalIgnoreCase), $"The log holds {secret}:\n{Around(log, secret)}"));
    }

    private static async Task ExpectAsync(HttpStatusCode status, Task<HttpResponseMessage> sending)
    {
        using var answer = await sending;
        Assert.True(answer.StatusCode == status, $"{answer.RequestMessage!.RequestUri} answers {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync()}");
    }

    private static string Around(string log, string secret)
    {
        var at = log.IndexOf(secret, StringComparison.OrdinalIgnoreCase);
        return log[Math.Max(0, at - 300)..Math.Min(log.Length, at + 300)];
    }
}
