using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;

namespace Agency.Platform;

/// <summary>
/// Refuses the body of a POST or PUT where the function's <see cref="OperationAttribute"/> names none. It would be ignored, however large, and
/// whoever sent it believes that it was read. That of a GET, HEAD or DELETE has no meaning (RFC 9110, 9.3), and some clients send one.
/// </summary>
public sealed class UnexpectedBodyMiddleware : IFunctionsWorkerMiddleware
{
    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is { } http && !IsIgnored(http.Request.Method) && !FunctionPolicy.Of(context.FunctionDefinition).TakesBody && await HasBodyAsync(http))
            throw new ProblemException(Problem.Of(400, "unexpected-body", "The request must not have a body", "This route takes no body."));
        await next(context);
    }

    private static bool IsIgnored(string method) => HttpMethods.IsGet(method) || HttpMethods.IsHead(method) || HttpMethods.IsDelete(method);

    private static async ValueTask<bool> HasBodyAsync(HttpContext http)
    {
        if (http.Request.ContentLength is { } length)
            return length > 0;
        if (http.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: false })
            return false;
        // Chunks, of which the first may be the last and empty.
        var reader = http.Request.BodyReader;
        var read = await reader.ReadAsync(http.RequestAborted);
        var isThere = !read.Buffer.IsEmpty;
        reader.AdvanceTo(read.Buffer.End);
        return isThere;
    }
}
