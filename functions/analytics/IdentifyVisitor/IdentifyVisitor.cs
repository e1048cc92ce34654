using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics;

/// <summary>POST /identify: an anonymous id is a user's, with all that it did before and will do. 204; 409 when it is
/// another user's already, or the person is being purged.</summary>
public sealed class IdentifyVisitor(UnitOfWork work)
{
    [Function(nameof(IdentifyVisitor)), RequireScope("events:write")]
    [Operation(Body = typeof(IdentifyVisitorCommand), Status = 204)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "identify")] HttpRequest http, CancellationToken cancel)
    {
        var command = await http.ReadAsync<IdentifyVisitorCommand>(AnalyticsJson.Default, cancel);
        PersonIds.Check(("anonymousId", command.AnonymousId), ("userId", command.UserId));
        var (visitor, user) = (Visitor.Of(command.AnonymousId, anonymous: true), Visitor.Of(command.UserId, anonymous: false));
        return await work.RunAsync(
            http,
            async () => await Identities.SameAsync(work, visitor, user, cancel)
                ? Answer.NoContent()
                : PersonIds.Taken.ToAnswer(),
            cancel);
    }
}
