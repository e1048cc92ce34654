using Agency.Platform;
using Npgsql;

namespace Agency.Users;

/// <summary>
/// The three changes of a user, each with its event, for whoever makes them: a client's command or another system's message. They run in the
/// transaction of the unit of work.
/// </summary>
public static class UserChanges
{
    /// <param name="given">Checked.</param>
    /// <exception cref="ProblemException">400: the referrer does not exist; 409: another user has the email or the external id.</exception>
    public static async Task<UserDto> InsertUserAsync(this UnitOfWork work, UserDetails given, CancellationToken cancel)
    {
        var user = await KeepAsync(
            work,
            $"""
            insert into users.users (id, email, name, country, tags, external_id, referred_by)
            select {Guid.CreateVersion7()}, {given.Email}, {given.Name}, {given.Country}, {given.Tags!.ToArray()}, {given.ExternalId}, {given.ReferredBy}
            where {given.ReferredBy} is null or exists (select from users.users where id = {given.ReferredBy})
            returning {UserDto.Columns}
            """,
            cancel);
        work.Append(new UserCreatedEvent(user), user.Id, user.Version);
        return user;
    }

    /// <summary>A referrer who has been deleted since may stay, else whoever was referred by one could not be changed any more.</summary>
    /// <param name="id">A user that the transaction has locked.</param>
    /// <param name="given">Checked.</param>
    /// <exception cref="ProblemException">400: the referrer does not exist; 409: another user has the email or the external id.</exception>
    public static async Task<UserDto> ReplaceUserAsync(this UnitOfWork work, Guid id, UserDetails given, CancellationToken cancel)
    {
        var user = await KeepAsync(
            work,
            $"""
            update users.users
            set email = {given.Email}, name = {given.Name}, country = {given.Country}, tags = {given.Tags!.ToArray()},
                external_id = {given.ExternalId}, referred_by = {given.ReferredBy}, version = version + 1, updated_at = now()
            where id = {id} and ({given.ReferredBy} is null or referred_by = {given.ReferredBy}
                or exists (select from users.users referrer where referrer.id = {given.ReferredBy} and referrer.id <> {id}))
            returning {UserDto.Columns}
            """,
            cancel);
        work.Append(new UserUpdatedEvent(user), user.Id, user.Version);
        return user;
    }

    /// <param name="id">A user that the transaction has locked.</param>
    /// <param name="version">The one it has.</param>
    public static async Task DeleteUserAsync(this UnitOfWork work, Guid id, long version, CancellationToken cancel)
    {
        var country = await work.QueryFirstAsync(
            $"delete from users.users where id = {id} returning country", row => row.IsDBNull(0) ? null : row.GetString(0), cancel);
        work.Append(new UserDeletedEvent(id, country), id, version + 1);
    }

    /// <param name="change">Finds no row when the referrer does not exist.</param>
    private static async Task<UserDto> KeepAsync(UnitOfWork work, Sql change, CancellationToken cancel)
    {
        try
        {
            return await work.QueryFirstAsync(change, UserDto.From, cancel) ?? throw new ProblemException(UserProblems.NoSuchReferrer);
        }
        catch (PostgresException taken) when (UserProblems.For(taken) is { } problem)
        {
            throw new ProblemException(problem);
        }
    }
}
