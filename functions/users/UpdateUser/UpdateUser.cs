using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

public sealed record UpdateUserCommand(
    string Email, string Name, string? Country = null, IReadOnlyList<string>? Tags = null, string? ExternalId = null, Guid? ReferredBy = null)
    : UserDetails(Email, Name, Country, Tags, ExternalId, ReferredBy);

[JsonSerializable(typeof(UpdateUserCommand))]
internal sealed partial class UpdateUserJson : JsonSerializerContext;

/// <summary>
/// PUT /users/{id}: replaces all that a client says of a user; what the body leaves out becomes empty. A new version each time, also
/// when nothing differs. 200; 400 naming the fields; 404; 409 when the email or external id is taken; 412 and 428 as for any change.
/// </summary>
public sealed class UpdateUser(UnitOfWork work)
{
    [Function(nameof(UpdateUser)), RequireScope("users:write")]
    [Operation(Body = typeof(UpdateUserCommand), Answer = typeof(UserDto), Problems = [409])]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "put", Route = "users/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var expected = http.IfMatch();
        var given = (await http.ReadAsync<UpdateUserCommand>(UpdateUserJson.Default, cancel)).Checked();
        return await work.RunAsync(http, () => ReplaceAsync(id, expected, given, cancel), cancel);
    }

    private async Task<Answer> ReplaceAsync(Guid id, long[]? expected, UserDetails given, CancellationToken cancel)
    {
        await work.LockVersionAsync($"users.users where id = {id}", expected, "user", cancel);
        var user = await work.ReplaceUserAsync(id, given, cancel);
        return Answer.Ok(user, UsersJson.Default.UserDto, user.Version);
    }
}
