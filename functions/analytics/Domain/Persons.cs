using System.ComponentModel.DataAnnotations;
using Agency.Platform;

namespace Agency.Analytics;

/// <param name="AnonymousId">What the visitor was tracked by until now.</param>
/// <param name="UserId">Who it is, in the organisation's own system.</param>
public sealed record IdentifyVisitorCommand(
    [Required, StringLength(EventReader.MaxText, MinimumLength = 1), VisitorId] string AnonymousId,
    [Required, StringLength(EventReader.MaxText, MinimumLength = 1), VisitorId] string UserId);

/// <param name="PreviousId">A user id that will not be used any more, or is another's of the same person.</param>
/// <param name="UserId">The one that stands for the person.</param>
public sealed record AliasUserCommand(
    [Required, StringLength(EventReader.MaxText, MinimumLength = 1), VisitorId] string PreviousId,
    [Required, StringLength(EventReader.MaxText, MinimumLength = 1), VisitorId] string UserId);

/// <summary>The answer of <c>POST /identify</c> and <c>POST /alias</c>.</summary>
/// <param name="Id">The id that now is another's.</param>
/// <param name="UserId">Whose.</param>
public sealed record IdentityDto(string Id, string UserId)
{
    /// <summary>The id is known to be somebody else's.</summary>
    public static Problem Taken { get; } = Problem.Of(
        409, "identity-taken", "The id is another user's", "This id has been joined to another user before; what was theirs cannot become somebody else's.");
}

/// <summary>An id as <see cref="EventReader"/> takes it: not blank, without control characters.</summary>
[AttributeUsage(AttributeTargets.Property | AttributeTargets.Parameter)]
public sealed class VisitorIdAttribute() : ValidationAttribute("Must not be blank and must not hold control characters.")
{
    public override bool IsValid(object? value) => value is not string id || EventReader.IsText(id);
}
