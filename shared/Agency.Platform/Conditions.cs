using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Agency.Platform;

/// <summary>Conditional requests, RFC 9110 section 13. An entity tag is the aggregate's version in quotes.</summary>
public static class Conditions
{
    /// <summary>The version that the client last saw, or null for <c>If-Match: *</c> (whatever it is now).</summary>
    /// <exception cref="ProblemException">428 without the header; 400 when it is not one strong entity tag; 412 when it cannot be any version.</exception>
    public static long? IfMatch(this HttpRequest http)
    {
        var header = http.Headers.IfMatch;
        if (StringValues.IsNullOrEmpty(header))
            throw new ProblemException(Problem.Of(428, "precondition-required", "If-Match is required",
                "Send the entity tag of the version you read in If-Match, so that no other change is overwritten."));
        var tag = header.ToString().Trim();
        if (tag == "*")
            return null;
        if (tag.Length < 2 || tag[0] != '"' || tag[^1] != '"' || tag.AsSpan(1, tag.Length - 2).Contains('"'))
            throw new ProblemException(Problem.Of(400, "bad-header", "If-Match is malformed", "If-Match holds one strong entity tag in quotes, or *."));
        return long.TryParse(tag.AsSpan(1, tag.Length - 2), NumberStyles.None, CultureInfo.InvariantCulture, out var version)
            ? version
            : throw new ProblemException(Stale);
    }

    /// <summary>Why a change must not be made.</summary>
    /// <param name="expected">What <see cref="IfMatch"/> has answered.</param>
    /// <param name="version">The version of the row, locked; 0 when there is none.</param>
    /// <param name="what">What the row is, for 404.</param>
    /// <returns>404, 412, or null when it may be made.</returns>
    public static Problem? Refusal(long? expected, long version, string what) => version == 0 ? Problem.NotFound(what)
        : expected is not null && expected != version ? Stale
        : null;

    /// <summary>412: somebody has changed it since.</summary>
    public static Problem Stale => Problem.Of(412, "precondition-failed", "The resource has changed",
        "If-Match names a version that is not the current one. Read it again and repeat the change.");

    /// <summary>Weak comparison of If-None-Match, as RFC 9110 has it for reads.</summary>
    internal static bool Matches(StringValues ifNoneMatch, string tag)
    {
        foreach (var value in ifNoneMatch)
        {
            foreach (var candidate in value!.Split(','))
            {
                var text = candidate.AsSpan().Trim();
                if (text is "*" || (text.StartsWith("W/") ? text[2..] : text).SequenceEqual(tag))
                    return true;
            }
        }

        return false;
    }
}
