using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Npgsql;

namespace Agency.Platform;

/// <summary>A subscription of an organisation to events. Its secret is never shown after it was made.</summary>
/// <param name="EventTypes">Names of event types; one that ends with <c>.*</c> stands for all that begin so, <c>*</c> for all.</param>
/// <param name="DisabledReason">Why the platform has disabled it; null when it has not.</param>
/// <param name="Version">From 1, plus one with each change; the entity tag.</param>
public sealed record WebhookDto(
    Guid Id, string Url, IReadOnlyList<string> EventTypes, bool Enabled, string? DisabledReason, long Version, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt)
{
    /// <summary>The columns that <see cref="From"/> reads, in its order.</summary>
    public static Sql Columns => $"id, url, event_types, enabled, disabled_reason, version, created_at, updated_at";

    public static WebhookDto From(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetFieldValue<string[]>(2), row.GetBoolean(3), row.IsDBNull(4) ? null : row.GetString(4),
        row.GetInt64(5), row.GetFieldValue<DateTimeOffset>(6), row.GetFieldValue<DateTimeOffset>(7));
}

/// <param name="Secret">Verifies the signatures; shown this once, null in the replay of an <c>Idempotency-Key</c>.</param>
public sealed record NewWebhookDto(WebhookDto Webhook, string? Secret);

/// <summary>What a client says of a webhook.</summary>
/// <param name="Url">Where events are sent; <c>https</c>, at a public address.</param>
/// <param name="EventTypes">Names of event types; one that ends with <c>.*</c> stands for all that begin so, <c>*</c> for all.</param>
/// <param name="Enabled">While it is not, nothing is queued for it.</param>
// The attributes are what clients are told; what counts is CheckAsync.
public record WebhookDetails(
    [Url, MaxLength(WebhookSender.MaxUrl)] string Url, [Length(1, WebhookDetails.MaxEventTypes)] IReadOnlyList<string> EventTypes, bool Enabled)
{
    public const int MaxEventTypes = 50;

    /// <summary>Checks what the webhook does not have yet, and all of it when it is enabled: what was taken once can always be disabled.</summary>
    /// <param name="before">As it was; null for a new one.</param>
    /// <param name="sender">Knows where a webhook may go.</param>
    /// <param name="work">In its transaction.</param>
    /// <param name="cancel">Ends the check.</param>
    /// <exception cref="ProblemException">400 naming every field that breaks a rule.</exception>
    public async Task CheckAsync(WebhookDto? before, WebhookSender sender, UnitOfWork work, CancellationToken cancel)
    {
        var isWhole = before is null || (Enabled && !before.Enabled);
        var errors = new Dictionary<string, string[]>();
        if ((isWhole || Url != before!.Url) && sender.Refusal(Url) is { } refusal)
            errors["url"] = [refusal];
        if (isWhole || !EventTypes.SequenceEqual(before!.EventTypes))
            await CheckTypesAsync(work, errors, cancel);
        if (errors.Count > 0)
            throw new ProblemException(Problem.Validation(errors));
    }

    private async Task CheckTypesAsync(UnitOfWork work, Dictionary<string, string[]> errors, CancellationToken cancel)
    {
        if (EventTypes.Count is 0 or > MaxEventTypes || EventTypes.Any(p => string.IsNullOrEmpty(p) || p.Length > 200 || p.Contains('\0', StringComparison.Ordinal)))
        {
            errors["eventTypes"] = [$"Must list 1 to {MaxEventTypes} names of event types, or such as agency.users.*."];
            return;
        }

        // Of all domains, also those that this process does not have.
        var known = await work.QueryAsync($"select name from platform.event_types order by name", row => row.GetString(0), cancel);
        string[] unknown = [.. EventTypes.Where(p => !known.Any(type => EventPattern.Matches(p, type)))];
        if (unknown.Length > 0)
            errors["eventTypes"] = [$"No event type is called {string.Join(" or ", unknown)}. There are {string.Join(", ", known)}."];
    }
}

/// <summary>A name of an event type, or the beginning of some and <c>.*</c>, or <c>*</c>.</summary>
public static class EventPattern
{
    public static bool Matches(string pattern, string type) => pattern == type || pattern == "*"
        || (pattern.EndsWith(".*", StringComparison.Ordinal) && type.AsSpan().StartsWith(pattern.AsSpan(0, pattern.Length - 1), StringComparison.Ordinal));
}

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(WebhookDto))]
[JsonSerializable(typeof(NewWebhookDto))]
[JsonSerializable(typeof(IReadOnlyList<WebhookDto>))]
public sealed partial class WebhookJson : JsonSerializerContext;
