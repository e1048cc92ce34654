using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>
/// What a function answers: status, headers and a body that is already bytes, so that it can be cached, and stored for a replay.
/// A GET or HEAD whose <c>If-None-Match</c> names the entity tag gets 304.
/// </summary>
public sealed class Answer : IResult
{
    internal Answer(int status, ReadOnlyMemory<byte> body, string contentType = "application/json")
    {
        Status = status;
        Body = body;
        ContentType = contentType;
    }

    // Not public: the official worker also serialises the public properties of a result.
    internal int Status { get; }

    internal ReadOnlyMemory<byte> Body { get; }

    internal string ContentType { get; }

    internal string? Location { get; init; }

    internal string? ETag { get; init; }

    internal string? Link { get; init; }

    internal string? FileName { get; init; }

    internal int? RetryAfter { get; init; }

    internal bool Replayed { get; init; }

    /// <summary>The type of the problem that it is; null when it is none.</summary>
    internal string? ProblemType { get; init; }

    /// <summary>What is stored for a replay, where that is not the body itself.</summary>
    internal ReadOnlyMemory<byte>? Stored { get; init; }

    public static Answer Ok<T>(T value, JsonTypeInfo<T> json, long? version = null) =>
        new(200, JsonSerializer.SerializeToUtf8Bytes(value, json)) { ETag = Tag(version) };

    /// <param name="nextPage">The path and query of the next page, or null when this is the last.</param>
    public static Answer Page<T>(T value, JsonTypeInfo<T> json, string? nextPage) =>
        new(200, JsonSerializer.SerializeToUtf8Bytes(value, json)) { Link = nextPage is null ? null : $"<{nextPage}>; rel=\"next\"" };

    public static Answer Created<T>(string location, T value, JsonTypeInfo<T> json, long version) =>
        new(201, JsonSerializer.SerializeToUtf8Bytes(value, json)) { Location = location, ETag = Tag(version) };

    /// <summary>
    /// 201 with a secret that is shown this once and stored nowhere. So a replay, which is answered from what was stored, gets
    /// <paramref name="withoutSecret"/>; a client that lost the first answer makes another and discards this one.
    /// </summary>
    public static Answer CreatedOnce<T>(string location, T value, T withoutSecret, JsonTypeInfo<T> json, long version) =>
        new(201, JsonSerializer.SerializeToUtf8Bytes(value, json))
        {
            Location = location,
            ETag = Tag(version),
            Stored = JsonSerializer.SerializeToUtf8Bytes(withoutSecret, json),
        };

    /// <summary>202: it will be done, and can be followed at the location.</summary>
    public static Answer Accepted<T>(string location, T value, JsonTypeInfo<T> json) =>
        new(202, JsonSerializer.SerializeToUtf8Bytes(value, json)) { Location = location };

    /// <summary>202: it will be done; there is nothing to show yet.</summary>
    public static Answer Accepted() => new(202, default);

    /// <summary>207: the body says for each item what became of it.</summary>
    public static Answer MultiStatus<T>(T value, JsonTypeInfo<T> json) => new(207, JsonSerializer.SerializeToUtf8Bytes(value, json));

    /// <summary>200 when healthy, else 503 with the same body.</summary>
    public static Answer Health<T>(bool healthy, T value, JsonTypeInfo<T> json) =>
        new(healthy ? 200 : 503, JsonSerializer.SerializeToUtf8Bytes(value, json)) { RetryAfter = healthy ? null : 1 };

    /// <summary>Bytes that are answered as they are.</summary>
    /// <param name="fileName">What a browser shall save it as, in letters, digits, dots and hyphens; null when it shall show it.</param>
    public static Answer Document(ReadOnlyMemory<byte> body, string contentType, string? fileName = null) => new(200, body, contentType) { FileName = fileName };

    public static Answer NoContent() => new(204, default);

    public Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        var headers = response.Headers;
        if (ProblemType is not null)
            Refusals.Tell(httpContext, Status, ProblemType);
        if (Status == 200 && (HttpMethods.IsGet(httpContext.Request.Method) || HttpMethods.IsHead(httpContext.Request.Method)))
        {
            // A list has no version; its bytes stand for it.
            var tag = ETag ?? $"\"{Convert.ToHexStringLower(SHA256.HashData(Body.Span).AsSpan(0, 8))}\"";
            headers.ETag = tag;
            if (Conditions.Matches(httpContext.Request.Headers.IfNoneMatch, tag))
            {
                response.StatusCode = 304;
                return Task.CompletedTask;
            }
        }
        else if (ETag is not null)
        {
            headers.ETag = ETag;
        }

        response.StatusCode = Status;
        if (Location is not null)
            headers.Location = Location;
        if (Link is not null)
            headers.Link = Link;
        if (RetryAfter is { } seconds)
            headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        if (FileName is not null)
            headers.ContentDisposition = Attachment(FileName);
        if (Replayed)
            headers["Idempotency-Replayed"] = "true";
        // A file without a line is a file still.
        if (Body.IsEmpty && Status != 200)
            return Task.CompletedTask;
        response.ContentType = ContentType;
        response.ContentLength = Body.Length;
        return response.Body.WriteAsync(Body, httpContext.RequestAborted).AsTask();
    }

    internal static string Attachment(string fileName) => $"attachment; filename=\"{fileName}\"";

    private static string? Tag(long? version) => version is { } v ? string.Create(CultureInfo.InvariantCulture, $"\"{v}\"") : null;
}
