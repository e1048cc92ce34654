using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;

namespace Agency.Platform;

/// <summary>Writes the problem of a request that reached no function: no such route, or not with this method.</summary>
internal sealed class UnmatchedRequest : IProblemDetailsWriter
{
    public bool CanWrite(ProblemDetailsContext context) => true;

    public async ValueTask WriteAsync(ProblemDetailsContext context)
    {
        var http = context.HttpContext;
        http.Response.Headers[ProblemMiddleware.TraceHeader] = Activity.Current?.TraceId.ToString();
        await (http.Response.StatusCode switch
        {
            404 => Problem.Of(404, "not-found", "Not found", "No route has this path."),
            405 => Problem.Of(405, "method-not-allowed", "Method not allowed", $"This route takes {http.Response.Headers.Allow}."),
            var status => Problem.Of(status, "bad-request", ReasonPhrases.GetReasonPhrase(status)),
        }).ToAnswer().ExecuteAsync(http);
    }
}
