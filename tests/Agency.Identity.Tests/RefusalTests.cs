using System.Net;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Agency.Identity.Tests;

/// <summary>What is refused is not in the audit trail, so the log tells of it.</summary>
public sealed class RefusalTests
{
    [Fact]
    public async Task The_log_says_who_was_refused_what_and_from_where()
    {
        using var log = new LogLines();
        await using var host = await TestHost.StartAsync(
            [typeof(ListDeadLetters).Assembly, typeof(CreateApiKey).Assembly, typeof(RevokeApiKey).Assembly],
            configure: builder =>
            {
                builder.Logging.AddProvider(log).AddFilter((category, level) => category!.StartsWith("Agency.", StringComparison.Ordinal) && level >= LogLevel.Information);
                builder.Services.AddSingleton<TimeProvider>(new StandingClock());
            },
            settings: [("RateLimits:apikeys-write", "1/s burst 4")]);
        using var stranger = host.Client(null);
        using var reader = host.Client("users:read", subject: "reader");
        using var writer = host.Client("apikeys:write platform:read", "globex", "writer");
        const string Key = """{"name":"ci","scopes":["platform:read"]}""";

        await RefusedAsync(stranger.GetAsync(new Uri("/dead-letters", UriKind.Relative)), 401, "ListDeadLetters", "unauthenticated", "", "");
        await RefusedAsync(reader.GetAsync(new Uri("/dead-letters?cursor=hidden", UriKind.Relative)), 403, "ListDeadLetters", "forbidden", "acme", "reader");
        var made = await writer.SendJsonAsync(HttpMethod.Post, "/api-keys", Key);
        Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        await RefusedAsync(writer.SendJsonAsync(HttpMethod.Delete, made.Headers.Location!.ToString(), "", ("If-Match", "\"9\"")), 412, "RevokeApiKey", "precondition-failed", "globex", "writer");
        for (var n = 0; n < 2; n++)
            await writer.SendJsonAsync(HttpMethod.Post, "/api-keys", "{");
        await RefusedAsync(writer.SendJsonAsync(HttpMethod.Post, "/api-keys", Key), 429, "CreateApiKey", "too-many-requests", "globex", "writer");
        Assert.DoesNotContain(log.Lines, line => line.Contains("hidden", StringComparison.Ordinal));
        // What is only wrong is the client's own affair.
        Assert.DoesNotContain(log.Lines, line => line.Contains("refused with 400", StringComparison.Ordinal));

        async Task RefusedAsync(Task<HttpResponseMessage> asking, int status, string function, string type, string organisation, string subject)
        {
            using var answer = await asking;
            Assert.Equal(status, (int)answer.StatusCode);
            var trace = answer.Headers.GetValues("X-Trace-Id").Single();
            Assert.Contains(
                $"Information {function} refused with {status} urn:agency:problem:{type}: organisation '{organisation}', subject '{subject}', address 127.0.0.1, trace {trace}.",
                log.Lines.Select(line => line.Trim()));
        }
    }

    private sealed class StandingClock : TimeProvider
    {
        public override long GetTimestamp() => 0;
    }
}
