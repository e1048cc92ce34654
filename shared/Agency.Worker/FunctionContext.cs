using Agency.Worker;
using Microsoft.AspNetCore.Http;

namespace Microsoft.Azure.Functions.Worker
{
    /// <summary>One invocation of one function.</summary>
    public abstract class FunctionContext
    {
        public abstract string InvocationId { get; }

        public abstract string FunctionId { get; }

        public abstract TraceContext TraceContext { get; }

        public abstract FunctionDefinition FunctionDefinition { get; }

        /// <summary>The services of this invocation's scope.</summary>
        public abstract IServiceProvider InstanceServices { get; set; }

        public abstract IDictionary<object, object> Items { get; set; }

        /// <summary>Cancelled when the client has gone or the worker must stop now.</summary>
        public virtual CancellationToken CancellationToken { get; }
    }

    /// <summary>W3C trace context of the caller.</summary>
    public abstract class TraceContext
    {
        public abstract string TraceParent { get; }

        public abstract string TraceState { get; }
    }

    /// <summary>What is known of a function before it runs.</summary>
    public abstract class FunctionDefinition
    {
        public abstract string Id { get; }

        public abstract string Name { get; }

        /// <summary>Namespace, class and method, joined by dots.</summary>
        public abstract string EntryPoint { get; }

        /// <summary>The file of the assembly that holds the entry point.</summary>
        public abstract string PathToAssembly { get; }
    }

    public static class FunctionContextExtensions
    {
        /// <summary>The HTTP request of this invocation, or null when another trigger started it.</summary>
        public static HttpContext? GetHttpContext(this FunctionContext context) => (context as Invocation)?.HttpContext;
    }
}

namespace Microsoft.Azure.Functions.Worker.Middleware
{
    /// <summary>The rest of the pipeline.</summary>
    public delegate Task FunctionExecutionDelegate(FunctionContext context);

    /// <summary>Code that runs around every function. Created once; services of the invocation come from its context.</summary>
    public interface IFunctionsWorkerMiddleware
    {
        Task Invoke(FunctionContext context, FunctionExecutionDelegate next);
    }
}
