using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Agency.Platform;
using Npgsql;

namespace Agency.Analytics;

/// <summary>What an organisation wants of its analytics. What a client leaves out becomes the default.</summary>
/// <param name="RetentionDays">Days that events are kept; for ever when null. What is older is not taken in either.</param>
/// <param name="FilterBots">Events of programs that read pages by themselves are not kept.</param>
/// <param name="ExcludedAddresses">IP addresses, or networks such as <c>10.0.0.0/8</c>, whose events are not kept.</param>
/// <param name="ExcludedUsers">User or anonymous ids whose events are not kept, nor those of the same person under other ids.</param>
/// <param name="TrackingPlan">What events should look like.</param>
// The attributes are what clients are told; what counts is Checked.
public record AnalyticsConfig(
    [Range(1, AnalyticsConfig.MaxRetentionDays)] int? RetentionDays = null, bool FilterBots = true,
    [MaxLength(AnalyticsConfig.MaxExcluded)] IReadOnlyList<string>? ExcludedAddresses = null,
    [MaxLength(AnalyticsConfig.MaxExcluded)] IReadOnlyList<string>? ExcludedUsers = null, TrackingPlan? TrackingPlan = null)
{
    public const int MaxRetentionDays = 36_500;

    /// <summary>Addresses, and as many users.</summary>
    public const int MaxExcluded = 1000;

    /// <summary>The subject of its events: an organisation has one.</summary>
    public const string Subject = "config";

    /// <summary>The first moment of events that are kept for so many days.</summary>
    public static DateTime OldestOf(int retentionDays, DateTime today) => today.AddDays(-retentionDays);

    /// <summary>The same with nothing left out and addresses as they are usually written.</summary>
    /// <exception cref="ProblemException">400 naming every field that breaks a rule.</exception>
    public AnalyticsConfig Checked()
    {
        var errors = new Dictionary<string, string[]>();
        if (RetentionDays is < 1 or > MaxRetentionDays)
            errors["retentionDays"] = [$"From 1 to {MaxRetentionDays}, or null to keep events for ever."];
        var addresses = Each("excludedAddresses", ExcludedAddresses, errors, text =>
            NetworkAddress.TryParse(text, out _, out var normal) ? normal : null, "an IP address or a network such as 10.0.0.0/8");
        var users = Each("excludedUsers", ExcludedUsers, errors, text => EventReader.IsText(text) ? text : null, $"an id of 1 to {EventReader.MaxText} characters");
        var plan = (TrackingPlan ?? new()).Checked(errors);
        return errors.Count == 0 ? new(RetentionDays, FilterBots, addresses, users, plan) : throw new ProblemException(Problem.Validation(errors));
    }

    private static List<string> Each(string field, IReadOnlyList<string>? texts, Dictionary<string, string[]> errors, Func<string, string?> normal, string what)
    {
        var all = new List<string>();
        if (texts?.Count > MaxExcluded)
            errors[field] = [$"At most {MaxExcluded}."];
        else
            for (var i = 0; i < texts?.Count; i++)
                if (texts[i] is { } text && normal(text) is { } good)
                    all.Add(good);
                else
                    errors[$"{field}[{i}]"] = [$"Must be {what}."];
        return [.. all.Distinct(StringComparer.Ordinal)];
    }
}

/// <summary>The <see cref="AnalyticsConfig"/> of an organisation, with nothing left out.</summary>
/// <param name="Version">From 1, plus one with each change; 0 while nothing was ever set. The entity tag.</param>
/// <param name="UpdatedAt">Null while nothing was ever set.</param>
public sealed record AnalyticsConfigDto(
    int? RetentionDays, bool FilterBots, IReadOnlyList<string> ExcludedAddresses, IReadOnlyList<string> ExcludedUsers, TrackingPlan TrackingPlan,
    long Version, DateTimeOffset? UpdatedAt)
{
    public static AnalyticsConfigDto Default { get; } = new(null, true, [], [], new(Events: []), 0, null);

    /// <summary>The organisation's, or the defaults.</summary>
    public static async Task<AnalyticsConfigDto> ReadAsync(UnitOfWork work, CancellationToken cancel) =>
        await work.QueryFirstAsync($"select {Columns} from analytics.config", From, cancel) ?? Default;

    /// <summary>The columns that <see cref="From"/> reads, in its order.</summary>
    public static Sql Columns => $"retention_days, filter_bots, excluded_addresses, excluded_users, tracking_plan, version, updated_at";

    public static AnalyticsConfigDto From(NpgsqlDataReader row) => new(
        row.IsDBNull(0) ? null : row.GetInt32(0), row.GetBoolean(1), row.GetFieldValue<string[]>(2), row.GetFieldValue<string[]>(3),
        JsonSerializer.Deserialize(row.GetString(4), AnalyticsJson.Default.TrackingPlan)!, row.GetInt64(5), row.GetFieldValue<DateTimeOffset>(6));
}

/// <summary>What was set, without what could name a person: the log outlives it.</summary>
/// <param name="ExcludedAddresses">How many there are.</param>
/// <param name="ExcludedUsers">How many there are.</param>
public sealed record ConfigUpdatedEvent(
    int? RetentionDays, bool FilterBots, int ExcludedAddresses, int ExcludedUsers, TrackingPlan TrackingPlan) : IDomainEvent<ConfigUpdatedEvent>
{
    public static EventType<ConfigUpdatedEvent> EventType { get; } =
        new("agency.analytics.config-updated.v1", AnalyticsTopic.Name, AnalyticsJson.Default.ConfigUpdatedEvent);
}
