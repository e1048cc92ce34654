using System.Reflection;
using Agency.Platform;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <summary>GET /docs: a reference of the API for people, who can try each route. It is rendered from <c>/openapi.json</c> and needs no other host.</summary>
public sealed class GetDocs
{
    // The page and its parts, as the build left them in this assembly.
    private static readonly Dictionary<string, Answer> Files = Assembly.GetExecutingAssembly().GetManifestResourceNames()
        .Where(name => name.StartsWith("web/", StringComparison.Ordinal))
        .ToDictionary(name => name["web/".Length..], Read, StringComparer.Ordinal);

    [Function(nameof(GetDocs)), AllowAnonymous, Operation(Answer = typeof(string), MediaType = "text/html")]
    public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "docs/{file?}")] HttpRequest http)
    {
        var name = http.Path.Value!.TrimEnd('/').Split('/')[^1];
        if (Files.Count == 0)
            return Problem.Of(404, "not-found", "Not found", "This build has no docs page, as there was no npm to fetch the viewer. /openapi.json says the same.").ToAnswer();
        if (!Files.TryGetValue(name == "docs" ? "index.html" : name, out var file))
            return Problem.NotFound("part of the docs").ToAnswer();
        var headers = http.HttpContext.Response.Headers;
        // The viewer draws its icons from data URLs in its stylesheet.
        headers.ContentSecurityPolicy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        headers.CacheControl = "no-cache";
        return file;
    }

    private static Answer Read(string resource)
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(resource)!;
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return Answer.Document(bytes, Path.GetExtension(resource) switch
        {
            ".html" => "text/html; charset=utf-8",
            ".css" => "text/css; charset=utf-8",
            ".js" => "text/javascript; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        });
    }
}
