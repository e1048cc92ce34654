namespace Agency.Analytics;

/// <summary>What <c>GET /analytics/live</c> tells each second.</summary>
/// <param name="At">When it was so.</param>
/// <param name="Visitors">Different visitors with an event in the last five minutes.</param>
/// <param name="LastMinute">Events in the last minute.</param>
/// <param name="LastFiveMinutes">Events in the last five.</param>
/// <param name="Events">The ten events of most visitors in the last five minutes.</param>
/// <param name="Pages">The ten values of <c>$path</c> of most visitors in the last five minutes.</param>
public sealed record LiveDto(
    DateTimeOffset At, long Visitors, long LastMinute, long LastFiveMinutes, IReadOnlyList<LiveCount> Events, IReadOnlyList<LiveCount> Pages);

/// <param name="Name">The event's name, or the path, cut off after 200 characters.</param>
/// <param name="Visitors">Different visitors.</param>
/// <param name="Events">Events, also of nobody that is known.</param>
public sealed record LiveCount(string Name, long Visitors, long Events);
