using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;

namespace Agency.Platform;

/// <summary>
/// A saga of a function app, found by the worker. A class, so that its timers' lengths can come from the configuration; it is made
/// once for each process.
/// </summary>
public interface ISaga
{
    SagaDefinition Definition { get; }
}

/// <summary>Where the declaration of a saga begins.</summary>
public static partial class Saga
{
    /// <summary>A saga without steps yet; each call on it answers a longer one.</summary>
    /// <param name="name">Lower case, digits and hyphens, at most 63 characters. Stable: running sagas are found by it.</param>
    /// <param name="input">How the input is written.</param>
    /// <exception cref="ArgumentException">The name is not of that form.</exception>
    public static SagaDefinition<TInput> Define<TInput>(string name, JsonTypeInfo<TInput> input)
    {
        CheckName(name);
        return new(name, [], input);
    }

    /// <summary>The id of the saga that an organisation has for this key.</summary>
    /// <param name="name">The definition's name.</param>
    /// <param name="key">What it is about, such as an order's id: 1 to 200 letters, digits and <c>-_.:</c>, so that the id fits in a path.</param>
    /// <exception cref="ArgumentException">The key is not of that form.</exception>
    public static string IdOf(string name, string key) => Key.IsMatch(key)
        ? $"{name}-{key}"
        : throw new ArgumentException($"The key '{key}' of saga {name} must be 1 to 200 letters, digits, or one of -_.: characters.", nameof(key));

    internal static void CheckName(string name)
    {
        if (!Name.IsMatch(name))
            throw new ArgumentException($"'{name}' names no saga, step or activity: use lower case letters, digits and hyphens, at most 63.", nameof(name));
    }

    [GeneratedRegex(@"^[a-z][a-z0-9-]{0,62}\z", RegexOptions.CultureInvariant)]
    private static partial Regex Name { get; }

    [GeneratedRegex(@"^[A-Za-z0-9_.:-]{1,200}\z", RegexOptions.CultureInvariant)]
    private static partial Regex Key { get; }
}

/// <summary>How often, and how far apart, a failing activity is tried.</summary>
/// <param name="MaxAttempts">After so many the saga is compensated. An undo is not bound by it: it is tried until it succeeds.</param>
/// <param name="FirstDelay">Before the second attempt; doubles with each, less up to half of it by chance.</param>
/// <param name="MaxDelay">The longest wait between two attempts.</param>
public sealed record RetryPolicy(int MaxAttempts, TimeSpan FirstDelay, TimeSpan MaxDelay)
{
    public static RetryPolicy Default { get; } = new(5, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(1));

    /// <summary>The wait after so many attempts, with equal jitter: between half and all of the doubled delay.</summary>
    /// <param name="attempts">From 1.</param>
    /// <param name="chance">From 0 to 1.</param>
    public TimeSpan DelayAfter(int attempts, double chance) =>
        TimeSpan.FromSeconds(Math.Min(MaxDelay.TotalSeconds, FirstDelay.TotalSeconds * Math.Pow(2, Math.Min(attempts - 1, 60))) * (0.5 + (chance / 2)));
}

/// <summary>What becomes of a saga whose signal does not come in time.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Otherwise>))]
public enum Otherwise
{
    /// <summary>What was done is undone, and the saga ends as compensated.</summary>
    Compensate,

    /// <summary>The next step follows, as if the signal had come.</summary>
    Continue,

    /// <summary>The saga ends as completed; nothing is undone.</summary>
    End,
}

/// <summary>One step of a saga.</summary>
/// <param name="Name">Unique in its saga. A wait is named after its signal.</param>
[JsonDerivedType(typeof(ActivityStep), "activity")]
[JsonDerivedType(typeof(WaitStep), "wait")]
[JsonDerivedType(typeof(DelayStep), "delay")]
public abstract record SagaStep(string Name);

/// <summary>Runs the activity of the step's name.</summary>
/// <param name="Undo">The activity that takes it back; null when there is nothing to take back.</param>
/// <param name="Retry">How it is tried again.</param>
/// <param name="Timeout">How long one attempt, of the activity or of its undo, may take.</param>
public sealed record ActivityStep(string Name, string? Undo, RetryPolicy Retry, TimeSpan Timeout) : SagaStep(Name)
{
    /// <summary>How long one attempt may take unless the step says otherwise.</summary>
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromMinutes(5);
}

/// <summary>Waits for a signal; what comes with it is this step's result.</summary>
/// <param name="Timeout">Null to wait for ever.</param>
public sealed record WaitStep(string Name, TimeSpan? Timeout, Otherwise Otherwise) : SagaStep(Name);

