using Agency.Platform;

namespace Agency.Analytics;

/// <summary>The items of one <c>POST /events</c>, in the order they came.</summary>
public sealed class Batch
{
    private readonly IReadOnlyList<ScreenedItem> _items;

    // The first item of each message id that may be kept.
    private readonly List<ScreenedItem> _candidates = [];

    public Batch(IReadOnlyList<ScreenedItem> items)
    {
        _items = items;
        var seen = new HashSet<string>(items.Count, StringComparer.Ordinal);
        foreach (var item in items)
            if (item.Candidate is { } e && seen.Add(e.MessageId))
                _candidates.Add(item);
    }

    /// <summary>What may be kept, each message id once.</summary>
    public List<TrackedEvent> Candidates => _candidates.ConvertAll(item => item.Candidate!);

    /// <summary>What became of the items.</summary>
    /// <param name="fresh">Message ids that were inserted; the first event of each is the accepted one.</param>
    public TrackedDto Report(IReadOnlySet<string> fresh)
    {
        var unanswered = new HashSet<string>(fresh, StringComparer.Ordinal);
        var others = new List<TrackedItemDto>();
        for (var i = 0; i < _items.Count; i++)
        {
            var (item, id) = (_items[i], _items[i].Read.MessageId);
            if (item.Error is { } error)
                others.Add(new(i, id, TrackedItemDto.Rejected, Error: error));
            else if (item.Excluded is { } reason)
                others.Add(new(i, id, TrackedItemDto.Excluded, Reason: reason));
            else if (!unanswered.Remove(id!))
                others.Add(new(i, id, TrackedItemDto.Duplicate));
        }

        return new(fresh.Count, Count(TrackedItemDto.Duplicate), Count(TrackedItemDto.Rejected), Count(TrackedItemDto.Excluded), others);

        int Count(string status) => others.Count(o => o.Status == status);
    }

    /// <summary>Writes down where accepted and refused events do not follow the tracking plan.</summary>
    /// <param name="fresh">As for <see cref="Report"/>: what was there already has been counted.</param>
    public async Task AddViolationsAsync(UnitOfWork work, IReadOnlySet<string> fresh, CancellationToken cancel)
    {
        // Sorted, so that concurrent batches that were refused the same ones wait for each other in one order.
        var found = _candidates.Where(item => fresh.Contains(item.Read.MessageId!)).Concat(_items.Where(item => item.IsRefused))
            .SelectMany(item => item.Violations, (item, violation) => (Item: item, e: item.Read.Event!, violation.Property, violation.Rule))
            .OrderBy(v => v.e.MessageId, StringComparer.Ordinal).ThenBy(v => v.Rule, StringComparer.Ordinal).ThenBy(v => v.Property, StringComparer.Ordinal)
            .ToList();
        if (found.Count == 0)
            return;
        await work.ExecuteAsync(
            $"""
            with found as (
              insert into analytics.violations (event, property, rule, message_id, refused, visitor)
              select * from unnest(
                {found.ConvertAll(v => v.e.Event).ToArray()}, {found.ConvertAll(v => v.Property).ToArray()}, {found.ConvertAll(v => v.Rule).ToArray()},
                {found.ConvertAll(v => v.e.MessageId).ToArray()}, {found.ConvertAll(v => v.Item.IsRefused).ToArray()},
                {found.ConvertAll(v => Visitor.Of(v.e)).ToArray()})
              on conflict do nothing
              returning event, rule
            )
            insert into analytics.violation_counts (day, event, rule, slot, violations)
            select (now() at time zone 'UTC')::date, event, rule, pg_backend_pid() % 8, count(*) from found group by event, rule order by event, rule
            on conflict (tenant_id, day, event, rule, slot) do update set violations = violation_counts.violations + excluded.violations
            """,
            cancel);
        // Not each time, so there may be that many more.
        if (Random.Shared.Next(ViolationDto.Spare) < found.Count)
            await work.ExecuteAsync(
                $"""
                delete from analytics.violations
                where id <= (select id from analytics.violations order by id desc offset {ViolationDto.Kept} limit 1)
                """,
                cancel);
    }
}
