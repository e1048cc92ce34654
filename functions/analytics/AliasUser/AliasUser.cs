using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>POST /alias: two user ids are one person, with all that either did before and will do. 204; 409 when the previous
/// one is another's, or the person is being purged.</summary>
public sealed class AliasUser(UnitOfWork work)
{
    [Function(nameof(AliasUser)), RequireScope("events:write")]
    [Operation(Body = typeof(AliasUserCommand), Status = 204)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "alias")] HttpRequest http, CancellationToken cancel)
    {
        var command = await http.ReadAsync<AliasUserCommand>(AnalyticsJson.Default, cancel);
        PersonIds.Check(("previousId", command.PreviousId), ("userId", command.UserId));
        var (previous, user) = (Visitor.Of(command.PreviousId, anonymous: false), Visitor.Of(command.UserId, anonymous: false));
        return await work.RunAsync(
            http,
            async () => await Identities.SameAsync(work, previous, user, cancel)
                ? Answer.NoContent()
                : PersonIds.Taken.ToAnswer(),
            cancel);
    }
}
