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
public sealed record AnswerFormat([AllowedValues("json", "ndjson", "csv"), DefaultValue("json")] string Format)
{
    /// <summary>One JSON text in each line.</summary>
    public const string Ndjson = "application/x-ndjson";

    public static AnswerFormat Of(QueryParameters parameters) => new(parameters.OneOf("format", "json", "json", "ndjson", "csv"));

    /// <summary>A 200 in this format. Its operation says <c>OtherMediaTypes = [AnswerFormat.Ndjson, Csv.MediaType]</c>.</summary>
    /// <param name="rows">The array in the answer that is its rows, by its name in JSON.</param>
    public Answer Answer<T>(HttpRequest http, T answer, JsonTypeInfo<T> json, string rows)
    {
        if (Format == "json")
            return Platform.Answer.Ok(answer, json);
        var all = JsonSerializer.SerializeToElement(answer, json).GetProperty(rows).EnumerateArray().ToList();
        if (Format == "ndjson")
            return Platform.Answer.Document(Encoding.UTF8.GetBytes(string.Concat(all.Select(row => row.GetRawText() + "\n"))), $"{Ndjson}; charset=utf-8", FileName(http, "ndjson"));
        var list = json.Options.GetTypeInfo(json.Properties.Single(p => p.Name == rows).PropertyType);
        return Platform.Answer.Document(
            Encoding.UTF8.GetBytes(Csv.Of(json.Options.GetTypeInfo(list.ElementType!), all)), Csv.ContentType, FileName(http, "csv"));
    }

    /// <summary>Named after the route's last word.</summary>
    public static string FileName(HttpRequest http, string extension) =>
        $"{string.Concat(http.Path.Value!.Split('/')[^1].Where(char.IsAsciiLetterOrDigit))}.{extension}";
}