/// <summary>Lets time pass, across restarts.</summary>
public sealed record DelayStep(string Name, TimeSpan Delay) : SagaStep(Name);

/// <summary>
/// A saga as data, which any engine can run. It is stored with each saga that starts, which so ends as it began, whatever a later
/// version of the definition says.
/// </summary>
public class SagaDefinition
{
    [JsonConstructor]
    internal SagaDefinition(string name, IReadOnlyList<SagaStep> steps)
    {
        Name = name;
        Steps = steps;
    }

    public string Name { get; }

    public IReadOnlyList<SagaStep> Steps { get; }

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, SagaJson.Default.SagaDefinition);

    public static SagaDefinition FromJson(ReadOnlySpan<byte> json) => JsonSerializer.Deserialize(json, SagaJson.Default.SagaDefinition)!;

    /// <summary>The last step before <paramref name="index"/> that has an undo, or null.</summary>
    public int? UndoBefore(int index)
    {
        for (var i = index - 1; i >= 0; i--)
            if (Steps[i] is ActivityStep { Undo: not null })
                return i;
        return null;
    }

    /// <summary>The activities that it needs, undos included.</summary>
    internal IEnumerable<string> Activities() => Steps.OfType<ActivityStep>().SelectMany(s => s.Undo is null ? [s.Name] : new[] { s.Name, s.Undo });
}

/// <summary>A definition that knows its input. Immutable: each call answers a longer one.</summary>
public sealed class SagaDefinition<TInput> : SagaDefinition
{
    internal SagaDefinition(string name, IReadOnlyList<SagaStep> steps, JsonTypeInfo<TInput> input)
        : base(name, steps) => Input = input;

    [JsonIgnore]
    public JsonTypeInfo<TInput> Input { get; }

    /// <summary>Runs the activity <paramref name="name"/>.</summary>
    /// <param name="undo">The activity that takes it back when a later step fails for good or the saga is cancelled.</param>
    /// <param name="retry">How it is tried again; <see cref="RetryPolicy.Default"/> unless given.</param>
    /// <param name="timeout">How long one attempt may take; five minutes unless given, at most a day.</param>
    /// <exception cref="ArgumentException">The name is malformed or taken, or a number makes no sense.</exception>
    public SagaDefinition<TInput> Step(string name, string? undo = null, RetryPolicy? retry = null, TimeSpan? timeout = null)
    {
        if (undo is not null)
            Saga.CheckName(undo);
        retry ??= RetryPolicy.Default;
        if (retry.MaxAttempts < 1 || retry.FirstDelay < TimeSpan.Zero || retry.MaxDelay < retry.FirstDelay)
            throw new ArgumentException($"Step {name} of saga {Name} needs at least one attempt and 0 <= first delay <= longest delay.", nameof(retry));
        return With(new ActivityStep(name, undo, retry, Within(name, timeout ?? ActivityStep.DefaultTimeout, days: 1)));
    }

    /// <summary>Waits for a signal, also one that has come before.</summary>
    /// <param name="signal">The signal's name, which is the step's.</param>
    /// <param name="timeout">Null to wait for ever.</param>
    /// <param name="otherwise">What to do when it does not come in time.</param>
    /// <exception cref="ArgumentException">The name is malformed or taken, or the time is not positive or beyond ten years.</exception>
    public SagaDefinition<TInput> WaitFor(string signal, TimeSpan? timeout = null, Otherwise otherwise = Otherwise.Compensate) =>
        With(new WaitStep(signal, timeout is { } t ? Within(signal, t) : null, otherwise));

    /// <summary>Lets time pass.</summary>
    /// <exception cref="ArgumentException">The name is malformed or taken, or the time is not positive or beyond ten years.</exception>
    public SagaDefinition<TInput> Delay(string name, TimeSpan delay) => With(new DelayStep(name, Within(name, delay)));

    private SagaDefinition<TInput> With(SagaStep step)
    {
        Saga.CheckName(step.Name);
        if (Steps.Any(s => s.Name == step.Name))
            throw new ArgumentException($"Saga {Name} has two steps named {step.Name}.");
        return new(Name, [.. Steps, step], Input);
    }

    private TimeSpan Within(string step, TimeSpan time, int days = 3650) => time > TimeSpan.Zero && time <= TimeSpan.FromDays(days)
        ? time
        : throw new ArgumentException($"The time of step {step} of saga {Name} must be more than zero and at most {days} days.");
}
