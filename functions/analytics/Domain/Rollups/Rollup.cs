using System.Runtime.InteropServices;

namespace Agency.Analytics;

/// <summary>
/// What some events of one organisation add to its rollups, or take from them: sums by key, in memory, so that each key is written once.
/// They are booked at the finest resolution that is kept; the coarser ones are made of those.
/// </summary>
/// <param name="sign">1, or -1 when the events are gone.</param>
public sealed class Rollup(int sign = 1)
{
    private readonly Dictionary<(DateTime Hour, string Name), long> _counts = [];
    private readonly Dictionary<RevenueKey, RevenueTotals> _revenue = [];
    private readonly Dictionary<DateTime, VisitTotals> _visits = [];

    public readonly record struct CountKey(string Resolution, DateTime Start, string Name);

    public readonly record struct OrderKey(string Currency, string Id);

    /// <param name="Dimension"><c>all</c>, <c>country</c>, <c>product</c> or <c>campaign</c>.</param>
    public readonly record struct RevenueKey(string Dimension, string Resolution, DateTime Start, string Currency, string Key);

    /// <summary>When each visitor was there.</summary>
    public Dictionary<long, List<DateTime>> Times { get; } = [];

    /// <summary>Who was there in an hour, by <see cref="UniqueKinds"/>.</summary>
    public Dictionary<(string Kind, DateTime Hour), HashSet<long>> Members { get; } = [];

    /// <summary>Lines that are not cancelled, by the hour they are in.</summary>
    public Dictionary<(OrderKey Order, DateTime Hour), long> Orders { get; } = [];

    /// <param name="visitor">Whom it counts for; null when that is nobody.</param>
    public void Add(TrackedEvent e, long? visitor)
    {
        var time = e.Time.UtcDateTime;
        At(_counts, (Interval.Floor(Interval.Hour, time), e.Event)) += sign;
        Book(time, new(sign, 0, 0, 0, 0, 0));
        if (visitor is { } who)
        {
            (CollectionsMarshal.GetValueRefOrAddDefault(Times, who, out _) ??= []).Add(time);
            See(UniqueKinds.Of(who), time, who);
        }

        // What is no order line was refused when it was sent. Should there be one, it is an event without revenue: nobody is left to be told,
        // and a purge must get past it.
        if (e.Event != OrderLine.EventName || OrderLine.TryRead(e.Properties.Utf8.Span, out var line) is not null)
            return;
        Add(line, time);
        if (visitor is { } buyer)
            See(UniqueKinds.Customer(line.Currency), time, buyer);
    }

    /// <summary>Events by name: hours, days and months.</summary>
    public List<KeyValuePair<CountKey, long>> Counts()
    {
        var sums = new Dictionary<CountKey, long>(_counts.Count * 2);
        foreach (var ((hour, name), events) in _counts)
            foreach (var resolution in (ReadOnlySpan<string>)[Interval.Hour, Interval.Day, Interval.Month])
                At(sums, new(resolution, Interval.Floor(resolution, hour), name)) += events;
        return [.. sums];
    }

    /// <summary>Revenue: all by hours, days and months, the other dimensions by days and months.</summary>
    public List<KeyValuePair<RevenueKey, RevenueTotals>> Revenue()
    {
        var sums = new Dictionary<RevenueKey, RevenueTotals>(_revenue.Count * 2);
        foreach (var (key, totals) in _revenue)
        {
            sums.Add(key, totals);
            if (key.Resolution == Interval.Hour)
                Book(sums, key with { Resolution = Interval.Day, Start = key.Start.Date }, totals);
            Book(sums, key with { Resolution = Interval.Month, Start = Interval.Floor(Interval.Month, key.Start) }, totals);
        }

        return [.. sums];
    }

    /// <summary>Events, sessions and new visitors: hours, days and months, those that change.</summary>
    public List<KeyValuePair<(string Resolution, DateTime Start), VisitTotals>> Visits()
    {
        var sums = new Dictionary<(string Resolution, DateTime Start), VisitTotals>();
        foreach (var (hour, totals) in _visits)
            foreach (var resolution in (ReadOnlySpan<string>)[Interval.Hour, Interval.Day, Interval.Month])
            {
                ref var sum = ref At(sums, (resolution, Interval.Floor(resolution, hour)));
                sum = sum.Add(totals);
            }

        return [.. sums.Where(s => s.Value != default)];
    }

    /// <summary>Counts an order in the hour of its first line, or stops counting it there.</summary>
    public void CountOrder(string currency, DateTime hour, int orders) =>
        Book(_revenue, new("all", Interval.Hour, hour, currency, ""), RevenueTotals.Zero with { Orders = orders });

