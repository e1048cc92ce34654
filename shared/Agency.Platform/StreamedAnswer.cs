using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Agency.Platform;

/// <summary>
/// A 200 whose body is written while it is being made, however long it is. What goes wrong before it is returned is a problem like any
/// other; what goes wrong later breaks the transfer off, so that a part is never taken for the whole.
/// </summary>
/// <param name="contentType">With its parameters.</param>
/// <param name="fileName">As in <see cref="Answer.Document"/>.</param>
/// <param name="write">Writes the body. Cancelled when the client has gone.</param>
public sealed class StreamedAnswer(string contentType, string? fileName, Func<Stream, CancellationToken, Task> write) : IResult
{
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = 200;
        response.ContentType = contentType;
        // It is of this moment, and proxies shall hand it on as it comes.
        response.Headers.CacheControl = "no-store";
        response.Headers["X-Accel-Buffering"] = "no";
        if (fileName is not null)
            response.Headers.ContentDisposition = Answer.Attachment(fileName);
        // Whoever asks for the headers alone gets them without the work.
        if (HttpMethods.IsHead(httpContext.Request.Method))
            return;
        httpContext.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        try
        {
            await response.StartAsync(httpContext.RequestAborted);
            await write(response.Body, httpContext.RequestAborted);
        }
        catch (OperationCanceledException) when (httpContext.RequestAborted.IsCancellationRequested)
        {
            // Nobody is left to answer.
        }
        catch
        {
            httpContext.Abort();
            throw;
        }
    }
}
