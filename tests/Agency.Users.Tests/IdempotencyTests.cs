using System.Net;
using Agency.Platform;
using Agency.Testing;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Users.Tests;

/// <summary>A POST that is sent again, as clients do when they have not seen the answer.</summary>
public sealed class IdempotencyTests : IAsyncLifetime
{
    private const string Body = """{"email":"once@example.com","name":"Once"}""";
    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await TestHost.StartAsync([typeof(CreateUser).Assembly, typeof(GetUser).Assembly]);

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task Two_hundred_at_once_create_one_row_and_give_one_answer()
    {
        using var client = _host.Client();
        var answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => PostAsync(client, Body, "same")));
        foreach (var answer in answers)
            Assert.True(answer.Status is 201 or 409, answer.Text);
        var created = answers.Where(a => a.Status == 201).Select(a => a.Text).Distinct().ToList();
        Assert.Single(created);
        Assert.All(answers.Where(a => a.Status == 409), a => Assert.Contains("idempotency-in-flight", a.Text, StringComparison.Ordinal));
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from users.users"));
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from platform.events"));
    }

    [Fact]
    public async Task A_replay_is_the_first_answer_and_says_so()
    {
        using var client = _host.Client();
        var first = await client.SendJsonAsync(HttpMethod.Post, "/users", Body, ("Idempotency-Key", "k"));
        var again = await client.SendJsonAsync(HttpMethod.Post, "/users", Body, ("Idempotency-Key", "k"));
        Assert.Equal(HttpStatusCode.Created, again.StatusCode);
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
        Assert.False(first.Headers.Contains("Idempotency-Replayed"));
        Assert.Equal(first.Headers.Location, again.Headers.Location);
        Assert.Equal(first.Headers.ETag, again.Headers.ETag);
        Assert.Equal(await first.Content.ReadAsStringAsync(), await again.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task A_key_stands_for_one_body_of_one_caller_of_one_organisation()
    {
        using var client = _host.Client();
        Assert.Equal(201, (await PostAsync(client, Body, "k")).Status);
        Assert.Equal(422, (await PostAsync(client, Body.Replace("Once", "Twice", StringComparison.Ordinal), "k")).Status);
        using var colleague = _host.Client(subject: "colleague");
        Assert.Contains("email-taken", (await PostAsync(colleague, Body, "k")).Text, StringComparison.Ordinal);
        using var stranger = _host.Client(organisation: "globex");
        Assert.Equal(201, (await PostAsync(stranger, Body, "k")).Status);
    }

    [Fact]
    public async Task A_key_is_free_again_after_a_day()
    {
        using var client = _host.Client();
        Assert.Equal(201, (await PostAsync(client, Body, "k")).Status);
        await _host.Database.RunAsync("update platform.idempotency set created_at = now() - interval '25 hours'");
        Assert.Equal(201, (await PostAsync(client, """{"email":"other@example.com","name":"Other"}""", "k")).Status);
    }

    [Fact]
    public async Task A_command_that_failed_keeps_no_key()
    {
        using var client = _host.Client();
        Assert.Equal(400, (await PostAsync(client, """{"email":"nonsense","name":"N"}""", "k")).Status);
        Assert.Equal(201, (await PostAsync(client, Body, "k")).Status);
    }

    [Fact]
    public async Task A_refusal_that_a_command_answers_undoes_what_it_did_and_keeps_no_key()
    {
        await RunAsync(Problem.NotFound("thing").ToAnswer());
        Assert.Equal(0, await _host.Database.ScalarAsync<long>(
            "select (select count(*) from users.users) + (select count(*) from platform.idempotency) + (select count(*) from platform.audit)"));
        await RunAsync(Answer.NoContent());
        await RunAsync(Problem.NotFound("thing").ToAnswer());
        Assert.Equal(1, await _host.Database.ScalarAsync<long>("select count(*) from users.users"));
        Assert.Equal(204, await _host.Database.ScalarAsync<int>("select status from platform.idempotency"));

        async Task RunAsync(Answer answer)
        {
            await using var scope = _host.Services.CreateAsyncScope();
            scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
            var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
            var http = new DefaultHttpContext { Request = { Method = "POST", Path = "/things", Headers = { ["Idempotency-Key"] = "k" } } };
            await work.RunAsync(
                http.Request,
                async () =>
                {
                    await work.ExecuteAsync($"insert into users.users (id, email, name) values ({Guid.NewGuid()}, 'ada@example.com', 'Ada')", CancellationToken.None);
                    return answer;
                },
                CancellationToken.None);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("a\tb")]
    public async Task A_malformed_key_is_refused(string key)
    {
        using var client = _host.Client();
        Assert.Equal(400, (await PostAsync(client, Body, key)).Status);
        Assert.Equal(0, await _host.Database.ScalarAsync<long>("select count(*) from users.users"));
    }

    private static async Task<(int Status, string Text)> PostAsync(HttpClient client, string body, string key)
    {
        var response = await client.SendJsonAsync(HttpMethod.Post, "/users", body, ("Idempotency-Key", key));
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync());
    }
}
