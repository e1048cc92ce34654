using System.Text.Json;
using System.Text.Json.Serialization;

namespace Agency.Users;

/// <summary>What the domain's projections are called in the ports they use.</summary>
public static class ReadModels
{
    public const string Graph = "users";
    public const string SearchIndex = "users";
}

/// <summary>A user that a search has found.</summary>
/// <param name="Score">From 0 to 1, comparable within one search only.</param>
public sealed record FoundUserDto(Guid Id, string Name, string Email, string? Country, double Score);

/// <summary>A user who can be reached from another.</summary>
/// <param name="Distance">Steps, from 1.</param>
/// <param name="Path">
/// What each step leads to: <c>referrer</c> (who brought the one before), <c>referral</c> (whom the one before brought) or
/// <c>colleague</c> (whose email is at the same company). One of the shortest ways.
/// </param>
public sealed record RelatedUserDto(Guid Id, string Name, int Distance, IReadOnlyList<string> Path);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<FoundUserDto>))]
[JsonSerializable(typeof(IReadOnlyList<RelatedUserDto>))]
public sealed partial class ReadModelsJson : JsonSerializerContext;
