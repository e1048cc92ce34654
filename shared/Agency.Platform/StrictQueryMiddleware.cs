using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;

namespace Agency.Platform;

/// <summary>Refuses query parameters that the function's <see cref="OperationAttribute"/> does not name, so that a misspelt one is not ignored.</summary>
public sealed class StrictQueryMiddleware : IFunctionsWorkerMiddleware
{
    public Task Invoke(FunctionContext context, FunctionExecutionDelegate next)
    {
        if (context.GetHttpContext() is { Request: { QueryString.HasValue: true } http } && FunctionPolicy.Of(context.FunctionDefinition).Query is { } known)
            QueryParameters.Check(http, known);
        return next(context);
    }
}
