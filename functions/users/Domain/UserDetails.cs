using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text;
using Agency.Platform;
using Npgsql;

namespace Agency.Users;

/// <summary>What a client says of a user, when it creates one and when it replaces one.</summary>
/// <param name="Email">One address, without a display name; unique in the organisation whatever its case.</param>
/// <param name="Country">ISO 3166-1 alpha-2.</param>
/// <param name="Tags">Each of at most 50 characters, none twice.</param>
/// <param name="ExternalId">The id that the organisation's own system has for the user; unique in the organisation.</param>
/// <param name="ReferredBy">The user who brought this one.</param>
// The attributes are what clients are told; what counts is Checked, which trims first.
public record UserDetails(
    [EmailAddress, MaxLength(EmailAddress.MaxLength)] string Email, [StringLength(200, MinimumLength = 1)] string Name,
    [RegularExpression("[A-Za-z]{2}")] string? Country = null, [MaxLength(UserDetails.MaxTags)] IReadOnlyList<string>? Tags = null,
    [StringLength(200, MinimumLength = 1)] string? ExternalId = null, Guid? ReferredBy = null)
{
    public const int MaxTags = 20;

    /// <summary>Characters.</summary>
    public const int MaxName = 200;

    /// <summary>The same as it is stored: texts trimmed, the country in upper case.</summary>
    /// <exception cref="ProblemException">400 naming every field that breaks a rule.</exception>
    public UserDetails Checked()
    {
        var errors = new Dictionary<string, string[]>();
        var email = Text("email", Email, EmailAddress.MaxLength, errors);
        if (!errors.ContainsKey("email") && !EmailAddress.IsValid(email))
            errors["email"] = ["Must be one address such as ada@example.com, without a display name."];
        var country = Country?.Trim().ToUpperInvariant();
        if (country is not null && !Countries.IsCode(country))
            errors["country"] = ["Must be an ISO 3166-1 alpha-2 code such as GB."];
        var details = new UserDetails(
            email, Text("name", Name, MaxName, errors), country, CheckedTags(errors),
            ExternalId is null ? null : Text("externalId", ExternalId, 200, errors), ReferredBy);
        return errors.Count == 0 ? details : throw new ProblemException(Problem.Validation(errors));
    }

    private List<string> CheckedTags(Dictionary<string, string[]> errors)
    {
        var tags = (Tags ?? []).Take(MaxTags + 1).Select(tag => Text("tags", tag, 50, errors)).ToList();
        if (tags.Count > MaxTags)
            errors["tags"] = [$"At most {MaxTags}."];
        else if (!errors.ContainsKey("tags") && tags.GroupBy(tag => tag, StringComparer.Ordinal).FirstOrDefault(same => same.Skip(1).Any()) is { } twice)
            errors["tags"] = [$"Holds {twice.Key} more than once."];
        return tags;
    }

    private static string Text(string field, string? value, int maxLength, Dictionary<string, string[]> errors)
    {
        var text = value?.Trim() ?? "";
        if (text.Length == 0 || text.Length > maxLength)
            errors[field] = [$"Must have 1 to {maxLength} characters, not counting spaces around them."];
        // A NUL cannot be stored; the others have no place in a line of text and forge log lines and mail headers.
        else if (text.Any(char.IsControl))
            errors[field] = ["Must not contain control characters."];
        return text;
    }
}

/// <summary>
/// Which texts are an email address: the dot-atom form of RFC 5322 with letters of any script (RFC 6531), at a domain of two labels
/// or more. Quoted local parts, comments and address literals are not taken, as no mail service that people use hands them out.
/// </summary>
public static class EmailAddress
{
    /// <summary>Characters; what fits in the path of RFC 5321.</summary>
    public const int MaxLength = 254;

    public static bool IsValid(string text)
    {
        var at = text.IndexOf('@', StringComparison.Ordinal);
        if (at is < 1 or > 64 || text.Length > MaxLength)
            return false;
        var local = text[..at].Split('.');
        var domain = text[(at + 1)..].Split('.');
        return local.All(atom => atom.Length > 0 && atom.EnumerateRunes().All(r => IsWord(r) || "!#$%&'*+-/=?^_`{|}~".Contains(r.ToString(), StringComparison.Ordinal)))
            && domain.Length > 1 && domain.All(IsLabel) && !domain[^1].All(char.IsAsciiDigit);
    }

    /// <summary>The part after the @, in lower case.</summary>
    public static string Domain(string address) => address[(address.LastIndexOf('@') + 1)..].ToLowerInvariant();

    private static bool IsLabel(string label) =>
        label.Length is > 0 and <= 63 && label[0] != '-' && label[^1] != '-' && label.EnumerateRunes().All(r => r.Value == '-' || IsWord(r));

    private static bool IsWord(Rune r) => Rune.IsLetterOrDigit(r) || Rune.GetUnicodeCategory(r) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark;
}

/// <summary>Why the database did not take a user.</summary>
public static class UserProblems
{
    public static Problem NoSuchReferrer => Problem.Validation("referredBy", "There is no such user.");

    /// <summary>The 409 for a broken unique index; null when it is another failure. The names are those of the migration.</summary>
    public static Problem? For(PostgresException failure) => failure.ConstraintName switch
    {
        "users_by_email" => Problem.Of(409, "email-taken", "The email is taken", "Another user of this organisation has this email."),
        "users_by_external_id" => Problem.Of(409, "external-id-taken", "The external id is taken", "Another user of this organisation has this external id."),
        _ => null,
    };
}