    /// <summary>Counts a session where it starts, or stops counting it there.</summary>
    public void CountSession(Session session, int sessions) => Book(session.Start, new(
        0, 0, 0, sessions, session.Events == 1 ? sessions : 0, sessions * ((session.Last - session.Start).Ticks / TimeSpan.TicksPerMicrosecond)));

    /// <summary>Counts visitors as new where their first events are now, instead of where they were.</summary>
    public void MoveNewVisitors(IReadOnlyDictionary<long, DateTime> before, IReadOnlyDictionary<long, DateTime> after)
    {
        foreach (var (visitor, first) in before)
            if (!(after.TryGetValue(visitor, out var now) && now == first))
                CountNew(visitor, first, -1);
        foreach (var (visitor, first) in after)
            if (!(before.TryGetValue(visitor, out var was) && was == first))
                CountNew(visitor, first, 1);
    }

    private void CountNew(long visitor, DateTime first, int visitors) =>
        Book(first, Visitor.IsAnonymous(visitor) ? new(0, 0, visitors, 0, 0, 0) : new(0, visitors, 0, 0, 0, 0));

    private void Add(in OrderLine line, DateTime time)
    {
        var amount = line.Amount * sign;
        var totals = line.Amount > 0 ? RevenueTotals.Zero with { Gross = amount } : RevenueTotals.Zero with { Refunds = -amount };
        totals = totals with { Net = amount, Lines = sign, CancelledLines = line.Cancelled ? sign : 0, Units = line.Quantity * sign };
        Book(_revenue, new("all", Interval.Hour, Interval.Floor(Interval.Hour, time), line.Currency, ""), totals);
        Book(_revenue, new("country", Interval.Day, time.Date, line.Currency, line.Country ?? ""), totals);
        Book(_revenue, new("product", Interval.Day, time.Date, line.Currency, line.ProductId), totals);
        Book(_revenue, new("campaign", Interval.Day, time.Date, line.Currency, line.Campaign ?? ""), totals);

        if (!line.Cancelled)
            At(Orders, (new(line.Currency, line.OrderId), Interval.Floor(Interval.Hour, time))) += sign;
    }

    private void See(string kind, DateTime time, long visitor) =>
        (CollectionsMarshal.GetValueRefOrAddDefault(Members, (kind, Interval.Floor(Interval.Hour, time)), out _) ??= []).Add(visitor);

    private void Book(DateTime time, VisitTotals totals)
    {
        ref var sum = ref CollectionsMarshal.GetValueRefOrAddDefault(_visits, Interval.Floor(Interval.Hour, time), out _);
        sum = sum.Add(totals);
    }

    private static void Book(Dictionary<RevenueKey, RevenueTotals> sums, RevenueKey key, RevenueTotals totals)
    {
        ref var sum = ref CollectionsMarshal.GetValueRefOrAddDefault(sums, key, out _);
        sum = sum is null ? totals : sum.Add(totals);
    }

    private static ref TValue At<TKey, TValue>(Dictionary<TKey, TValue> sums, TKey key)
        where TKey : notnull
        where TValue : struct => ref CollectionsMarshal.GetValueRefOrAddDefault(sums, key, out _);
}

/// <param name="Events">Of whatever name.</param>
/// <param name="NewUsers">Users whose first event ever it is.</param>
/// <param name="NewAnonymous">Anonymous ids whose first event ever it is.</param>
/// <param name="Bounces">Sessions of one event.</param>
/// <param name="Duration">Of all sessions, microseconds.</param>
public readonly record struct VisitTotals(long Events, long NewUsers, long NewAnonymous, long Sessions, long Bounces, long Duration)
{
    public VisitTotals Add(VisitTotals b) => new(
        Events + b.Events, NewUsers + b.NewUsers, NewAnonymous + b.NewAnonymous, Sessions + b.Sessions, Bounces + b.Bounces, Duration + b.Duration);
}

/// <summary>Whom the table of uniques counts.</summary>
public static class UniqueKinds
{
    public const string User = "user";
    public const string Anonymous = "anonymous";
    private const string CustomerPrefix = "customer/";

    public static string Of(long visitor) => Visitor.IsAnonymous(visitor) ? Anonymous : User;

    /// <summary>Those with an order line in this currency.</summary>
    public static string Customer(string currency) => CustomerPrefix + currency;

    /// <summary>Null of the other kinds.</summary>
    public static string? CurrencyOf(string kind) => kind.StartsWith(CustomerPrefix, StringComparison.Ordinal) ? kind[CustomerPrefix.Length..] : null;
}
