using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Npgsql;

namespace Agency.Users;

/// <summary>A message of Clerk, as far as it is read; Clerk sends more, and adds to it over time.</summary>
/// <param name="Type">Such as <c>user.updated</c>.</param>
/// <param name="Timestamp">When it happened, milliseconds since 1970.</param>
public sealed record ClerkMessage(string? Type, long? Timestamp, ClerkData? Data);

/// <summary>A user, or a membership of one in an organisation.</summary>
/// <param name="UpdatedAt">Milliseconds since 1970.</param>
public sealed record ClerkData(
    string? Id, long? UpdatedAt, string? FirstName, string? LastName, string? Username, string? PrimaryEmailAddressId,
    IReadOnlyList<ClerkEmailAddress?>? EmailAddresses, ClerkOrganisation? Organization, ClerkPublicUserData? PublicUserData);

public sealed record ClerkEmailAddress(string? Id, string? EmailAddress);

public sealed record ClerkOrganisation(string? Id);

/// <param name="Identifier">An email address, a user name or a telephone number.</param>
public sealed record ClerkPublicUserData(string? UserId, string? FirstName, string? LastName, string? Identifier);

/// <summary>What a message tells of one user.</summary>
/// <param name="At">Clerk's time of the details, milliseconds since 1970.</param>
/// <param name="Details">Null when it tells none.</param>
/// <param name="Membership">The membership it is about, or null.</param>
public sealed record ClerkNews(string User, long At, UserDetails? Details, bool Deleted, ClerkMembership? Membership)
{
    /// <summary>Null when the message is about something else, or lacks what it should have.</summary>
    /// <exception cref="ProblemException">400: the user cannot be one here, because the email address is of a form that is not taken.</exception>
    public static ClerkNews? From(ClerkMessage message) => message switch
    {
        { Type: "user.created" or "user.updated", Data: { Id: { Length: > 0 } id } user } =>
            new(id, user.UpdatedAt ?? message.Timestamp ?? 0, DetailsOf(id, PrimaryEmail(user), user.FirstName, user.LastName, user.Username), false, null),
        { Type: "user.deleted", Data.Id: { Length: > 0 } id } => new(id, 0, null, true, null),
        {
            Type: "organizationMembership.created" or "organizationMembership.updated" or "organizationMembership.deleted",
            Data: { Id: { Length: > 0 } id, Organization.Id: { Length: > 0 } organisation, PublicUserData: { UserId: { Length: > 0 } member } person }
        } =>
            // Older than any other news: what a membership says of the person counts until the person's own message comes.
            new(member, 0, DetailsOf(member, person.Identifier is { } text && EmailAddress.IsValid(text) ? text : null, person.FirstName, person.LastName, null),
                false, new(id, organisation, message.Type == "organizationMembership.deleted")),
        _ => null,
    };

    private static string? PrimaryEmail(ClerkData user) =>
        user.EmailAddresses?.FirstOrDefault(address => address?.Id is not null && address.Id == user.PrimaryEmailAddressId)?.EmailAddress;

    private static UserDetails? DetailsOf(string id, string? email, string? first, string? last, string? username)
    {
        if (string.IsNullOrWhiteSpace(email))
            return null;
        var name = new string([.. $"{first} {last}".Select(c => char.IsControl(c) ? ' ' : c)]).Trim();
        if (name.Length == 0)
            name = string.IsNullOrWhiteSpace(username) ? email : username;
        return new UserDetails(email, name.Cut(UserDetails.MaxName), ExternalId: id).Checked();
    }
}

public sealed record ClerkMembership(string Id, string Organisation, bool Ended);

/// <summary>All that is known of a Clerk user.</summary>
/// <param name="Revision">Grows with each thing learned.</param>
/// <param name="Details">Null when not known, or deleted.</param>
/// <param name="Organisations">Those that the user is in.</param>
/// <param name="Left">Those that the user was in.</param>
public sealed record ClerkUser(string Id, long Revision, UserDetails? Details, bool Deleted, IReadOnlyList<string> Organisations, IReadOnlyList<string> Left)
{
    /// <summary>Adds the news to what is known. In a transaction of its own, for no organisation: which ones it concerns is what it finds out.</summary>
    public static async Task<ClerkUser> LearnAsync(Database database, ClerkNews news, CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand(
            "select revision, email, name, deleted, organisation, left_organisation from users.learn_from_clerk($1, $2, $3, $4, $5, $6, $7, $8)");
        object?[] values =
        [
            news.User, news.At, news.Details?.Email, news.Details?.Name, news.Deleted, news.Membership?.Id, news.Membership?.Organisation,
            news.Membership?.Ended ?? false,
        ];
        foreach (var value in values)
            command.Parameters.Add(new NpgsqlParameter { Value = value ?? DBNull.Value });
        await using var row = await command.ExecuteReaderAsync(cancel);
        await row.ReadAsync(cancel);
        return new(
            news.User,
            row.GetInt64(0),
            row.IsDBNull(1) ? null : new UserDetails(row.GetString(1), row.GetString(2), Tags: [], ExternalId: news.User),
            row.GetBoolean(3),
            row.GetFieldValue<string[]>(4),
            row.GetFieldValue<string[]>(5));
    }

    /// <summary>
    /// Makes the caller's organisation follow: the user is there or is not, as decided at this revision. Once for each message and never
    /// back to an older revision. The user is the one with the Clerk id as external id, else one with the same email and no external id.
    /// </summary>
    /// <returns>False when there was nothing to do any more.</returns>
    public async Task<bool> FollowAsync(UnitOfWork work, bool isMember, string messageId, CancellationToken cancel)
    {
        var isNew = await work.ExecuteAsync(
            $"""
            with message as (
              insert into users.clerk_messages (message_id) values ({messageId}) on conflict do nothing returning 1
            ), forgotten as (
              delete from users.clerk_messages
              where (tenant_id, message_id) in (select tenant_id, message_id from users.clerk_messages where handled_at < now() - interval '7 days' limit 100)
            )
            insert into users.clerk_followed (user_id, revision)
            select {Id}, {Revision} from message
            on conflict (tenant_id, user_id) do update set revision = excluded.revision where clerk_followed.revision < excluded.revision
            """,
            cancel) == 1;
        if (!isNew)
            return false;
        var known = await FindAsync(work, $"external_id = {Id}", cancel);
        if (!isMember || Details is null)
        {
            if (known is not null)
                await work.DeleteUserAsync(known.Id, known.Version, cancel);
            return true;
        }

        known ??= await FindAsync(work, $"external_id is null and id = users.id_by_email({Details.Email})", cancel);
        if (known is null)
            await work.InsertUserAsync(Details, cancel);
        // Clerk tells of each sign-in too; that changes nothing here.
        else if (known.Email != Details.Email || known.Name != Details.Name || known.ExternalId != Id)
            await work.ReplaceUserAsync(known.Id, Details with { Country = known.Country, Tags = known.Tags, ReferredBy = known.ReferredBy }, cancel);
        return true;
    }

    private static Task<UserDto?> FindAsync(UnitOfWork work, Sql which, CancellationToken cancel) =>
        work.QueryFirstAsync($"select {UserDto.Columns} from users.users where {which} for update", UserDto.From, cancel);
}

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(ClerkMessage))]
public sealed partial class ClerkJson : JsonSerializerContext;
