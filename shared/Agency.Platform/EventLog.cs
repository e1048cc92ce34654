using Microsoft.Azure.Functions.Worker;

namespace Agency.Platform;

/// <summary>What a consumer group wants of the log.</summary>
/// <param name="Topic">The topic it reads; when it begins with ^, a regular expression for the topics that it reads.</param>
/// <param name="Group">The name that its offset and inbox are kept under.</param>
/// <param name="IsBatched">True when <paramref name="Deliver"/> takes many records, false when one.</param>
/// <param name="Deliver">Hands records to the function. When it throws, they will be delivered again.</param>
public sealed record LogSubscription(string Topic, string Group, bool IsBatched, Func<IReadOnlyList<KafkaRecord>, Task> Deliver);

/// <summary>The port of the event log: at least once, in order for each subject.</summary>
public interface IEventLog
{
    /// <summary>Delivers until <paramref name="stopping"/>, and returns when what is in flight has ended.</summary>
    Task SubscribeAsync(LogSubscription subscription, CancellationToken stopping);
}
