using Microsoft.Extensions.Configuration;

namespace Agency.Platform;

/// <summary>How webhooks are delivered.</summary>
/// <param name="AllowPrivateTargets">True to let them go to private addresses and over plain HTTP: for development, and where all organisations are trusted.</param>
/// <param name="Timeout">What a receiver has for its answer, from the connection on.</param>
/// <param name="Retries">The waits after the first, second, ... failure. After one more failure the delivery has failed.</param>
public sealed record WebhookOptions(bool AllowPrivateTargets, TimeSpan Timeout, IReadOnlyList<TimeSpan> Retries)
{
    public static WebhookOptions Default { get; } = new(false, TimeSpan.FromSeconds(15),
    [
        TimeSpan.FromSeconds(5), TimeSpan.FromMinutes(5), TimeSpan.FromMinutes(30), TimeSpan.FromHours(2), TimeSpan.FromHours(5),
        TimeSpan.FromHours(10), TimeSpan.FromHours(14), TimeSpan.FromHours(20), TimeSpan.FromHours(24),
    ]);

    /// <summary>A sender that has not said how its attempt ended in this time is taken for dead.</summary>
    public TimeSpan Lease => Timeout + TimeSpan.FromSeconds(15);

    /// <summary>Reads <c>Webhooks:AllowPrivateTargets</c> and <c>Webhooks:Timeout</c>.</summary>
    /// <exception cref="InvalidOperationException">A setting is malformed.</exception>
    public static WebhookOptions From(IConfiguration settings) => Default with
    {
        AllowPrivateTargets = settings.GetValue("Webhooks:AllowPrivateTargets", false),
        Timeout = settings.GetValue("Webhooks:Timeout", Default.Timeout),
    };

    /// <summary>The wait before the next attempt, up to a fifth longer by chance so that receivers are not met by waves; null when it was the last.</summary>
    /// <param name="tries">Attempts so far, from 1.</param>
    /// <param name="chance">From 0 to 1.</param>
    public TimeSpan? DelayAfter(int tries, double chance) => tries <= Retries.Count ? Retries[tries - 1] * (1 + (chance / 5)) : null;
}
