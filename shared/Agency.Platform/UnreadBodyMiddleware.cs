using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;

namespace Agency.Platform;

/// <summary>
/// Reads the body of a POST or PUT whose function's <see cref="OperationAttribute"/> names none. Many clients send one all the same, so it is let
/// be; but it has the limit that any other has, and an <c>Idempotency-Key</c> stands for it too.
/// </summary>
public sealed class UnreadBodyMiddleware : IFunctionsWorkerMiddleware
{
    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is { } http && (HttpMethods.IsPost(http.Request.Method) || HttpMethods.IsPut(http.Request.Method))
            && http.Features.Get<IHttpRequestBodyDetectionFeature>() is not { CanHaveBody: false }
            && !FunctionPolicy.Of(context.FunctionDefinition).TakesBody)
            await http.Request.ReadBytesAsync(http.RequestAborted);
        await next(context);
    }
}
