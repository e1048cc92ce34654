using System.ComponentModel.DataAnnotations;
using Agency.Platform;

namespace Agency.Analytics;

/// <param name="AnonymousId">What the visitor was tracked by until now.</param>
/// <param name="UserId">Who it is, in the organisation's own system.</param>
public sealed record IdentifyVisitorCommand(
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string AnonymousId,
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string UserId);

/// <param name="PreviousId">A user id that will not be used any more, or is another's of the same person.</param>
/// <param name="UserId">The one that stands for the person.</param>
public sealed record AliasUserCommand(
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string PreviousId,
    [StringLength(EventReader.MaxText, MinimumLength = 1)] string UserId);

/// <summary>Ids as <see cref="EventReader"/> takes them, and what may be wrong with joining them.</summary>
public static class PersonIds
{
    /// <summary>The id is known to be somebody else's.</summary>
    public static Problem Taken { get; } = Problem.Of(
        409, "identity-taken", "The id is another user's", "This id has been joined to another user before; what was theirs cannot become somebody else's.");

    /// <summary>A purge of the person is under way.</summary>
    public static Problem BeingPurged { get; } = Problem.Of(
        409, "being-purged", "The person's data is being removed", "A purge of this person is running. Send the request again once it is done.") with
    { RetryAfter = 10 };

    /// <exception cref="ProblemException">400: blank, too long, or with control characters.</exception>
    public static void Check(params ReadOnlySpan<(string Field, string Id)> ids)
    {
        foreach (var (field, id) in ids)
            if (!EventReader.IsText(id))
                throw new ProblemException(Problem.Validation(field, $"Must be 1 to {EventReader.MaxText} characters, not blank, without control characters."));
    }
}
