namespace Agency.Analytics;

/// <summary>The answer of <c>GET /analytics/paths</c>: what comes right after an event, or comes right before it.</summary>
/// <param name="Event">The event that the paths begin at.</param>
/// <param name="Direction"><c>next</c> or <c>previous</c>.</param>
/// <param name="From">The first moment that counts; null when there is nothing and none was asked for.</param>
/// <param name="To">The first moment after it; null likewise.</param>
/// <param name="Sessions">Those in which the event is.</param>
/// <param name="Visitors">Different visitors whose sessions these are.</param>
/// <param name="Paths">The shortest first, and of one length those of most sessions first. Every path's beginning is there too.</param>
public sealed record PathsDto(
    string Event, string Direction, DateTimeOffset? From, DateTimeOffset? To, long Sessions, long Visitors, IReadOnlyList<PathDto> Paths);

/// <param name="Steps">What came one after the other, away from the event, which is not among them; each name or value cut off after 200 characters.</param>
/// <param name="Sessions">In how many sessions.</param>
/// <param name="Visitors">Different visitors whose sessions these are.</param>
/// <param name="Ended">Sessions of them in which nothing more came.</param>
public sealed record PathDto(IReadOnlyList<string> Steps, long Sessions, long Visitors, long Ended);
