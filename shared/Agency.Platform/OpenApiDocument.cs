using System.ComponentModel.DataAnnotations;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Platform;

/// <summary>
/// The OpenAPI 3.1 description of the HTTP functions of this process, read from what they declare: function, trigger, scope, body
/// limit and <see cref="OperationAttribute"/>. What every route promises by convention is said here once, for all of them.
/// </summary>
public sealed partial class OpenApiDocument
{
    private const string ProblemType = "application/problem+json";
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly Dictionary<int, string> Reasons = new()
    {
        [400] = "The request breaks a rule; `errors` names the fields, headers or query parameters.",
        [401] = "There is no valid token, or no valid signature.",
        [403] = "The token does not have the scope.",
        [404] = "The organisation has no such thing.",
        [409] = "It conflicts with what is there, or the first request with this `Idempotency-Key` is still running.",
        [412] = "`If-Match` names another version than the current one.",
        [413] = "The body is too large.",
        [415] = "The body is not JSON.",
        [422] = "The `Idempotency-Key` belongs to another request.",
        [428] = "`If-Match` is missing.",
        [429] = "Too many requests; `Retry-After` says when to go on.",
    };

    private static readonly string[] EveryAnswer = [ProblemMiddleware.TraceHeader, "RateLimit", "RateLimit-Policy"];

    private readonly OpenApiComments _comments = new();
    private readonly OpenApiSchemas _schemas;
    private readonly JsonObject _paths = [];
    private readonly SortedSet<int> _problems = [];
    private readonly SortedSet<string> _scopes = new(StringComparer.Ordinal);

    private OpenApiDocument() => _schemas = new(_comments);

    /// <summary>The document as JSON, UTF-8.</summary>
    /// <exception cref="InvalidOperationException">An HTTP function has no <see cref="OperationAttribute"/>.</exception>
    public static byte[] Of(FunctionApps apps) => JsonSerializer.SerializeToUtf8Bytes(new OpenApiDocument().Describe(apps), Indented);

    private JsonObject Describe(FunctionApps apps)
    {
        foreach (var (method, name, trigger) in apps.HttpFunctions.OrderBy(f => f.Trigger.Route).ThenBy(f => f.Name))
            Add(method, name, trigger);
        var problem = _schemas.Of(typeof(Problem), isRead: false);
        return new()
        {
            ["openapi"] = "3.1.1",
            ["info"] = new JsonObject
            {
                ["title"] = "Agency",
                ["version"] = typeof(Problem).Assembly.GetName().Version!.ToString(3),
                ["description"] =
                    "Every error is a problem (RFC 9457) whose `type` is stable. Lists are walked by their `Link: rel=next`. A `POST` may be "
                    + "repeated safely with an `Idempotency-Key`. What is changed is named by its entity tag in `If-Match`.",
            },
            ["tags"] = new JsonArray([.. _paths.SelectMany(p => p.Value!.AsObject()).SelectMany(o => o.Value!["tags"]!.AsArray())
                .Select(tag => (string)tag!).Distinct().Order(StringComparer.Ordinal).Select(tag => new JsonObject { ["name"] = tag })]),
            ["paths"] = _paths,
            ["components"] = new JsonObject
            {
                ["schemas"] = _schemas.Components,
                ["responses"] = new JsonObject(_problems.Select(status => KeyValuePair.Create(ProblemName(status), (JsonNode?)ProblemAnswer(status, problem)))),
                ["headers"] = Headers(),
                ["securitySchemes"] = new JsonObject
                {
                    ["bearer"] = new JsonObject
                    {
                        ["type"] = "http",
                        ["scheme"] = "bearer",
                        ["description"] = "A token or an API key. Each route names the scope that it needs, of: " + string.Join(", ", _scopes) + ".",
                    },
                },
            },
        };
    }

