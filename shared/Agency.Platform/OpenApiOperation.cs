namespace Agency.Platform;

/// <summary>
/// What a client must know of an HTTP function and cannot see from its route, scope and body limit. It is what <c>/openapi.json</c>,
/// the check of query parameters and the conformance tests go by.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class OperationAttribute : Attribute
{
    /// <summary>What the body is read as; null when the route takes none. <c>JsonElement</c> stands for any JSON.</summary>
    public Type? Body { get; init; }

    /// <summary>The body may be left out.</summary>
    public bool IsBodyOptional { get; init; }

    /// <summary>More than 0: the body is one <see cref="Body"/> or an array of at most so many.</summary>
    public int MaxItems { get; init; }

    /// <summary>
    /// The query. Its properties are the query parameters, but for those that the path has; a property whose name differs from its
    /// parameter's has <c>[FromQuery(Name = ...)]</c>. Null when the route takes no parameters.
    /// </summary>
    public Type? Query { get; init; }

    /// <summary>A parameter as <c>name=value</c>, where a route needs one of several and so requires none of them.</summary>
    public string? QueryExample { get; init; }

    /// <summary>What the answer's body holds; null when it has none.</summary>
    public Type? Answer { get; init; }

    public string MediaType { get; init; } = "application/json";

    /// <summary>Media types in which a client may have the same answer, by a query parameter of the route.</summary>
    public string[] OtherMediaTypes { get; init; } = [];

    /// <summary>
    /// The answer goes on while it is being made, one <see cref="Answer"/> after the other, and so has no entity tag. See
    /// <see cref="StreamedAnswer"/>.
    /// </summary>
    public bool IsStream { get; init; }

    /// <summary>The status of success.</summary>
    public int Status { get; init; } = 200;

    /// <summary>A second status with the same body; 0 when there is none.</summary>
    public int OtherStatus { get; init; }

    /// <summary>Problems beyond those that follow from the conventions.</summary>
    public int[] Problems { get; init; } = [];

    /// <summary>A PUT or DELETE that needs no <c>If-Match</c>, because what it changes has no versions.</summary>
    public bool IsUnconditional { get; init; }

    /// <summary>
    /// The caller is a service that signs after Standard Webhooks, in headers whose names begin with this; it repeats a request by the
    /// message's id and so sends no <c>Idempotency-Key</c>. Null: callers are people and machines with tokens.
    /// </summary>
    public string? SignedAs { get; init; }

    /// <summary>A body as JSON, where the schema alone does not tell what one looks like.</summary>
    public string? Example { get; init; }
}
