using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

public sealed record UpdateAnalyticsConfigCommand(
    int? RetentionDays = null, bool FilterBots = true, IReadOnlyList<string>? ExcludedAddresses = null, IReadOnlyList<string>? ExcludedUsers = null,
    TrackingPlan? TrackingPlan = null)
    : AnalyticsConfig(RetentionDays, FilterBots, ExcludedAddresses, ExcludedUsers, TrackingPlan);

[JsonSerializable(typeof(UpdateAnalyticsConfigCommand))]
internal sealed partial class UpdateAnalyticsConfigJson : JsonSerializerContext;

/// <summary>
/// PUT /analytics/config: replaces all of it; what the body leaves out becomes the default. It holds for events that come from then on. The
/// organisation that has never set it has version 0. 200; 400 naming the fields; 412 and 428 as for any change.
/// </summary>
public sealed class UpdateAnalyticsConfig(UnitOfWork work)
{
    [Function(nameof(UpdateAnalyticsConfig)), RequireScope("analytics:write")]
    [Operation(Body = typeof(UpdateAnalyticsConfigCommand), Answer = typeof(AnalyticsConfigDto), Example = """
        {"retentionDays":730,"filterBots":true,"excludedAddresses":["203.0.113.0/24"],"excludedUsers":["example-1"],"trackingPlan":{"mode":"observe","events":[
        {"name":"example-1","properties":[{"name":"plan","type":"string","required":true,"values":["free","pro"]},{"name":"seats","type":"integer","minimum":1}]}]}}
        """)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "put", Route = "analytics/config")] HttpRequest http, CancellationToken cancel)
    {
        var expected = http.IfMatch();
        var given = (await http.ReadAsync<UpdateAnalyticsConfigCommand>(UpdateAnalyticsConfigJson.Default, cancel)).Checked();
        return await work.RunAsync(http, () => ReplaceAsync(expected, given, cancel), cancel);
    }

    private async Task<Answer> ReplaceAsync(long[]? expected, AnalyticsConfig given, CancellationToken cancel)
    {
        // Of two changes with one entity tag the second waits for the first's row, and finds its version.
        var config = await work.QueryFirstAsync(
            $"""
            insert into analytics.config (retention_days, filter_bots, excluded_addresses, excluded_users, tracking_plan, version)
            select {given.RetentionDays}, {given.FilterBots}, {given.ExcludedAddresses!.ToArray()}, {given.ExcludedUsers!.ToArray()},
              {new Json(JsonSerializer.SerializeToUtf8Bytes(given.TrackingPlan!, AnalyticsJson.Default.TrackingPlan))}, 1
            where {expected} is null or coalesce((select version from analytics.config), 0) = any({expected})
            on conflict (tenant_id) do update
            set retention_days = excluded.retention_days, filter_bots = excluded.filter_bots, excluded_addresses = excluded.excluded_addresses,
              excluded_users = excluded.excluded_users, tracking_plan = excluded.tracking_plan, version = config.version + 1, updated_at = now()
            where {expected} is null or config.version = any({expected})
            returning {AnalyticsConfigDto.Columns}
            """,
            AnalyticsConfigDto.From,
            cancel);
        if (config is null)
            return Conditions.Stale.ToAnswer();
        work.Append(
            new ConfigUpdatedEvent(
                config.RetentionDays, config.FilterBots, config.ExcludedAddresses.Count, config.ExcludedUsers.Count, config.TrackingPlan),
            AnalyticsConfig.Subject, config.Version);
        return Answer.Ok(config, AnalyticsJson.Default.AnalyticsConfigDto, config.Version);
    }
}
