using System.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Worker;

/// <summary>The portable worker's <see cref="FunctionContext"/>. What is rarely asked for is made when it is.</summary>
internal sealed class Invocation(Function function, IServiceProvider services, HttpContext? http, object? trigger, CancellationToken cancel)
    : FunctionContext
{
    private string? _invocationId;
    private TraceContext? _trace;
    private IDictionary<object, object>? _items;

    public HttpContext? HttpContext { get; } = http;

    /// <summary>What the trigger hands over: a record, records or timer info. Null for HTTP.</summary>
    public object? Trigger { get; } = trigger;

    /// <summary>What the function returned; null until it has.</summary>
    public object? Result { get; set; }

    public override string InvocationId => _invocationId ??= Guid.NewGuid().ToString();

    public override string FunctionId => function.Definition.Id;

    public override TraceContext TraceContext => _trace ??= new CurrentTrace(Activity.Current);

    public override FunctionDefinition FunctionDefinition => function.Definition;

    public override IServiceProvider InstanceServices { get; set; } = services;

    public override IDictionary<object, object> Items
    {
        get => _items ??= new Dictionary<object, object>();
        set => _items = value;
    }

    public override CancellationToken CancellationToken { get; } = cancel;

    private sealed class CurrentTrace(Activity? activity) : TraceContext
    {
        public override string TraceParent { get; } = activity?.Id ?? "";

        public override string TraceState { get; } = activity?.TraceStateString ?? "";
    }
}