    private void Add(MethodInfo method, string name, HttpTriggerAttribute trigger)
    {
        var says = method.GetCustomAttribute<OperationAttribute>()
            ?? throw new InvalidOperationException($"Function {name} needs [Operation(...)], so that clients know what it takes and answers.");
        var policy = FunctionPolicy.Of(method, name);
        var parameters = new JsonArray();
        var path = PathOf(trigger.Route ?? name, method, parameters);
        var hasPathParameters = parameters.Count > 0;
        foreach (var verb in trigger.Methods ?? [])
        {
            var isChange = verb is "put" or "delete" or "patch" && !says.IsUnconditional;
            var isPost = verb == "post" && says.SignedAs is null;
            var own = new JsonArray([.. parameters.Select(p => p!.DeepClone())]);
            foreach (var parameter in QueryParametersOf(says, PathNames(method)))
                own.Add(parameter);
            if (isPost)
                own.Add(Header("Idempotency-Key", "Names this request, so that it can be repeated: the answer is kept 24 hours.", isRequired: false, new() { ["type"] = "string", ["minLength"] = 1, ["maxLength"] = 255 }));
            if (says.SignedAs is { } prefix)
                foreach (var part in new[] { "id", "timestamp", "signature" })
                    own.Add(Header($"{prefix}-{part}", "As in Standard Webhooks.", isRequired: true, new() { ["type"] = "string" }));
            if (isChange)
                own.Add(Header("If-Match", "The entity tag of the version that was read, which is its `version` in quotes, or `*` for any.", isRequired: true, new() { ["type"] = "string" }));
            var isTagged = verb == "get" && says is { Answer: not null, IsStream: false };
            if (isTagged)
                own.Add(Header("If-None-Match", "The entity tag of the version that the client has.", isRequired: false, new() { ["type"] = "string" }));
            var (summary, description) = Texts(method.DeclaringType!);
            var operation = new JsonObject
            {
                ["operationId"] = name,
                ["tags"] = new JsonArray(Tag(method.DeclaringType!)),
                ["summary"] = summary ?? name,
                ["description"] = description,
                ["parameters"] = own,
                ["requestBody"] = BodyOf(says, policy.MaxBody),
                ["responses"] = ResponsesOf(isPost, says, policy, hasPathParameters, isChange, isTagged),
                ["security"] = policy.Scope is null ? new JsonArray() : new JsonArray(new JsonObject { ["bearer"] = new JsonArray(policy.Scope) }),
            };
            foreach (var absent in operation.Where(p => p.Value is null or JsonArray { Count: 0 } && p.Key != "security").Select(p => p.Key).ToArray())
                operation.Remove(absent);
            if (policy.Scope is not null)
                _scopes.Add(policy.Scope);
            if (_paths[path] is not JsonObject item)
                _paths[path] = item = [];
            item.Add(verb, operation);
        }
    }

    /// <summary>The template without constraints, whose types it adds to the parameters. An optional last segment is left out.</summary>
    private string PathOf(string route, MethodInfo method, JsonArray parameters)
    {
        var types = method.GetParameters().ToDictionary(p => p.Name!, p => p.ParameterType, StringComparer.OrdinalIgnoreCase);
        return "/" + RouteParameter().Replace(OptionalEnd().Replace(route.TrimStart('/'), ""), match =>
        {
            var name = match.Groups["name"].Value;
            var schema = _schemas.OfParameter(types.GetValueOrDefault(name, typeof(string)), null);
            if ((string?)schema["type"] == "integer")
                schema["format"] = "int64";
            parameters.Add(new JsonObject { ["name"] = name, ["in"] = "path", ["required"] = true, ["schema"] = schema });
            return $"{{{name}}}";
        });
    }

    private static HashSet<string> PathNames(MethodInfo method) => method.GetParameters().Select(p => p.Name!).ToHashSet(StringComparer.OrdinalIgnoreCase);

    /// <summary>The names that a query's parameters have on the wire.</summary>
    internal static string[] QueryNames(Type? query, MethodInfo method) => [.. Properties(query, PathNames(method)).Select(p => p.Name)];

    private IEnumerable<JsonObject> QueryParametersOf(OperationAttribute says, HashSet<string> inPath)
    {
        var example = says.QueryExample?.Split('=', 2);
        foreach (var (name, property) in Properties(says.Query, inPath))
        {
            // What stands in a cursor is nobody's business but the list's.
            var schema = name == "cursor"
                ? new() { ["type"] = "string", ["maxLength"] = 1000 }
                : _schemas.OfParameter(property.PropertyType, property);
            if ((string?)schema["type"] == "string" && schema["format"] is null && schema["enum"] is null && schema["maxLength"] is null)
                schema["maxLength"] = QueryParameters.MaxText;
            var description = name == "cursor" ? "From the `Link: rel=next` of the page before." : _comments.Of(property);
            var described = new JsonObject { ["name"] = name, ["in"] = "query", ["schema"] = schema };
            if (description is not null)
                described["description"] = description;
            if (OpenApiSchemas.AttributesOf(property).Any(a => a is RequiredAttribute))
                described["required"] = true;
            if (example?[0] == name)
                described["example"] = example[1];
            yield return described;
        }
    }

