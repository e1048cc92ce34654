using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The report of a purge.</summary>
/// <param name="Status"><c>running</c> or <c>done</c>.</param>
/// <param name="OfPerson">True when it is about one person, who is not named.</param>
/// <param name="Event">The events' name; null for all.</param>
/// <param name="From">The first moment; null for no limit.</param>
/// <param name="To">The first moment after it; null for no limit.</param>
/// <param name="Events">Events removed so far.</param>
public sealed record PurgeDto(
    Guid Id, string Status, bool OfPerson, string? Event, DateTimeOffset? From, DateTimeOffset? To, long Events, DateTimeOffset RequestedAt, DateTimeOffset? FinishedAt)
{
    public static Task<PurgeDto?> FindAsync(UnitOfWork work, Guid id, CancellationToken cancel) => work.QueryFirstAsync(
        $"select of_person, event, from_time, to_time, events, requested_at, finished_at from analytics.purges where id = {id}",
        row => new PurgeDto(
            id, row.IsDBNull(6) ? "running" : "done", row.GetBoolean(0), row.IsDBNull(1) ? null : row.GetString(1), row.GetFieldValue<DateTimeOffset?>(2),
            row.GetFieldValue<DateTimeOffset?>(3), row.GetInt64(4), row.GetFieldValue<DateTimeOffset>(5), row.GetFieldValue<DateTimeOffset?>(6)),
        cancel);
}
