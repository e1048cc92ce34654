using System.Runtime.CompilerServices;
using System.Text;
using Agency.Platform;
using Npgsql;

namespace Agency.Analytics;

/// <summary>An event as it is kept.</summary>
/// <param name="Visitor">Whom it counts for; null for nobody.</param>
/// <param name="Batch">What it came in.</param>
public sealed record EventRow(TrackedEvent Event, long? Visitor, Guid Batch);

/// <summary>Reads events from their table.</summary>
public static class EventRows
{
    /// <summary>The events of a time that are counted, as a condition on <c>analytics.events e</c>.</summary>
    public static async Task<Sql> CountedAsync(UnitOfWork work, TimeRange range, CancellationToken cancel)
    {
        var hours = new TimeRange(Interval.Floor(Interval.Hour, range.From), Interval.Ceiling(Interval.Hour, range.To));
        return Counted([.. (await work.CountsByNameAsync(hours, null, cancel)).Select(c => c.Name)], range);
    }

    /// <summary>The same, given all names that there are: the index goes by name first, so it is used for all names by naming them.</summary>
    public static Sql Counted(string[] names, TimeRange range) => $"""
        e.name = any({names}) and e.occurred_at >= {range.From} and e.occurred_at < {range.To}
          and not exists (select from analytics.pending_batches p where p.batch_id = e.batch_id)
        """;

    /// <summary>These events as far as they are there, as a condition on <c>analytics.events e</c>, by the index.</summary>
    /// <param name="events">At least one.</param>
    public static Sql Among(IReadOnlyCollection<TrackedEvent> events) => $"""
        e.occurred_at >= {events.Min(e => e.Time).UtcDateTime} and e.occurred_at <= {events.Max(e => e.Time).UtcDateTime}
          and (e.name, e.occurred_at, e.message_id) in (select * from unnest({events.Select(e => e.Event).ToArray()},
            {events.Select(e => e.Time.UtcDateTime).ToArray()}, {events.Select(e => e.MessageId).ToArray()}))
        """;

    /// <param name="where">A condition on <c>analytics.events e</c>.</param>
    public static Task<List<EventRow>> ReadAsync(UnitOfWork work, Sql where, CancellationToken cancel) =>
        work.QueryAsync($"select {Columns} from analytics.events e where {where}", Row, cancel);

    /// <summary>The same, some thousands at a time, in the transaction that is open.</summary>
    public static async IAsyncEnumerable<List<EventRow>> ReadPartsAsync(UnitOfWork work, Sql where, [EnumeratorCancellation] CancellationToken cancel)
    {
        await work.ExecuteAsync($"declare event_rows no scroll cursor for select {Columns} from analytics.events e where {where}", cancel);
        while (await work.QueryAsync($"fetch 20000 from event_rows", Row, cancel) is { Count: > 0 } rows)
            yield return rows;
        await work.ExecuteAsync($"close event_rows", cancel);
    }

    /// <inheritdoc cref="ReadAsync"/>
    public static Task<List<EventRow>> DeleteAsync(UnitOfWork work, Sql where, CancellationToken cancel) =>
        work.QueryAsync($"delete from analytics.events e where {where} returning {Columns}", Row, cancel);

    /// <summary>What <see cref="Tracked"/> reads, of a row <c>e</c>.</summary>
    public static Sql TrackedColumns => $"e.message_id, e.name, e.user_id, e.anonymous_id, e.occurred_at, e.properties::text";

    /// <summary>The event in the first columns of a row.</summary>
    public static TrackedEvent Tracked(NpgsqlDataReader row) => new(
        row.GetString(0), row.GetString(1), row.IsDBNull(2) ? null : row.GetString(2), row.IsDBNull(3) ? null : row.GetString(3),
        row.GetFieldValue<DateTime>(4), new(Encoding.UTF8.GetBytes(row.GetString(5))));

    private static Sql Columns => $"{TrackedColumns}, e.visitor, e.batch_id";

    private static EventRow Row(NpgsqlDataReader row) => new(Tracked(row), row.IsDBNull(6) ? null : row.GetInt64(6), row.GetGuid(7));
}
