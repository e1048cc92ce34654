using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Agency.Platform;

/// <summary>
/// What a step of a saga does. It is made anew for each attempt, from the attempt's scope, as the saga's organisation. What it changes
/// through the scope's <see cref="UnitOfWork"/> commits together with the saga's move to the next step, so exactly once; it need not
/// open a transaction. What it does elsewhere may happen more than once, so it passes on <see cref="ActivityContext.IdempotencyKey"/>.
/// An attempt that throws must leave nothing behind elsewhere, as only steps that succeeded are taken back.
/// </summary>
public interface IActivity
{
    /// <param name="context">Which saga and step, and what is known so far.</param>
    /// <param name="cancel">Cancelled when the attempt takes too long or the process must end. Must be honoured.</param>
    /// <exception cref="PermanentFailureException">To try again would not help.</exception>
    Task RunAsync(ActivityContext context, CancellationToken cancel);
}

/// <summary>The name by which steps call an activity. A class may have several and look at <see cref="ActivityContext.Activity"/>.</summary>
[AttributeUsage(AttributeTargets.Class, AllowMultiple = true)]
public sealed class ActivityAttribute(string name) : Attribute
{
    public string Name { get; } = name;
}

/// <summary>Ends the attempts at a step at once; the saga turns back. An undo is tried again all the same.</summary>
public sealed class PermanentFailureException(string message, Exception? cause = null) : Exception(message, cause);

/// <summary>One attempt at a step of a saga.</summary>
/// <param name="tenant">The organisation.</param>
/// <param name="sagaId">The saga.</param>
/// <param name="step">The step.</param>
/// <param name="activity">The activity: the step's, or its undo.</param>
/// <param name="isUndo">True when the step is being taken back.</param>
/// <param name="attempt">From 1.</param>
/// <param name="input">The saga's input, JSON.</param>
/// <param name="data">The results so far, by step.</param>
public sealed class ActivityContext(
    string tenant, string sagaId, string step, string activity, bool isUndo, int attempt, ReadOnlyMemory<byte> input,
    IReadOnlyDictionary<string, JsonElement> data)
{
    public string SagaId { get; } = sagaId;

    /// <summary>The step; in an undo, the step that is taken back.</summary>
    public string Step { get; } = step;

    /// <summary>The name that this activity is called by.</summary>
    public string Activity { get; } = activity;

    /// <summary>From 1.</summary>
    public int Attempt { get; } = attempt;

    /// <summary>
    /// The same in every attempt, and of nothing else: organisation (systems outside may be shared by several), saga and step; an undo's
    /// is another than its step's.
    /// </summary>
    public string IdempotencyKey { get; } = isUndo ? $"{tenant}/{sagaId}/{step}/undo" : $"{tenant}/{sagaId}/{step}";

    /// <summary>The result, once <see cref="Return"/> has been called.</summary>
    public JsonElement? Returned { get; private set; }

    /// <summary>What the saga was started with.</summary>
    /// <exception cref="JsonException">It does not have this shape.</exception>
    public T Input<T>(JsonTypeInfo<T> json) => JsonSerializer.Deserialize(input.Span, json)!;

    /// <summary>What an earlier step has returned, or came with its signal; the default when it gave nothing.</summary>
    /// <exception cref="JsonException">It does not have this shape.</exception>
    public T? Result<T>(string step, JsonTypeInfo<T> json) => data.TryGetValue(step, out var value) ? value.Deserialize(json) : default;

    /// <summary>Leaves a result to later steps and to this step's undo. Ignored in an undo.</summary>
    public void Return<T>(T value, JsonTypeInfo<T> json) => Returned = JsonSerializer.SerializeToElement(value, json);
}
