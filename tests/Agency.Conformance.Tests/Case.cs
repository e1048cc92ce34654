using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Agency.Conformance.Tests;

/// <summary>One request and what must come of it.</summary>
internal sealed record Case(Operation Operation, string Name, Func<World, Task<Sent>> Make, params int[] Expected)
{
    /// <summary>What else must hold of the answer; the result is what does not, or null.</summary>
    public Func<World, Sent, Received, Task<string?>>? Also { get; init; }

    /// <summary>Nothing in the database may differ afterwards.</summary>
    public bool ChangesNothing { get; init; } = true;

    /// <summary>Signed as the route asks for, whatever the body.</summary>
    public bool IsSigned { get; init; } = true;

    /// <summary>The request reaches no function, so that the document of one does not speak of its answer.</summary>
    public bool IsUnrouted { get; init; }

    /// <summary>Whatever is answered has no body.</summary>
    public bool IsBodiless { get; init; }

    /// <summary>It takes two requests that must see the same, and what is asked for may change by itself between them. So it has two tries.</summary>
    public bool ComparesMoments { get; init; }

    public override string ToString() => $"{Operation.Name}: {Name}";
}

/// <summary>What every answer must be, whatever was asked.</summary>
internal static partial class Promises
{
    /// <summary>What is wrong, or null.</summary>
    public static string? Broken(World world, Operation operation, Received answer, bool isUnrouted = false)
    {
        if (answer.Status >= 500 && !operation.Statuses.Contains(answer.Status))
            return $"the server failed with {answer.Status}";
        if (answer.Header("X-Trace-Id") is not { } trace || !TraceId().IsMatch(trace))
            return "there is no X-Trace-Id";
        if (Leak().Match(answer.Text) is { Success: true, Value: var leak })
            return $"the answer shows its insides: {leak}";
        var isProblem = answer.Status >= 400 && !(answer.Status == 503 && operation.Statuses.Contains(503));
        if (isProblem && BrokenProblem(operation, answer, trace) is { } wrongProblem)
            return wrongProblem;
        if (isUnrouted)
            return isProblem ? null : "a function has answered";
        if (!operation.Statuses.Contains(answer.Status))
            return $"{answer.Status} is not in the document";
        var described = operation.Response(answer.Status);
        return BrokenHeaders(world, answer, described) ?? (isProblem ? null : BrokenBody(world, answer, described));
    }

    /// <summary>Of the headers that the document has a component for: those that an answer lacks, and those that it has and should not.</summary>
    private static string? BrokenHeaders(World world, Received answer, JsonObject described)
    {
        foreach (var (name, says) in (JsonObject)world.Document.Root["components"]!["headers"]!)
        {
            var isDescribed = described["headers"]?[name] is not null;
            if (answer.Header(name) is null && isDescribed && (bool?)says!["required"] == true)
                return $"there is no {name}";
            if (answer.Header(name) is { } value && !isDescribed)
                return $"{name} is {value}, and the document does not know of it";
        }

        return null;
    }

    private static string? BrokenBody(World world, Received answer, JsonObject described)
    {
        if (described["content"] is not JsonObject content)
            return answer.Body.Length == 0 ? null : "the document knows of no body";
        if (answer.MediaType is not { } media || content[media] is not { } says)
            return $"the body is {answer.MediaType}, not {string.Join(" or ", content.Select(c => c.Key))}";
        if (media == "application/json" && world.Schema.Wrong(says["schema"]!, answer.Json) is { } wrong)
            return $"the body is not as described: {wrong}";
        return says["x-item-schema"] is { } item && Items(media, answer.Text).Select(json => world.Schema.Wrong(item, JsonNode.Parse(json))).FirstOrDefault(w => w is not null) is { } wrongItem
            ? $"a part of the body is not as described: {wrongItem}"
            : null;
    }

    /// <summary>The JSON texts in a stream.</summary>
    private static IEnumerable<string> Items(string media, string text) => media == "text/event-stream"
        ? text.Split('\n').Where(line => line.StartsWith("data: ", StringComparison.Ordinal)).Select(line => line["data: ".Length..])
        : text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string? BrokenProblem(Operation operation, Received answer, string trace)
    {
        if (answer.MediaType != "application/problem+json")
            return $"the body is {answer.MediaType}, not a problem";
        if (answer.Json is not JsonObject problem)
            return "the problem is no object";
        if ((string?)problem["type"] is not { } type || !ProblemType().IsMatch(type))
            return $"the type is {problem["type"]}";
        if ((int?)problem["status"] != answer.Status)
            return $"the problem says {problem["status"]}";
        if (string.IsNullOrWhiteSpace((string?)problem["title"]))
            return "there is no title";
        if ((string?)problem["traceId"] != trace)
            return $"the problem's trace id is {problem["traceId"]}, the header's {trace}";
        return answer.Status switch
        {
            // Whose token is not enough in itself is told so by the scheme; a command may refuse for reasons of its own.
            401 or 403 when type is "urn:agency:problem:unauthenticated" or "urn:agency:problem:forbidden" && answer.Header("WWW-Authenticate") is null => "there is no WWW-Authenticate",
            429 when answer.Header("Retry-After") is null => "there is no Retry-After",
            _ => null,
        };
    }

    [GeneratedRegex("^[0-9a-f]{32}$")]
    private static partial Regex TraceId();

    [GeneratedRegex("^urn:agency:problem:[a-z][a-z-]*$")]
    private static partial Regex ProblemType();

    // A stack trace, a CLR type, or the database speaking.
    [GeneratedRegex(@"\bat [A-Z]\w+(\.\w+)+\(|\w+Exception\b|\bSystem\.\w+|\bNpgsql\b|\bAgency\.[A-Z]\w+\.|\.cs:line|SQLSTATE|\bpg_catalog\b|relation """)]
    private static partial Regex Leak();
}
