using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Agency.Cli;

/// <summary>Calls the public API as any client would, and waits out a server that restarts or asks for patience.</summary>
internal sealed class ApiClient : IDisposable
{
    private readonly HttpClient _http;
    private readonly TimeSpan _patience;

    private ApiClient(Uri address, string token, TimeSpan patience)
    {
        _http = new HttpClient { BaseAddress = address, Timeout = TimeSpan.FromSeconds(30) };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        _patience = patience;
    }

    /// <summary>Of what runs at the workspace's address, with the token of <c>AGENCY_TOKEN</c> or one of its own.</summary>
    /// <param name="subject">Whom that one names.</param>
    /// <param name="patience">How long one request is tried again.</param>
    public static ApiClient Of(Workspace workspace, string subject, TimeSpan patience) => new(
        workspace.BaseAddress,
        Environment.GetEnvironmentVariable("AGENCY_TOKEN") is { Length: > 0 } given
            ? given
            : Tokens.Issue(workspace, "demo", subject, scopes: null, TimeSpan.FromHours(12)),
        patience);

    /// <exception cref="CommandException">Nothing answers there.</exception>
    public async Task RequireAsync(CancellationToken cancel)
    {
        try
        {
            using var answer = await _http.GetAsync(new Uri("/health/live", UriKind.Relative), cancel);
        }
        catch (HttpRequestException)
        {
            throw new CommandException($"Nothing answers at {_http.BaseAddress}; start Agency with ./agency up.");
        }
    }

    /// <summary>Posts until the server gives an answer about the content; the caller disposes it.</summary>
    /// <exception cref="CommandException">The token is refused, or no such answer came in time.</exception>
    public Task<HttpResponseMessage> PostAsync<T>(string path, T body, JsonTypeInfo<T> type, string? idempotencyKey, CancellationToken cancel) =>
        PostAsync(path, JsonSerializer.SerializeToUtf8Bytes(body, type), idempotencyKey, cancel);

    /// <param name="json">The body, JSON in UTF-8.</param>
    /// <inheritdoc cref="PostAsync{T}(string, T, JsonTypeInfo{T}, string?, CancellationToken)"/>
    public async Task<HttpResponseMessage> PostAsync(string path, byte[] json, string? idempotencyKey, CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        for (var attempt = 0; ; attempt++)
        {
            var wait = TimeSpan.FromMilliseconds(Math.Min(100 * Math.Pow(2, attempt), 3000) * (0.5 + Random.Shared.NextDouble() / 2));
            string trouble;
            try
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent(json) };
                request.Content.Headers.ContentType = new("application/json");
                if (idempotencyKey is not null)
                    request.Headers.Add("Idempotency-Key", idempotencyKey);
                var answer = await _http.SendAsync(request, cancel);
                if (!await IsTemporaryAsync(answer, cancel))
                    return answer;
                trouble = await DescribeAsync(answer, cancel);
                wait = answer.Headers.RetryAfter?.Delta ?? wait;
                answer.Dispose();
            }
            catch (Exception failure) when (failure is HttpRequestException or IOException or TaskCanceledException && !cancel.IsCancellationRequested)
            {
                trouble = failure.Message;
            }

            if (clock.Elapsed + wait > _patience)
                throw new CommandException($"the server did not take a request for {_patience.TotalSeconds:0} s ({trouble.TrimEnd('.')})");
            await Task.Delay(wait, cancel);
        }
    }

    /// <summary>What a refusal says.</summary>
    public static async Task<string> DescribeAsync(HttpResponseMessage answer, CancellationToken cancel) =>
        await ProblemAsync(answer, cancel) is { } problem && problem.ToString() is { Length: > 0 } text ? text : $"{(int)answer.StatusCode} {answer.ReasonPhrase}";

    public static async Task<ProblemAnswer?> ProblemAsync(HttpResponseMessage answer, CancellationToken cancel)
    {
        try
        {
            return JsonSerializer.Deserialize(await answer.Content.ReadAsStringAsync(cancel), ImportJson.Default.ProblemAnswer);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    public void Dispose() => _http.Dispose();

    private static async Task<bool> IsTemporaryAsync(HttpResponseMessage answer, CancellationToken cancel)
    {
        if (answer.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
        {
            using (answer)
                throw new CommandException($"the server refuses the token ({await DescribeAsync(answer, cancel)}); check AGENCY_TOKEN and AGENCY_HOME");
        }

        // Our own earlier attempt, whose answer got lost, may still be running.
        if (answer.StatusCode == HttpStatusCode.Conflict)
            return await ProblemAsync(answer, cancel) is { Type: "urn:agency:problem:idempotency-in-flight" };
        return answer.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable
            or HttpStatusCode.GatewayTimeout or HttpStatusCode.InternalServerError;
    }
}
