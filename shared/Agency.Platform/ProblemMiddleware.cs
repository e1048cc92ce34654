using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.Platform;

/// <summary>Turns what an HTTP function throws into problem+json, and names the trace in every answer.</summary>
public sealed partial class ProblemMiddleware(ILogger<ProblemMiddleware> log) : IFunctionsWorkerMiddleware
{
    public const string TraceHeader = "X-Trace-Id";

    public async Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        var http = context.GetHttpContext();
        if (http is null)
        {
            await next(context);
            return;
        }

        // The official worker starts an activity only when something listens; the trace id is needed in any case.
        using var own = Activity.Current is null ? new Activity(context.FunctionDefinition.Name).SetParentId(context.TraceContext.TraceParent).Start() : null;
        http.Response.Headers[TraceHeader] = Activity.Current!.TraceId.ToString();
        Problem problem;
        try
        {
            await next(context);
            return;
        }
        catch (OperationCanceledException) when (http.RequestAborted.IsCancellationRequested)
        {
            // Nobody is left to answer.
            return;
        }
        catch (Exception failure)
        {
            // The edge of the process: whatever was thrown, the client gets an answer and the log gets the cause.
            problem = For(failure, context.FunctionDefinition.Name);
        }

        if (!http.Response.HasStarted)
            await problem.ToAnswer().ExecuteAsync(http);
    }

    private Problem For(Exception failure, string function)
    {
        switch (failure)
        {
            case ProblemException { Problem: var problem }:
                return problem;
            case BadHttpRequestException bad:
                return Problem.Of(bad.StatusCode, bad.StatusCode == 413 ? "body-too-large" : "bad-request", "The request is not valid HTTP", bad.Message);
            // Text with a NUL, a number or a time beyond what a column holds: the client's value, found out late.
            case PostgresException { SqlState: "22021" or "22P05" or "22003" or "22008" }:
                return Problem.Of(400, "validation", "The request is not valid", "A value cannot be stored.");
            case NpgsqlException { InnerException: TimeoutException }:
                LogFailed(failure, function);
                return Problem.Of(503, "took-too-long", "The database took too long", "Try again later, or ask for less, such as a shorter range.") with { RetryAfter = 10 };
            case NpgsqlException { IsTransient: true }:
                LogFailed(failure, function);
                return Problem.Of(503, "unavailable", "The database cannot be reached", "Try again in a moment.") with { RetryAfter = 1 };
            default:
                LogFailed(failure, function);
                return Problem.Of(500, "internal", "Something went wrong", "The failure has been recorded under the trace id.");
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "{Function} failed.")]
    private partial void LogFailed(Exception failure, string function);
}
