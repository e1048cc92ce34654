using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Cors.Infrastructure;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Worker;

/// <summary>The functions of this process behind their middleware, each started by its trigger.</summary>
internal sealed partial class FunctionHost(
    IReadOnlyList<Function> functions,
    IReadOnlyList<Func<FunctionExecutionDelegate, FunctionExecutionDelegate>> middleware,
    IConfiguration configuration)
{
    public IEnumerable<(Function Function, KafkaTriggerAttribute Trigger)> RecordFunctions => Of<KafkaTriggerAttribute>();

    public IEnumerable<(Function Function, TimerTriggerAttribute Trigger)> TimerFunctions => Of<TimerTriggerAttribute>();

    /// <summary>Gives every HTTP function its endpoint.</summary>
    public void Map(WebApplication app)
    {
        app.UseStatusCodePages();
        app.UseRouting();
        // Browsers ask before they call; what may be answered is whoever adds CORS services to say.
        if (app.Services.GetService<ICorsService>() is not null)
            app.UseCors();
        foreach (var (function, trigger) in Of<HttpTriggerAttribute>())
        {
            var pipeline = Pipeline(function);
            var route = "/" + (trigger.Route ?? function.Definition.Name).TrimStart('/');
            app.MapMethods(route, Methods(trigger), async http =>
            {
                // A function's answer stands as it is; the pages are for requests that reach none.
                http.Features.Get<IStatusCodePagesFeature>()!.Enabled = false;
                var invocation = new Invocation(function, http.RequestServices, http, null, http.RequestAborted);
                await pipeline(invocation);
                // As in the official worker, the result is written after the middleware has returned.
                if (invocation.Result is IResult result && !http.Response.HasStarted)
                    await result.ExecuteAsync(http);
            }).WithDisplayName(function.Definition.Name);
        }
    }

    /// <summary>The middleware around one function, composed once.</summary>
    public FunctionExecutionDelegate Pipeline(Function function) =>
        middleware.Reverse().Aggregate(
            (FunctionExecutionDelegate)(context => function.InvokeAsync((Invocation)context)),
            (next, wrap) => wrap(next));

    /// <summary>Replaces each <c>%Name%</c> by the setting of that name.</summary>
    /// <exception cref="InvalidOperationException">There is no such setting.</exception>
    public string Resolve(Function function, string text) => SettingName().Replace(text, match =>
        configuration[match.Groups[1].Value] ?? throw new InvalidOperationException(
            $"Function {function.Definition.Name} needs the setting {match.Groups[1].Value}. Set it in the environment or under Values in local.settings.json."));

    private static readonly string[] AnyMethod = ["GET", "POST", "PUT", "PATCH", "DELETE"];

    /// <summary>A HEAD is a GET whose body the server leaves out (RFC 9110, 9.3.2).</summary>
    private static IEnumerable<string> Methods(HttpTriggerAttribute trigger)
    {
        var methods = trigger.Methods is { Length: > 0 } named ? named.Select(m => m.ToUpperInvariant()) : AnyMethod;
        return methods.Contains(HttpMethods.Get) ? methods.Append(HttpMethods.Head).Distinct() : methods;
    }

    private IEnumerable<(Function, T)> Of<T>()
        where T : Attribute => functions.Where(f => f.Trigger is T).Select(f => (f, (T)f.Trigger));

    [GeneratedRegex("%([^%]+)%")]
    private static partial Regex SettingName();
}
