using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Npgsql;

namespace Agency.Users;

/// <summary>A person known to an organisation.</summary>
/// <param name="Email">As it was given; unique in the organisation whatever its case.</param>
/// <param name="Country">ISO 3166-1 alpha-2, or null when unknown.</param>
/// <param name="ExternalId">The id that the organisation's own system has for the user; unique in the organisation.</param>
/// <param name="ReferredBy">The user who brought this one.</param>
/// <param name="Version">From 1, plus one with each change; the entity tag.</param>
public sealed record UserDto(
    Guid Id, string Email, string Name, string? Country, IReadOnlyList<string> Tags, string? ExternalId, Guid? ReferredBy,
    long Version, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    /// <summary>The columns that <see cref="From"/> reads, in its order.</summary>
    public static Sql Columns => $"id, email, name, country, tags, external_id, referred_by, version, created_at, updated_at";

    public static UserDto From(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetString(2), row.IsDBNull(3) ? null : row.GetString(3), row.GetFieldValue<string[]>(4),
        row.IsDBNull(5) ? null : row.GetString(5), row.IsDBNull(6) ? null : row.GetGuid(6), row.GetInt64(7),
        row.GetFieldValue<DateTimeOffset>(8), row.GetFieldValue<DateTimeOffset>(9));
}

public static class UsersTopic
{
    public const string Name = "agency.users";
}

public sealed record UserCreatedEvent(UserDto User) : IDomainEvent<UserCreatedEvent>
{
    public static EventType<UserCreatedEvent> EventType { get; } =
        new("agency.users.user-created.v1", UsersTopic.Name, UsersJson.Default.UserCreatedEvent);
}

/// <param name="User">As it is after the change.</param>
public sealed record UserUpdatedEvent(UserDto User) : IDomainEvent<UserUpdatedEvent>
{
    public static EventType<UserUpdatedEvent> EventType { get; } =
        new("agency.users.user-updated.v1", UsersTopic.Name, UsersJson.Default.UserUpdatedEvent);
}

/// <summary>The user is gone. It names nobody: what told who it was must not outlive it here.</summary>
/// <param name="Country">Where the user was, for counts.</param>
public sealed record UserDeletedEvent(Guid Id, string? Country) : IDomainEvent<UserDeletedEvent>
{
    public static EventType<UserDeletedEvent> EventType { get; } =
        new("agency.users.user-deleted.v1", UsersTopic.Name, UsersJson.Default.UserDeletedEvent);
}

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<UserDto>))]
[JsonSerializable(typeof(UserCreatedEvent))]
[JsonSerializable(typeof(UserUpdatedEvent))]
[JsonSerializable(typeof(UserDeletedEvent))]
public sealed partial class UsersJson : JsonSerializerContext;
