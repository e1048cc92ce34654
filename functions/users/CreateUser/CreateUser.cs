using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

public sealed record CreateUserCommand(
    string Email, string Name, string? Country = null, IReadOnlyList<string>? Tags = null, string? ExternalId = null, Guid? ReferredBy = null)
    : UserDetails(Email, Name, Country, Tags, ExternalId, ReferredBy);

[JsonSerializable(typeof(CreateUserCommand))]
internal sealed partial class CreateUserJson : JsonSerializerContext;

/// <summary>POST /users: makes a user known to the caller's organisation. 201; 400 naming the fields; 409 when the email or external id is taken.</summary>
public sealed class CreateUser(UnitOfWork work)
{
    [Function(nameof(CreateUser)), RequireScope("users:write")]
    [Operation(Body = typeof(CreateUserCommand), Answer = typeof(UserDto), Status = 201)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "users")] HttpRequest http, CancellationToken cancel)
    {
        var given = (await http.ReadAsync<CreateUserCommand>(CreateUserJson.Default, cancel)).Checked();
        return await work.RunAsync(http, () => InsertAsync(given, cancel), cancel);
    }

    private async Task<Answer> InsertAsync(UserDetails given, CancellationToken cancel)
    {
        var user = await work.InsertUserAsync(given, cancel);
        return Answer.Created($"/users/{user.Id}", user, UsersJson.Default.UserDto, user.Version);
    }
}
