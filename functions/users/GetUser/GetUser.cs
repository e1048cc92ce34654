using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

public sealed record UserByIdQuery(Guid Id);

/// <summary>GET /users/{id}.</summary>
public sealed class GetUser(UnitOfWork work)
{
    [Function(nameof(GetUser)), RequireScope("users:read")]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "users/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var query = new UserByIdQuery(id);
        var user = await work.QueryFirstAsync($"select {UserDto.Columns} from users.users where id = {query.Id}", UserDto.From, cancel);
        return user is null
            ? Problem.NotFound("user").ToAnswer()
            : Answer.Ok(user, UsersJson.Default.UserDto, user.Version);
    }
}