    private static IEnumerable<(string Name, PropertyInfo Property)> Properties(Type? query, HashSet<string> inPath)
    {
        foreach (var property in query?.GetProperties(BindingFlags.Public | BindingFlags.Instance) ?? [])
        {
            var type = property.PropertyType;
            // A part that several queries share.
            if (type.IsClass && type != typeof(string))
            {
                foreach (var inner in Properties(type, inPath))
                    yield return inner;
                continue;
            }

            var name = OpenApiSchemas.AttributesOf(property).OfType<FromQueryAttribute>().FirstOrDefault()?.Name ?? JsonNamingPolicy.CamelCase.ConvertName(property.Name);
            if (!inPath.Contains(name))
                yield return (name, property);
        }
    }

    private JsonObject? BodyOf(OperationAttribute says, int limit)
    {
        if (says.Body is null)
            return null;
        var schema = _schemas.Of(says.Body, isRead: true);
        if (says.MaxItems > 0)
        {
            schema = new JsonObject
            {
                ["oneOf"] = new JsonArray(
                    schema, new JsonObject { ["type"] = "array", ["minItems"] = 1, ["maxItems"] = says.MaxItems, ["items"] = schema.DeepClone() }),
            };
        }

        var media = new JsonObject { ["schema"] = schema };
        if (says.Example is not null)
            media["example"] = JsonNode.Parse(says.Example);
        return new()
        {
            ["required"] = !says.IsBodyOptional,
            ["description"] = string.Create(CultureInfo.InvariantCulture, $"At most {limit} bytes."),
            ["content"] = new JsonObject { ["application/json"] = media },
            // For machines, as OpenAPI has no word for it.
            ["x-max-bytes"] = limit,
        };
    }

    private JsonObject ResponsesOf(bool isPost, OperationAttribute says, FunctionPolicy policy, bool hasPathParameters, bool isChange, bool isTagged)
    {
        var responses = new JsonObject();
        foreach (var status in new[] { says.Status, says.OtherStatus }.Where(s => s > 0))
            responses[Text(status)] = SuccessOf(status, isPost, says, isTagged);
        if (isTagged)
            responses["304"] = new JsonObject { ["description"] = "The client has this version already.", ["headers"] = References([.. EveryAnswer, "ETag"]) };
        var problems = new SortedSet<int>(says.Problems) { 400, 429 };
        if (policy.Scope is not null)
            problems.UnionWith([401, 403]);
        if (hasPathParameters)
            problems.Add(404);
        if (isPost)
            problems.UnionWith([409, 422]);
        if (says.SignedAs is not null)
            problems.Add(401);
        if (isChange)
            problems.UnionWith([412, 428]);
        if (says.Body is not null)
            problems.UnionWith([413, 415]);
        else if (isPost)
            problems.Add(413);
        foreach (var status in problems)
            responses[Text(status)] = ProblemReference(status);
        responses["default"] = ProblemReference(0);
        return responses;
    }

    private JsonObject SuccessOf(int status, bool isPost, OperationAttribute says, bool isTagged)
    {
        var headers = new List<string>(EveryAnswer);
        // What was made has its first version; what was changed, its next.
        if (status == 201 || (status == 200 && (isTagged || says.Answer?.GetProperty("Version")?.PropertyType == typeof(long))))
            headers.Add("ETag");
        // What will be done can be followed there, unless there is nothing to follow.
        if (status == 201 || (status == 202 && says.Answer is not null))
            headers.Add("Location");
        if (status == 503)
            headers.Add("Retry-After");
        if (isPost)
            headers.Add("Idempotency-Replayed");
        if (Properties(says.Query, []).Any(p => p.Name == "cursor"))
            headers.Add("Link");
        var response = new JsonObject { ["description"] = ReasonPhrases.GetReasonPhrase(status), ["headers"] = References(headers) };
        if (says.Answer is not null)
            response["content"] = new JsonObject(says.OtherMediaTypes.Prepend(says.MediaType).Select(media => KeyValuePair.Create(media, (JsonNode?)ContentOf(media, says))));
        return response;
    }

