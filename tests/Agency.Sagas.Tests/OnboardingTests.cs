using System.Net;
using System.Net.Http.Headers;
using Agency.PlatformFunctions;
using Agency.Testing;
using Agency.Users;
using Microsoft.Extensions.Configuration;

namespace Agency.Sagas.Tests;

public sealed class OnboardingTests
{
    [Fact]
    public async Task A_user_who_verifies_is_welcomed_and_followed_up()
    {
        await using var host = await StartAsync(("Onboarding:FollowUpAfter", "00:00:00.300"));
        using var client = host.Client();
        var (user, _) = await CreateAsync(client);
        await StatusAsync(client, user, "running", "email-verified");
        Assert.Equal(["verify-email a@example.com"], await MessagesAsync(host));
        Assert.Equal(HttpStatusCode.Accepted, (await client.PostAsync($"/sagas/user-onboarding-{user}/signals/email-verified", null)).StatusCode);
        await StatusAsync(client, user, "completed");
        Assert.Equal(
            ["verify-email a@example.com", "welcome-message a@example.com", "follow-up-message a@example.com"], await MessagesAsync(host));
        Assert.Equal(
            $"acme/user-onboarding-{user}/verify-email",
            await host.Database.ScalarAsync<string>("select idempotency_key from users.messages where template = 'verify-email'"));
    }

    [Fact]
    public async Task A_user_who_does_not_verify_in_time_gets_no_more_messages()
    {
        await using var host = await StartAsync(("Onboarding:VerifyWithin", "00:00:00.300"));
        using var client = host.Client();
        var (user, _) = await CreateAsync(client);
        var saga = await StatusAsync(client, user, "completed");
        Assert.Contains(saga.GetProperty("history").EnumerateArray(), h => h.GetProperty("kind").GetString() == "timed-out");
        Assert.Equal(["verify-email a@example.com"], await MessagesAsync(host));
    }

    [Fact]
    public async Task Deleting_the_user_cancels_the_onboarding_and_forgets_the_messages()
    {
        await using var host = await StartAsync();
        using var client = host.Client();
        var (user, tag) = await CreateAsync(client);
        await StatusAsync(client, user, "running", "email-verified");
        using var delete = new HttpRequestMessage(HttpMethod.Delete, $"/users/{user}") { Headers = { IfMatch = { tag } } };
        Assert.Equal(HttpStatusCode.NoContent, (await client.SendAsync(delete)).StatusCode);
        await StatusAsync(client, user, "cancelled");
        Assert.Empty(await MessagesAsync(host));
        Assert.Empty(await host.Database.QueryAsync<string>("select id from embedded.sagas where input::text || data::text like '%example.com%'"));
    }

    private static Task<TestHost> StartAsync(params (string Name, string Value)[] settings) => TestHost.StartAsync(
        [
            typeof(CreateUser).Assembly, typeof(DeleteUser).Assembly, typeof(StartUserOnboarding).Assembly, typeof(GetSaga).Assembly,
            typeof(SignalSaga).Assembly,
        ],
        configure: builder =>
        {
            foreach (var (name, value) in settings)
                builder.Configuration[name] = value;
        });

    private static async Task<(string Id, EntityTagHeaderValue Tag)> CreateAsync(HttpClient client)
    {
        var created = await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"a@example.com","name":"A"}""");
        return ((await created.JsonAsync()).GetProperty("id").GetString()!, created.Headers.ETag!);
    }

    private static Task<System.Text.Json.JsonElement> StatusAsync(HttpClient client, string user, string status, string? waitingFor = null) =>
        HttpTesting.EventuallyAsync(
            async () => await (await client.GetAsync($"/sagas/user-onboarding-{user}")).JsonAsync(),
            saga => saga.TryGetProperty("waitingFor", out var waits) && waits.GetString() == waitingFor
                && saga.GetProperty("status").GetString() == status);

    private static Task<List<string>> MessagesAsync(TestHost host) =>
        host.Database.QueryAsync<string>("select template || ' ' || recipient from users.messages order by created_at, id");
}
