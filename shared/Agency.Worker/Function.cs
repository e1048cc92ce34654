using System.Globalization;
using System.Linq.Expressions;
using System.Reflection;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Worker;

/// <summary>A function found in an assembly: its definition, its trigger, and one compiled delegate that creates and calls it.</summary>
internal sealed class Function
{
    private readonly ObjectFactory _create;
    private readonly Func<object, Invocation, Task<object?>> _call;

    private Function(MethodInfo method, string name)
    {
        Definition = new MethodDefinition(method, name);
        Trigger = method.GetParameters().SelectMany(p => p.GetCustomAttributes()).SingleOrDefault(IsTrigger)
            ?? throw new InvalidOperationException($"Function {name} needs exactly one trigger attribute on its parameters.");
        _create = ActivatorUtilities.CreateFactory(method.DeclaringType!, []);
        _call = Compile(method, name);
    }

    public FunctionDefinition Definition { get; }

    public Attribute Trigger { get; }

    /// <summary>Every function of these assemblies, by name.</summary>
    /// <exception cref="InvalidOperationException">Two functions have one name, or a signature cannot be bound.</exception>
    public static IReadOnlyList<Function> Find(IEnumerable<Assembly> assemblies)
    {
        var found = new Dictionary<string, Function>(StringComparer.OrdinalIgnoreCase);
        foreach (var method in assemblies.SelectMany(a => a.GetExportedTypes()).SelectMany(t => t.GetMethods()))
            if (method.GetCustomAttribute<FunctionAttribute>() is { } attribute && !found.TryAdd(attribute.Name, new(method, attribute.Name)))
                throw new InvalidOperationException($"Two functions are named {attribute.Name}.");
        return [.. found.Values.OrderBy(f => f.Definition.Name, StringComparer.Ordinal)];
    }

    public async Task InvokeAsync(Invocation invocation) =>
        invocation.Result = await _call(_create(invocation.InstanceServices, null), invocation);

    private static bool IsTrigger(Attribute attribute) => attribute is HttpTriggerAttribute or KafkaTriggerAttribute or TimerTriggerAttribute;

    private static Func<object, Invocation, Task<object?>> Compile(MethodInfo method, string name)
    {
        var target = Expression.Parameter(typeof(object), "target");
        var invocation = Expression.Parameter(typeof(Invocation), "invocation");
        var arguments = method.GetParameters().Select(p => Bind(p, invocation, name));
        var call = Expression.Call(Expression.Convert(target, method.DeclaringType!), method, arguments);
        var type = method.ReturnType;
        Expression body =
            type == typeof(void) ? Expression.Block(call, Expression.Constant(Task.FromResult<object?>(null)))
            : type == typeof(Task) ? Expression.Call(typeof(Function), nameof(AwaitAsync), null, call)
            : type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Task<>)
                ? Expression.Call(typeof(Function), nameof(AwaitResultAsync), type.GetGenericArguments(), call)
            : Expression.Call(typeof(Task), nameof(Task.FromResult), [typeof(object)], Expression.Convert(call, typeof(object)));
        return Expression.Lambda<Func<object, Invocation, Task<object?>>>(body, target, invocation).Compile();
    }

    private static Expression Bind(ParameterInfo parameter, ParameterExpression invocation, string name)
    {
        var type = parameter.ParameterType;
        if (type == typeof(HttpRequest))
            return Expression.Property(Expression.Property(invocation, nameof(Invocation.HttpContext)), nameof(HttpContext.Request));
        if (type == typeof(CancellationToken))
            return Expression.Property(invocation, nameof(Invocation.CancellationToken));
        if (type == typeof(FunctionContext))
            return invocation;
        if (parameter.GetCustomAttributes().Any(IsTrigger))
            return Expression.Convert(Expression.Property(invocation, nameof(Invocation.Trigger)), type);
        if (type == typeof(string) || type.GetInterfaces().Any(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IParsable<>)))
            return Expression.Call(typeof(Function), nameof(RouteValue), [type], invocation, Expression.Constant(parameter.Name));
        throw new InvalidOperationException($"Function {name}: parameter {parameter.Name} has type {type}, which nothing binds.");
    }

    private static T RouteValue<T>(Invocation invocation, string name)
        where T : IParsable<T>
    {
        var text = invocation.HttpContext?.Request.RouteValues[name] as string;
        return T.TryParse(text, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new BadHttpRequestException($"The path's {name} is not a {typeof(T).Name}.");
    }

    private static async Task<object?> AwaitAsync(Task task)
    {
        await task;
        return null;
    }

    private static async Task<object?> AwaitResultAsync<T>(Task<T> task) => await task;

    private sealed class MethodDefinition(MethodInfo method, string name) : FunctionDefinition
    {
        public override string Id { get; } = name;

        public override string Name { get; } = name;

        public override string EntryPoint { get; } = $"{method.DeclaringType!.FullName}.{method.Name}";

        public override string PathToAssembly { get; } = method.DeclaringType.Assembly.Location;
    }
}
