using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Agency.Platform;
using Microsoft.AspNetCore.Http;

namespace Agency.Analytics;

/// <summary>The part of a question that says in which format the answer shall be.</summary>
/// <param name="Format"><c>json</c> is all of the answer; <c>ndjson</c> and <c>csv</c> are files of its rows alone.</param>
/// <param name="Rows">
/// Which part of the answer is the rows of a file. When it is left out, it is the breakdown if one was asked for, else the part that the
/// question is about, such as the series, steps, paths or cohorts. In CSV a breakdown is without the series of its values.
/// </param>
public sealed record AnswerFormat(
    [AllowedValues("json", "ndjson", "csv"), DefaultValue("json")] string Format, [AllowedValues("series", "breakdown", "totals")] string? Rows)
{
    /// <summary>One JSON text in each line.</summary>
    public const string Ndjson = "application/x-ndjson";

    private const string Breakdown = "breakdown";

    public static AnswerFormat Of(QueryParameters parameters) => new(
        parameters.OneOf("format", "json", "json", "ndjson", "csv"),
        parameters.OneOf("rows", "", "series", "breakdown", "totals") is { Length: > 0 } rows ? rows : null);

    /// <summary>A 200 in this format. Its operation says <c>OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType]</c>.</summary>
    /// <param name="rows">The array in the answer that the question is about, by its name in JSON.</param>
    /// <exception cref="ProblemException">400 on <c>rows</c>: the answer has none of these.</exception>
    public Answer Answer<T>(HttpRequest http, T answer, JsonTypeInfo<T> json, string rows)
    {
        if (Format == "json")
            return Platform.Answer.Ok(answer, json);
        var whole = JsonSerializer.SerializeToElement(answer, json);
        // An answer has a breakdown when one was asked for. That of events is their top values.
        var part = Rows ?? (whole.TryGetProperty(Breakdown, out _) ? Breakdown : rows);
        if (part == Breakdown && json.Properties.Any(p => p.Name == "top"))
            part = "top";
        if (!whole.TryGetProperty(part, out var chosen))
            throw QueryParameters.Wrong("rows", $"This answer has no {Rows}. A series needs interval, and a breakdown breakdown.");
        var type = json.Options.GetTypeInfo(json.Properties.Single(p => p.Name == part).PropertyType);
        var (all, row) = chosen.ValueKind == JsonValueKind.Array ? (chosen.EnumerateArray().ToList(), json.Options.GetTypeInfo(type.ElementType!)) : ([chosen], type);
        return Format == "ndjson"
            ? Platform.Answer.Document(Encoding.UTF8.GetBytes(string.Concat(all.Select(r => r.GetRawText() + "\n"))), $"{Ndjson}; charset=utf-8", FileName(http, "ndjson"))
            : Platform.Answer.Document(Encoding.UTF8.GetBytes(Csv.Of(row, all)), Csv.ContentType, FileName(http, "csv"));
    }

    /// <summary>Named after the route's last word.</summary>
    public static string FileName(HttpRequest http, string extension) =>
        $"{string.Concat(http.Path.Value!.Split('/')[^1].Where(char.IsAsciiLetterOrDigit))}.{extension}";
}
