using System.Runtime.InteropServices;
using System.Text.Json;

namespace Agency.Analytics;

/// <summary>What some events of one organisation add to its rollups: sums by key, in memory, so that each key is written once.</summary>
public sealed class Rollup
{
    public readonly record struct CountKey(string Resolution, DateTime Start, string Name);

    public readonly record struct VisitorKey(bool Anonymous, string Id);

    public readonly record struct OrderKey(string Currency, string Id);

    /// <param name="Dimension"><c>all</c>, <c>country</c> or <c>product</c>.</param>
    public readonly record struct RevenueKey(string Dimension, string Resolution, DateTime Start, string Currency, string Key);

    public Dictionary<CountKey, long> Counts { get; } = [];

    /// <summary>The earliest event of each visitor.</summary>
    public Dictionary<VisitorKey, DateTime> FirstSeen { get; } = [];

    /// <summary>The hours of each day in which a visitor was there; bit 0 is the hour from midnight.</summary>
    public Dictionary<(DateOnly Day, VisitorKey Visitor), int> Hours { get; } = [];

    /// <summary>The hour of the earliest line that is not cancelled.</summary>
    public Dictionary<OrderKey, DateTime> Orders { get; } = [];

    public Dictionary<RevenueKey, RevenueTotals> Revenue { get; } = [];

    /// <exception cref="JsonException">An order line is none; the slice that took it should have refused it.</exception>
    public void Add(TrackedEvent e)
    {
        var time = e.Time.UtcDateTime;
        foreach (var resolution in (ReadOnlySpan<string>)[Interval.Hour, Interval.Day, Interval.Month])
            At(Counts, new(resolution, Interval.Floor(resolution, time), e.Event))++;
        if ((e.UserId ?? e.AnonymousId) is { } id)
        {
            var visitor = new VisitorKey(e.UserId is null, id);
            ref var first = ref CollectionsMarshal.GetValueRefOrAddDefault(FirstSeen, visitor, out var known);
            first = known && first < time ? first : time;
            At(Hours, (DateOnly.FromDateTime(time), visitor)) |= 1 << time.Hour;
        }

        if (e.Event != OrderLine.EventName)
            return;
        if (OrderLine.TryRead(e.Properties.Utf8.Span, out var line) is { } wrong)
            throw new JsonException($"The event {e.MessageId} is no order line: {wrong}.");
        Add(line, time);
    }

    /// <summary>Counts an order in the hour of its first line, or stops counting it there.</summary>
    public void CountOrder(string currency, DateTime hour, int orders)
    {
        foreach (var resolution in (ReadOnlySpan<string>)[Interval.Hour, Interval.Day, Interval.Month])
            Book(new("all", resolution, Interval.Floor(resolution, hour), currency, ""), RevenueTotals.Zero with { Orders = orders });
    }

    public static int Compare(CountKey a, CountKey b) => string.CompareOrdinal(a.Resolution, b.Resolution) is var c and not 0 ? c
        : a.Start.CompareTo(b.Start) is var d and not 0 ? d
        : string.CompareOrdinal(a.Name, b.Name);

    public static int Compare(VisitorKey a, VisitorKey b) =>
        a.Anonymous.CompareTo(b.Anonymous) is var c and not 0 ? c : string.CompareOrdinal(a.Id, b.Id);

    public static int Compare(OrderKey a, OrderKey b) =>
        string.CompareOrdinal(a.Currency, b.Currency) is var c and not 0 ? c : string.CompareOrdinal(a.Id, b.Id);

    public static int Compare(RevenueKey a, RevenueKey b) => string.CompareOrdinal(a.Dimension, b.Dimension) is var c and not 0 ? c
        : string.CompareOrdinal(a.Resolution, b.Resolution) is var d and not 0 ? d
        : a.Start.CompareTo(b.Start) is var e and not 0 ? e
        : string.CompareOrdinal(a.Currency, b.Currency) is var f and not 0 ? f
        : string.CompareOrdinal(a.Key, b.Key);

    private void Add(in OrderLine line, DateTime time)
    {
        var amount = line.Amount;
        var totals = new RevenueTotals(decimal.Max(amount, 0), decimal.Max(-amount, 0), amount, 0, 1, line.Cancelled ? 1 : 0, line.Quantity);
        Book(new("all", Interval.Hour, Interval.Floor(Interval.Hour, time), line.Currency, ""), totals);
        foreach (var resolution in (ReadOnlySpan<string>)[Interval.Day, Interval.Month])
        {
            var start = Interval.Floor(resolution, time);
            Book(new("all", resolution, start, line.Currency, ""), totals);
            Book(new("country", resolution, start, line.Currency, line.Country ?? ""), totals);
            Book(new("product", resolution, start, line.Currency, line.ProductId), totals);
        }

        if (line.Cancelled)
            return;
        var hour = Interval.Floor(Interval.Hour, time);
        ref var first = ref CollectionsMarshal.GetValueRefOrAddDefault(Orders, new(line.Currency, line.OrderId), out var known);
        first = known && first < hour ? first : hour;
    }

    private void Book(RevenueKey key, RevenueTotals totals)
    {
        ref var sum = ref CollectionsMarshal.GetValueRefOrAddDefault(Revenue, key, out _);
        sum = sum is null ? totals : sum.Add(totals);
    }

    private static ref TValue At<TKey, TValue>(Dictionary<TKey, TValue> sums, TKey key)
        where TKey : notnull
        where TValue : struct => ref CollectionsMarshal.GetValueRefOrAddDefault(sums, key, out _);
}
