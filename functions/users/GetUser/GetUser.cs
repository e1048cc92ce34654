using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

public sealed record UserByIdQuery(Guid Id);

/// <summary>GET /users/{id}: a user, from the cache, which forgets a user with each of the user's events.</summary>
public sealed class GetUser(UnitOfWork work, Caller caller, ReadCache cache)
{
    [Function(nameof(GetUser)), RequireScope("users:read")]
    [Operation(Answer = typeof(UserDto))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "users/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var query = new UserByIdQuery(id);
        return await cache.GetAsync(caller, UsersTopic.Name, query.Id, () => ReadAsync(query), cancel);
    }

    private async Task<Answer> ReadAsync(UserByIdQuery query)
    {
        var user = await work.QueryFirstAsync(
            $"select {UserDto.Columns} from users.users where id = {query.Id}", UserDto.From, CancellationToken.None);
        return user is null
            ? Problem.NotFound("user").ToAnswer()
            : Answer.Ok(user, UsersJson.Default.UserDto, user.Version);
    }
}
