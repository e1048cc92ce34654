using System.Text.Json;
using System.Text.Json.Serialization;

namespace Agency.Platform;

/// <summary>
/// The port of the saga engine. All of it runs on behalf of the <see cref="Caller"/>: an id of another organisation is unknown. Each
/// call joins the open transaction of the <see cref="UnitOfWork"/>, if there is one, and takes effect when that commits.
/// </summary>
public interface ISagaEngine
{
    /// <summary>Starts a saga. Where one of this id exists, running or ended, nothing happens.</summary>
    /// <returns>Its id; see <see cref="Saga.IdOf"/>.</returns>
    /// <exception cref="ArgumentException">The key does not fit in a path.</exception>
    /// <exception cref="InvalidOperationException">The id belongs to a saga of another name.</exception>
    Task<string> StartAsync<TInput>(SagaDefinition<TInput> saga, string key, TInput input, CancellationToken cancel);

    /// <summary>Tells a saga something. It is kept until the saga waits for it; the first of a name counts, later ones change nothing.</summary>
    /// <param name="id">The saga.</param>
    /// <param name="signal">A name that the saga waits for, now, later or before.</param>
    /// <param name="data">JSON that becomes the result of the step that waits; empty when there is none.</param>
    /// <param name="cancel">Ends the call.</param>
    Task<SagaReply> SignalAsync(string id, string signal, ReadOnlyMemory<byte> data, CancellationToken cancel);

    /// <summary>
    /// Asks a saga to stop and take back what it did. An attempt in progress is let end first, and is taken back too when it succeeds.
    /// Asking again changes nothing.
    /// </summary>
    Task<SagaReply> CancelAsync(string id, CancellationToken cancel);

    /// <summary>Where a saga is, or null when it is unknown.</summary>
    Task<SagaDto?> FindAsync(string id, CancellationToken cancel);
}

/// <summary>What became of a signal or a cancellation.</summary>
public enum SagaReply
{
    /// <summary>It is kept, and will have its effect.</summary>
    Accepted,

    /// <summary>The organisation has no saga of this id.</summary>
    Unknown,

    /// <summary>The saga never waits for such a signal.</summary>
    NoSuchSignal,

    /// <summary>The saga has ended.</summary>
    Finished,
}

/// <summary>How far a saga is.</summary>
[JsonConverter(typeof(KebabCaseEnumConverter<SagaStatus>))]
public enum SagaStatus
{
    /// <summary>On its way, or waiting.</summary>
    Running,

    /// <summary>Taking back what it did.</summary>
    Compensating,

    /// <summary>Ended with its last step, or early as a wait said.</summary>
    Completed,

    /// <summary>Ended after a failure; all is taken back.</summary>
    Compensated,

    /// <summary>Ended on request; all is taken back.</summary>
    Cancelled,

    /// <summary>Ended where it was, with nothing taken back, as what is stored of it cannot be read; the error says why.</summary>
    Failed,
}

/// <summary>Something that happened to a saga.</summary>
[JsonConverter(typeof(KebabCaseEnumConverter<SagaEventKind>))]
public enum SagaEventKind
{
    /// <summary>The saga began.</summary>
    Started,

    /// <summary>A step is done: its activity succeeded, its signal was taken or its time passed.</summary>
    Completed,

    /// <summary>An attempt failed; the error says how.</summary>
    Failed,

    /// <summary>The process ended during an attempt.</summary>
    Interrupted,

    /// <summary>A signal came; the step is its name.</summary>
    Signalled,

    /// <summary>A signal did not come in time.</summary>
    TimedOut,

    /// <summary>Somebody asked the saga to stop.</summary>
    CancelRequested,

    /// <summary>The saga turned back; the error says why.</summary>
    Compensating,

    /// <summary>A step is taken back.</summary>
    Undone,

    /// <summary>An attempt to take a step back failed; it will be tried again.</summary>
    UndoFailed,

    /// <summary>The saga has ended.</summary>
    Finished,
}

/// <summary>A saga.</summary>
/// <param name="Step">The current step's name; while compensating, the step being taken back; null when ended.</param>
/// <param name="Attempt">How many attempts at the step have begun.</param>
/// <param name="WaitingFor">The signal that it waits for.</param>
/// <param name="NextDueAt">When it goes on by itself: a timer, a time-out, the next attempt. Null when only a signal moves it, or nothing.</param>
/// <param name="Error">Why the last attempt failed, or why the saga turned back.</param>
/// <param name="Version">Plus one with each change; the entity tag.</param>
/// <param name="History">The latest 1,000 entries, oldest first.</param>
public sealed record SagaDto(
    string Id, string Name, SagaStatus Status, string? Step, int Attempt, string? WaitingFor, DateTimeOffset? NextDueAt, string? Error,
    long Version, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, DateTimeOffset? FinishedAt, IReadOnlyList<SagaEntryDto> History);

/// <summary>One entry of a saga's history.</summary>
/// <param name="Step">Null where it concerns the whole saga.</param>
/// <param name="Attempt">From 1; null where nothing was attempted.</param>
public sealed record SagaEntryDto(string? Step, SagaEventKind Kind, DateTimeOffset At, int? Attempt, string? Error);

/// <summary>Names a saga in an answer.</summary>
public sealed record SagaLink(string Id);

public static class SagaReplies
{
    /// <summary>202, or the problem: 404 for an unknown saga or signal, 409 for one that has ended.</summary>
    public static Answer ToAnswer(this SagaReply reply, string id) => reply switch
    {
        SagaReply.Accepted => Answer.Accepted($"/sagas/{id}", new SagaLink(id), SagaJson.Default.SagaLink),
        SagaReply.Unknown => Problem.NotFound("saga").ToAnswer(),
        SagaReply.NoSuchSignal => Problem.NotFound("signal in this saga").ToAnswer(),
        _ => Problem.Of(409, "saga-finished", "The saga has ended", "It takes no signals any more and cannot be cancelled.").ToAnswer(),
    };
}

/// <summary>Writes an enum's names as words: <c>timed-out</c>.</summary>
public sealed class KebabCaseEnumConverter<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.KebabCaseLower)
    where T : struct, Enum;

/// <summary>The JSON of sagas.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(SagaDto))]
[JsonSerializable(typeof(SagaLink))]
[JsonSerializable(typeof(SagaDefinition))]
[JsonSerializable(typeof(Dictionary<string, JsonElement>))]
public sealed partial class SagaJson : JsonSerializerContext;
