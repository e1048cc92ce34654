using System.Collections.Frozen;
using System.Net;
using Agency.Platform;

namespace Agency.Analytics;

/// <summary>An item of a batch and what the organisation's config makes of it.</summary>
/// <param name="Excluded">Why it is not kept: <c>bot</c>, <c>address</c> or <c>user</c>; null when the config does not exclude it.</param>
/// <param name="Violations">Where it does not follow the tracking plan.</param>
/// <param name="IsRefused">It is rejected for them.</param>
public sealed record ScreenedItem(ReadItem Read, string? Excluded, IReadOnlyList<Violation> Violations, bool IsRefused)
{
    /// <summary>What may be kept; null when nothing may.</summary>
    public TrackedEvent? Candidate => Excluded is null && !IsRefused ? Read.Event : null;

    /// <summary>Why it is rejected; null when it is not.</summary>
    public string? Error => IsRefused ? $"does not follow the tracking plan: {string.Join("; ", Violations.Select(v => v.Wrong))}" : Read.Error;
}

/// <summary>An <see cref="AnalyticsConfig"/>, made ready to hold events against.</summary>
public sealed class Screening
{
    private readonly bool _filterBots;
    private readonly NetworkAddress[] _networks;
    private readonly FrozenSet<UInt128> _addresses;
    private readonly FrozenSet<string> _users;
    private readonly long[] _visitors;
    private readonly int? _days;
    private readonly PlanCheck? _plan;
    private readonly bool _refuses;
    private readonly int _bytes;

    public Screening(AnalyticsConfigDto config)
    {
        _filterBots = config.FilterBots;
        var networks = config.ExcludedAddresses.Select(text => NetworkAddress.TryParse(text, out NetworkAddress network, out _) ? network : default).ToList();
        _networks = [.. networks.Where(network => network.Mask != UInt128.MaxValue)];
        _addresses = networks.Where(network => network.Mask == UInt128.MaxValue).Select(network => network.First).ToFrozenSet();
        _users = config.ExcludedUsers.ToFrozenSet(StringComparer.Ordinal);
        _visitors = [.. config.ExcludedUsers.SelectMany(id => new[] { Visitor.Of(id, anonymous: false), Visitor.Of(id, anonymous: true) })];
        _days = config.RetentionDays;
        var plan = config.TrackingPlan;
        _plan = plan is { AllowUnknownEvents: true, Events: null or { Count: 0 } } ? null : new(plan);
        _refuses = plan.Mode == TrackingPlan.Refuse;
        _bytes = (200 * (networks.Count + _users.Count)) + (500 * (plan.Events ?? []).Sum(e => 1 + (e.Properties?.Count ?? 0)));
    }

    /// <summary>That of the caller's organisation, from the cache, which forgets it with each change of the config.</summary>
    public static Task<Screening> OfAsync(UnitOfWork work, Caller caller, ReadCache cache, CancellationToken cancel) => cache.GetAsync(
        caller, AnalyticsTopic.Name, AnalyticsConfig.Subject,
        async () => new Screening(await AnalyticsConfigDto.ReadAsync(work, CancellationToken.None)), screening => screening._bytes, cancel);

    /// <summary>The numbers among these items' ids that belong to a person who is excluded by another id.</summary>
    public async Task<IReadOnlySet<long>> ExcludedAsync(UnitOfWork work, IReadOnlyList<ReadItem> items, CancellationToken cancel)
    {
        if (_visitors.Length == 0)
            return FrozenSet<long>.Empty;
        var given = items.Select(item => item.Event).OfType<TrackedEvent>().SelectMany(e => new[] { Visitor.Of(e), Visitor.DeviceOf(e) }).OfType<long>().Distinct();
        return (await work.QueryAsync(
            $"""
            with excluded as (
              select coalesce(same_as, number) as person from unnest({_visitors}) as number left join analytics.identities on visitor = number
            )
            select number from unnest({given.ToArray()}) as number left join analytics.identities on visitor = number
            where coalesce(same_as, number) in (select person from excluded)
            """,
            row => row.GetInt64(0),
            cancel)).ToHashSet();
    }

    /// <param name="items">As they were read.</param>
    /// <param name="today">The first moment of the day, UTC, from which the age of events is counted.</param>
    /// <param name="excluded">From <see cref="ExcludedAsync"/>.</param>
    public IReadOnlyList<ScreenedItem> Of(IReadOnlyList<ReadItem> items, DateTime today, IReadOnlySet<long> excluded)
    {
        var oldest = _days is { } days ? AnalyticsConfig.OldestOf(days, today) : DateTime.MinValue;
        var screened = new ScreenedItem[items.Count];
        // Most items have their request's address.
        (IPAddress? Address, bool IsExcluded) last = default;
        for (var i = 0; i < screened.Length; i++)
        {
            if (items[i] is not { Event: { } e, Origin: { } origin } item)
            {
                screened[i] = new(items[i], null, [], false);
                continue;
            }

            if (!ReferenceEquals(origin.Address, last.Address))
                last = (origin.Address, IsExcluded(origin.Address));
            var reason = _filterBots && origin.IsBot ? "bot" : last.IsExcluded ? "address" : IsExcluded(e, excluded) ? "user" : null;
            if (reason is null && e.Time.UtcDateTime < oldest)
            {
                screened[i] = new(item with { Event = null, Error = $"time is before {oldest:yyyy-MM-dd}, and older events are not kept" }, null, [], false);
                continue;
            }

            var violations = reason is null && _plan is not null ? _plan.Of(e) : [];
            screened[i] = new(item, reason, violations, _refuses && violations.Count > 0);
        }

        return screened;
    }

    private bool IsExcluded(TrackedEvent e, IReadOnlySet<long> excluded) => _users.Count > 0
        && ((e.UserId is not null && _users.Contains(e.UserId)) || (e.AnonymousId is not null && _users.Contains(e.AnonymousId))
            || (excluded.Count > 0 && ((Visitor.Of(e) is { } visitor && excluded.Contains(visitor)) || (Visitor.DeviceOf(e) is { } device && excluded.Contains(device)))));

    private bool IsExcluded(IPAddress? address)
    {
        if (address is null || (_networks.Length == 0 && _addresses.Count == 0))
            return false;
        var number = NetworkAddress.Number(address);
        if (_addresses.Contains(number))
            return true;
        foreach (var network in _networks)
            if (network.Contains(number))
                return true;
        return false;
    }
}
