using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.PlatformFunctions;

/// <summary>What this process stands on. Each check says <c>ok</c> or why not.</summary>
public sealed record ReadinessDto(string Status, IReadOnlyDictionary<string, string> Checks);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(ReadinessDto))]
internal sealed partial class CheckReadinessJson : JsonSerializerContext;

/// <summary>GET /health/ready: 200 when requests can be served, 503 when not. Why the database cannot be reached is for the log: anybody may ask.</summary>
public sealed class CheckReadiness(Database database, FunctionApps apps, ILogger<CheckReadiness> log)
{
    [Function(nameof(CheckReadiness)), AllowAnonymous, RateLimitGroup(RateLimitGroups.Health)]
    [Operation(Answer = typeof(ReadinessDto), OtherStatus = 503)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "health/ready")] HttpRequest http, CancellationToken cancel)
    {
        var checks = new Dictionary<string, string>();
        try
        {
            var pending = await Migrator.PendingAsync(database.System, apps.Migrations, cancel);
            // Requests come as another role and by another pool.
            await using (var probe = database.App.CreateCommand("select 1"))
                await probe.ExecuteScalarAsync(cancel);
            checks["database"] = "ok";
            checks["migrations"] = pending.Count == 0 ? "ok" : $"{pending.Count} to apply; run ./agency migrate";
        }
        catch (NpgsqlException unreachable)
        {
            log.DatabaseUnreachable(unreachable);
            checks["database"] = "unreachable";
        }

        var ready = checks.Values.All(c => c == "ok");
        return Answer.Health(ready, new ReadinessDto(ready ? "ready" : "unready", checks), CheckReadinessJson.Default.ReadinessDto);
    }
}

internal static partial class CheckReadinessLog
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "Not ready: the database cannot be reached.")]
    public static partial void DatabaseUnreachable(this ILogger log, Exception failure);
}
