using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

public sealed record CreateUserCommand(
    [property: Required, EmailAddress, StringLength(254)] string Email,
    [property: Required, StringLength(200, MinimumLength = 1)] string Name,
    string? Country = null,
    IReadOnlyList<string>? Tags = null,
    string? ExternalId = null,
    Guid? ReferredBy = null);

[JsonSerializable(typeof(CreateUserCommand))]
internal sealed partial class CreateUserJson : JsonSerializerContext;

/// <summary>POST /users: makes a user known to the caller's organisation.</summary>
public sealed class CreateUser(UnitOfWork work)
{
    [Function(nameof(CreateUser)), RequireScope("users:write")]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "users")] HttpRequest http, CancellationToken cancel)
    {
        var command = await http.ReadAsync<CreateUserCommand>(CreateUserJson.Default, cancel);
        return await work.RunAsync(
            http,
            async () =>
            {
                var user = await work.QueryFirstAsync(
                    $"""
                    insert into users.users (id, email, name, country, tags, external_id, referred_by)
                    values ({Guid.CreateVersion7()}, {command.Email}, {command.Name}, {command.Country},
                        {command.Tags?.ToArray() ?? []}, {command.ExternalId}, {command.ReferredBy})
                    on conflict do nothing
                    returning {UserDto.Columns}
                    """,
                    UserDto.From,
                    cancel);
                if (user is null)
                    return Problem.Of(409, "email-taken", "The email is taken", "Another user of this organisation has this email.").ToAnswer();
                work.Append(new UserCreatedEvent(user), user.Id, user.Version);
                return Answer.Created($"/users/{user.Id}", user, UsersJson.Default.UserDto, user.Version);
            },
            cancel);
    }
}
