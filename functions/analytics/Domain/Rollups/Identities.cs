using System.Runtime.InteropServices;
using System.Text.Json;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>Persons who go by several ids: an anonymous id that was identified as a user's, a former user id that is an alias.</summary>
public static class Identities
{
    /// <summary>Whom this visitor is known to be: another, or himself.</summary>
    public static async Task<long> ResolveAsync(UnitOfWork work, long visitor, CancellationToken cancel) =>
        await work.QueryFirstAsync($"select same_as from analytics.identities where visitor = {visitor}", row => (long?)row.GetInt64(0), cancel) ?? visitor;

    /// <summary>All numbers of the person that this visitor is.</summary>
    public static async Task<long[]> NumbersAsync(UnitOfWork work, long visitor, CancellationToken cancel)
    {
        var person = await ResolveAsync(work, visitor, cancel);
        return [person, .. await work.QueryAsync($"select visitor from analytics.identities where same_as = {person}", row => row.GetInt64(0), cancel)];
    }

    /// <summary>Whom each event counts for, by the ids that it names.</summary>
    public static async Task<List<(TrackedEvent Event, long? Visitor)>> WhomAsync(UnitOfWork work, List<TrackedEvent> events, CancellationToken cancel)
    {
        var named = events.ConvertAll(e => (Event: e, Visitor: Visitor.Of(e)));
        var known = (await work.QueryAsync(
            $"select visitor, same_as from analytics.identities where visitor = any({named.Select(n => n.Visitor).OfType<long>().Distinct().ToArray()})",
            row => (row.GetInt64(0), row.GetInt64(1)),
            cancel)).ToDictionary();
        return named.ConvertAll(n => (n.Event, n.Visitor is { } visitor && known.TryGetValue(visitor, out var person) ? person : n.Visitor));
    }

    /// <summary>The same. An identity may have become known after the event was kept, so its row is brought up to date too.</summary>
    public static async Task<IReadOnlyList<(TrackedEvent Event, long? Visitor)>> ResolveAsync(UnitOfWork work, List<TrackedEvent> events, CancellationToken cancel)
    {
        var resolved = await WhomAsync(work, events, cancel);
        await AttributeAsync(work, resolved.FindAll(r => r.Visitor != Visitor.Of(r.Event)), cancel);
        return resolved;
    }

    /// <summary>Makes the rows of events say for whom they count.</summary>
    public static async Task AttributeAsync(UnitOfWork work, List<(TrackedEvent Event, long? Visitor)> events, CancellationToken cancel)
    {
        if (events.Count > 0)
            await work.ExecuteAsync(
                $"""
                update analytics.events e set visitor = known.visitor
                from unnest({events.ConvertAll(o => o.Event.Event).ToArray()}, {events.ConvertAll(o => o.Event.Time.UtcDateTime).ToArray()},
                  {events.ConvertAll(o => o.Event.MessageId).ToArray()}, {events.ConvertAll(o => o.Visitor).ToArray()})
                  as known (name, occurred_at, message_id, visitor)
                where e.name = known.name and e.occurred_at = known.occurred_at and e.message_id = known.message_id and e.visitor is distinct from known.visitor
                """,
                cancel);
    }

    /// <summary>Makes one visitor the same person as another from now on, and tells of it; <see cref="JoinAsync"/> brings the history after.</summary>
    /// <returns>False when that visitor is known to be somebody else already.</returns>
    /// <exception cref="ProblemException">409: one of them is being purged.</exception>
    public static async Task<bool> SameAsync(UnitOfWork work, long visitor, long other, CancellationToken cancel)
    {
        await LockAsync(work, cancel);
        other = await ResolveAsync(work, other, cancel);
        var known = await ResolveAsync(work, visitor, cancel);
        if (known == other)
            return true;
        if (known != visitor)
            return false;
        // What is to go would be another's, and stay.
        if (await work.QueryFirstAsync(
            $"select exists (select from analytics.purges where finished_at is null and visitors && {new[] { visitor, other }})", row => row.GetBoolean(0), cancel))
            throw new ProblemException(PersonIds.BeingPurged);
        var told = Guid.CreateVersion7();
        await work.ExecuteAsync($"update analytics.identities set same_as = {other} where same_as = {visitor}", cancel);
        await work.ExecuteAsync($"insert into analytics.identities (visitor, same_as, moved, told_in) values ({visitor}, {other}, false, {told})", cancel);
        work.Append(new VisitorsJoinedEvent(visitor), told, 1);
        return true;
    }

    /// <summary>
    /// Until the transaction ends, nobody else of the organisation makes visitors the same, so that the table stays flat, or begins or ends
    /// the purge of a person.
    /// </summary>
    public static Task LockAsync(UnitOfWork work, CancellationToken cancel) => work.LockAsync("identities", cancel);

