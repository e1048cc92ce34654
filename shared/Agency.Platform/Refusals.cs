using System.Net;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Agency.Platform;

/// <summary>
/// Tells the log who was not let in and whose command was not done, since the audit trail has only what was done. Like the trail it names
/// neither the query string nor anything that was sent.
/// </summary>
internal static partial class Refusals
{
    /// <summary>Logs the refusals of authentication, authorisation, limits and of commands that came too late.</summary>
    public static void Tell(HttpContext http, int status, string type)
    {
        if (status is not (401 or 403 or 409 or 412 or 429) || Exchange.Of(http).Function is not { Length: > 0 } function)
            return;
        var log = http.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(Refusals).FullName!);
        var caller = http.RequestServices.GetRequiredService<Caller>();
        // Anybody can be refused for asking too much without an end.
        var level = status == StatusCodes.Status429TooManyRequests && caller.Subject.Length == 0 ? LogLevel.Debug : LogLevel.Information;
        if (!log.IsEnabled(level))
            return;
        var address = ClientAddress.Of(http);
        // The header, since the activity of the function has ended when its result is written.
        var trace = http.Response.Headers[ProblemMiddleware.TraceHeader].ToString();
        LogRefused(log, level, function, status, type, caller.Tenant, caller.Subject, address, trace);
    }

    [LoggerMessage(
        Message = "{Function} refused with {Status} {Type}: organisation '{Organisation}', subject '{Subject}', address {Address}, trace {TraceId}.")]
    private static partial void LogRefused(
        ILogger log, LogLevel level, string function, int status, string type, string organisation, string subject, IPAddress? address, string traceId);
}