    private JsonObject ContentOf(string media, OperationAttribute says)
    {
        if (media == says.MediaType && !says.IsStream)
            return new() { ["schema"] = _schemas.Of(says.Answer!, isRead: false) };
        var text = new JsonObject { ["schema"] = new JsonObject { ["type"] = "string" } };
        // What each line or server-sent event of it holds, as OpenAPI has no word for it before 3.2.
        if (media == says.MediaType)
            text["x-item-schema"] = _schemas.Of(says.Answer!, isRead: false);
        return text;
    }

    private JsonObject ProblemReference(int status)
    {
        _problems.Add(status);
        return new() { ["$ref"] = $"#/components/responses/{ProblemName(status)}" };
    }

    private static string ProblemName(int status) => status == 0 ? "Problem" : $"Problem{Text(status)}";

    private static JsonObject ProblemAnswer(int status, JsonNode schema)
    {
        var headers = new List<string>(EveryAnswer);
        if (status is 401 or 403)
            headers.Add("WWW-Authenticate");
        if (status is 409 or 429 or 503 or 0)
            headers.Add("Retry-After");
        return new()
        {
            ["description"] = Reasons.GetValueOrDefault(status) ?? (status == 0 ? "Any other problem." : ReasonPhrases.GetReasonPhrase(status)),
            ["headers"] = References(headers),
            ["content"] = new JsonObject { [ProblemType] = new JsonObject { ["schema"] = schema.DeepClone() } },
        };
    }

    private static JsonObject References(IEnumerable<string> headers) =>
        new(headers.Select(h => KeyValuePair.Create(h, (JsonNode?)new JsonObject { ["$ref"] = $"#/components/headers/{h}" })));

    private static JsonObject Headers()
    {
        return new()
        {
            [ProblemMiddleware.TraceHeader] = Always("The id under which this request is found in logs and traces."),
            ["ETag"] = Always("The version, for `If-Match` and `If-None-Match`."),
            ["Location"] = Always("The path of what was made, or of where to follow what was begun."),
            ["Link"] = Sometimes("The next page, `rel=next`; none on the last."),
            ["Idempotency-Replayed"] = Sometimes("`true` when this is the stored answer of an earlier request with the same key."),
            ["RateLimit"] = Always("How many requests the caller has left, and for how long (seconds)."),
            ["RateLimit-Policy"] = Always("How many requests a caller may make in which time (seconds)."),
            ["Retry-After"] = Sometimes("Seconds after which it can be tried again."),
            ["WWW-Authenticate"] = Sometimes("Which scheme and scope are needed."),
        };

        static JsonObject Sometimes(string description) => new() { ["description"] = description, ["schema"] = new JsonObject { ["type"] = "string" } };

        static JsonObject Always(string description) => new() { ["description"] = description, ["required"] = true, ["schema"] = new JsonObject { ["type"] = "string" } };
    }

    private static JsonObject Header(string name, string description, bool isRequired, JsonObject schema) =>
        new() { ["name"] = name, ["in"] = "header", ["required"] = isRequired, ["description"] = description, ["schema"] = schema };

    /// <summary>The class's comment without the route that it may begin with; its first clause is the summary.</summary>
    private (string? Summary, string? Description) Texts(Type function)
    {
        if (_comments.Of(function) is not { } comment)
            return (null, null);
        var text = RouteInComment().Replace(comment, "");
        text = char.ToUpperInvariant(text[0]) + text[1..];
        // A summary is plain text.
        return (FirstClause().Match(text).Groups[1].Value.Replace("`", "", StringComparison.Ordinal), text);
    }

    [SuppressMessage("Globalization", "CA1308:Normalize strings to uppercase", Justification = "A tag is a word for people.")]
    private static string Tag(Type function)
    {
        var name = function.Namespace!.Split('.')[^1];
        return (name.EndsWith("Functions", StringComparison.Ordinal) ? name[..^"Functions".Length] : name).ToLowerInvariant();
    }

    private static string Text(int status) => status.ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\{(?<name>\w+)(?::[^}]*)?\}")]
    private static partial Regex RouteParameter();

    [GeneratedRegex(@"/?\{\w+(:[^}]*)?\?\}$")]
    private static partial Regex OptionalEnd();

    [GeneratedRegex(@"^(.+?)(?:[.;](?:\s|$)|$)")]
    private static partial Regex FirstClause();

    [GeneratedRegex(@"^(GET|POST|PUT|DELETE|PATCH) \S+?[:,] ")]
    private static partial Regex RouteInComment();
}
