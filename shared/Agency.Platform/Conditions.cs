using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;

namespace Agency.Platform;

/// <summary>Conditional requests, RFC 9110 section 13. An entity tag is the aggregate's version in quotes.</summary>
public static class Conditions
{
    /// <summary>
    /// The versions that the client would change, or null for <c>If-Match: *</c> (whatever it is now). Comparison is strong (RFC 9110, 13.1.1), so
    /// a weak tag stands for no version, and neither does one that is no number.
    /// </summary>
    /// <exception cref="ProblemException">428 without the header; 400 when it is not a list of entity tags.</exception>
    public static long[]? IfMatch(this HttpRequest http)
    {
        var header = http.Headers.IfMatch;
        if (StringValues.IsNullOrEmpty(header))
            throw new ProblemException(Problem.Of(428, "precondition-required", "If-Match is required",
                "Send the entity tag of the version you read in If-Match, so that no other change is overwritten."));
        if (!EntityTagHeaderValue.TryParseStrictList(header, out var tags) || (tags.Count > 1 && tags.Contains(EntityTagHeaderValue.Any)))
            throw new ProblemException(Problem.Of(400, "bad-header", "If-Match is malformed", "If-Match holds entity tags in quotes, with commas between, or *."));
        if (tags is [var only] && only == EntityTagHeaderValue.Any)
            return null;
        return [.. tags.Where(tag => !tag.IsWeak).Select(Version).OfType<long>()];
    }

    /// <summary>Why a change must not be made.</summary>
    /// <param name="expected">What <see cref="IfMatch"/> has answered.</param>
    /// <param name="version">The version of the row, locked; 0 when there is none.</param>
    /// <param name="what">What the row is, for 404.</param>
    /// <returns>404, 412, or null when it may be made.</returns>
    public static Problem? Refusal(long[]? expected, long version, string what) => version == 0 ? Problem.NotFound(what)
        : expected is not null && !expected.Contains(version) ? Stale
        : null;

    /// <summary>412: somebody has changed it since.</summary>
    public static Problem Stale => Problem.Of(412, "precondition-failed", "The resource has changed",
        "If-Match names a version that is not the current one. Read it again and repeat the change.");

    /// <summary>Weak comparison of If-None-Match, as RFC 9110 has it for reads.</summary>
    internal static bool Matches(StringValues ifNoneMatch, string tag)
    {
        if (StringValues.IsNullOrEmpty(ifNoneMatch) || !EntityTagHeaderValue.TryParseList(ifNoneMatch, out var tags))
            return false;
        var current = new EntityTagHeaderValue(tag);
        return tags.Any(one => one == EntityTagHeaderValue.Any || one.Compare(current, useStrongComparison: false));
    }

    private static long? Version(EntityTagHeaderValue tag) =>
        long.TryParse(tag.Tag.AsSpan()[1..^1], NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : null;
}