    /// <summary>Forgets who a person is known to be, here and on the log. Waits for events that are being led to that person.</summary>
    /// <param name="visitors">All numbers of the person.</param>
    public static async Task ForgetAsync(UnitOfWork work, long[] visitors, CancellationToken cancel)
    {
        var told = await work.QueryAsync($"delete from analytics.identities where visitor = any({visitors}) returning told_in", row => row.GetFieldValue<Guid?>(0), cancel);
        await EventRedaction.RedactAsync(
            work, AnalyticsTopic.Name, [.. told.OfType<Guid>().Select(id => id.ToString())],
            _ => JsonSerializer.SerializeToUtf8Bytes(new(0), AnalyticsJson.Default.VisitorsJoinedEvent), cancel);
    }

    /// <summary>Makes the histories of visitors those of whom they are known to be. The organisation's lock is held.</summary>
    public static async Task JoinAsync(UnitOfWork work, IReadOnlyCollection<long> visitors, CancellationToken cancel)
    {
        if (visitors.Count == 0)
            return;
        var persons = (await work.QueryAsync(
            $"update analytics.identities set moved = true where visitor = any({visitors.ToArray()}) returning visitor, same_as",
            row => (row.GetInt64(0), row.GetInt64(1)),
            cancel)).ToDictionary();
        var tables = new RollupTables(work);
        var histories = await tables.SessionsAsync([.. persons.Keys.Select(visitor => (visitor, DateTime.UnixEpoch, DateTime.UtcNow.AddYears(1)))], cancel);
        if (histories.Count == 0)
            return;
        await MoveEventsAsync(work, [.. histories.Select(h => (h.Key, persons[h.Key], h.First().Start, h.Max(s => s.Last)))], cancel);

        var byPerson = histories.GroupBy(h => persons[h.Key], h => h.Select(session => (Visitor: h.Key, Session: session)))
            .ToDictionary(g => g.Key, g => g.SelectMany(sessions => sessions).ToList());
        var near = await tables.SessionsAsync(
            [.. byPerson.Select(p => (p.Key, p.Value.Min(h => h.Session.Start) - Session.Silence, p.Value.Max(h => h.Session.Last) + Session.Silence))], cancel);
        var (gone, come) = (byPerson.Values.SelectMany(h => h).ToList(), new List<(long, Session)>());
        foreach (var (person, history) in byPerson)
        {
            var joined = Session.Join([.. history.Select(h => h.Session), .. near[person]]);
            gone.AddRange(near[person].Except(joined).Select(session => (person, session)));
            come.AddRange(joined.Except(near[person]).Select(session => (person, session)));
        }

        var rollup = new Rollup();
        await tables.ReplaceSessionsAsync(rollup, [.. persons.Keys.Union(byPerson.Keys)], gone, come, cancel);
        await tables.AddSumsAsync(rollup, cancel);
    }

    /// <summary>The events themselves, and who was there.</summary>
    private static async Task MoveEventsAsync(UnitOfWork work, List<(long Visitor, long Person, DateTime First, DateTime Last)> histories, CancellationToken cancel)
    {
        var persons = histories.ToDictionary(h => h.Visitor, h => h.Person);
        var (left, came) = (new Dictionary<(string, DateTime), HashSet<long>>(), new Dictionary<(string, DateTime), HashSet<long>>());
        foreach (var (visitor, hour, currency) in await work.QueryAsync(
            $"""
            with moved as (
              update analytics.events e set visitor = history.person
              from unnest({histories.ConvertAll(h => h.Visitor).ToArray()}, {histories.ConvertAll(h => h.Person).ToArray()},
                {histories.ConvertAll(h => h.First).ToArray()}, {histories.ConvertAll(h => h.Last).ToArray()}) as history (visitor, person, first, last)
              where e.visitor = history.visitor and e.occurred_at >= history.first and e.occurred_at <= history.last
                and not exists (select from analytics.pending_batches p where p.batch_id = e.batch_id)
              returning history.visitor, date_trunc('hour', e.occurred_at, 'UTC') as hour, case e.name when {OrderLine.EventName} then e.properties ->> 'currency' end as currency
            )
            select distinct * from moved
            """,
            row => (row.GetInt64(0), row.GetFieldValue<DateTime>(1), row.IsDBNull(2) ? null : row.GetString(2)),
            cancel))
        {
            var person = persons[visitor];
            Note(left, UniqueKinds.Of(visitor), hour, visitor);
            Note(came, UniqueKinds.Of(person), hour, person);
            if (currency is null)
                continue;
            Note(left, UniqueKinds.Customer(currency), hour, visitor);
            Note(came, UniqueKinds.Customer(currency), hour, person);
        }

        await new UniqueTable(work, $"analytics").MoveAsync(left, came, cancel);

        static void Note(Dictionary<(string, DateTime), HashSet<long>> visitors, string kind, DateTime hour, long visitor) =>
            (CollectionsMarshal.GetValueRefOrAddDefault(visitors, (kind, hour), out _) ??= []).Add(visitor);
    }
}
