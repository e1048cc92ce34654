using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Agency.Platform;

/// <summary>
/// An error answer, RFC 9457. <see cref="Type"/> is stable: <c>urn:agency:problem:</c> and a slug that clients may branch on.
/// </summary>
public sealed record Problem(int Status, string Type, string Title)
{
    public const string TypePrefix = "urn:agency:problem:";

    /// <summary>What went wrong this time, in a sentence.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Detail { get; init; }

    /// <summary>The offending fields (JSON names) and what is wrong with each.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyDictionary<string, string[]>? Errors { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? TraceId { get; init; }

    /// <summary>Seconds after which the client may try again; sent as <c>Retry-After</c>.</summary>
    [JsonIgnore]
    public int? RetryAfter { get; init; }

    public static Problem Of(int status, string slug, string title, string? detail = null) => new(status, TypePrefix + slug, title) { Detail = detail };

    public static Problem NotFound(string what) => Of(404, "not-found", "Not found", $"There is no such {what}.");

    public static Problem Validation(IReadOnlyDictionary<string, string[]> errors) =>
        Of(400, "validation", "The request is not valid", "See errors for each field.") with { Errors = errors };

    public static Problem Validation(string field, string message) => Validation(new Dictionary<string, string[]> { [field] = [message] });

    /// <summary>As the answer to the request that is being handled, which it names by its trace: a problem itself may be everybody's.</summary>
    public Answer ToAnswer() => new(
        Status, JsonSerializer.SerializeToUtf8Bytes(this with { TraceId = Activity.Current?.TraceId.ToString() }, ProblemJson.Default.Problem), "application/problem+json")
    {
        RetryAfter = RetryAfter,
        ProblemType = Type,
    };
}

/// <summary>Ends the request with this problem; nothing that it did is kept.</summary>
public sealed class ProblemException(Problem problem) : Exception(problem.Detail ?? problem.Title)
{
    public Problem Problem { get; } = problem;
}

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ProblemJson : JsonSerializerContext;
