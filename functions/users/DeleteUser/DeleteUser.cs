using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <param name="Versions">One of them the client has seen last; null when it does not mind.</param>
public sealed record DeleteUserCommand(Guid Id, long[]? Versions);

/// <summary>DELETE /users/{id}: forgets a user; the email and the external id are free again. 204; 404; 412 and 428 as for any change.</summary>
public sealed class DeleteUser(UnitOfWork work)
{
    [Function(nameof(DeleteUser)), RequireScope("users:write")]
    [Operation(Status = 204)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "delete", Route = "users/{id:guid}")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var command = new DeleteUserCommand(id, http.IfMatch());
        return await work.RunAsync(http, () => DeleteAsync(command, cancel), cancel);
    }

    private async Task<Answer> DeleteAsync(DeleteUserCommand command, CancellationToken cancel)
    {
        var version = await work.LockVersionAsync($"users.users where id = {command.Id}", command.Versions, "user", cancel);
        await work.DeleteUserAsync(command.Id, version, cancel);
        return Answer.NoContent();
    }
}
