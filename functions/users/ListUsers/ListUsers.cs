using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <param name="Limit">Users on a page.</param>
/// <param name="After">The last id of the page before; null for the first page.</param>
public sealed record UserQuery(
    [Range(1, 500), DefaultValue(50)] int Limit, [FromQuery(Name = "cursor")] Guid? After, [RegularExpression("[A-Za-z]{2}")] string? Country, string? Tag);

/// <summary>
/// GET /users?limit=&amp;cursor=&amp;country=&amp;tag=: the organisation's users as a JSON array, by id, which is the order of their making.
/// <c>Link: rel=next</c> leads on. A user who is there during the whole walk is on exactly one page, whatever is added or deleted meanwhile.
/// </summary>
public sealed class ListUsers(UnitOfWork work)
{
    [Function(nameof(ListUsers)), RequireScope("users:read")]
    [Operation(Query = typeof(UserQuery), Answer = typeof(IReadOnlyList<UserDto>))]
    public async Task<IResult> Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "users")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new UserQuery(
            parameters.Integer("limit", 1, 500, 50), parameters.CursorId(), parameters.Text("country")?.Trim().ToUpperInvariant(), parameters.Text("tag")?.Trim());
        if (query.Country is not null && !Countries.IsCode(query.Country))
            throw QueryParameters.Wrong("country", "Must be an ISO 3166-1 alpha-2 code such as GB.");
        Sql country = query.Country is null ? Sql.Empty : $"and country = {query.Country}";
        Sql tag = query.Tag is null ? Sql.Empty : $"and id in (select user_id from users.user_tags where tag = {query.Tag})";
        var users = await work.QueryAsync(
            $"""
            select {UserDto.Columns}
            from users.users
            where id > {query.After ?? Guid.Empty} {country} {tag}
            order by id
            limit {query.Limit + 1}
            """,
            UserDto.From,
            cancel);
        return parameters.Page(users, query.Limit, user => user.Id, UsersJson.Default.IReadOnlyListUserDto);
    }
}
