using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <summary>
/// POST /webhooks/clerk: makes users follow those of Clerk. 204, also for messages that are about something else; 400 when the user cannot be one
/// here; 401 when the signature is not good; 404 when no secret is configured; 409 when another user has the email. Clerk sends what was
/// not answered with a 2xx again, for days; a message may come again or late without harm, and needs no Idempotency-Key.
/// </summary>
/// <remarks>
/// With <c>Clerk:Organisation</c> all users are that organisation's. Without, a user is one of each organisation that Clerk has the user in, and
/// what comes before the first membership is kept until it does.
/// </remarks>
public sealed class ReceiveClerkWebhook(ClerkOptions clerk, Database database, UnitOfWork work, Caller caller, TimeProvider clock)
{
    [Function(nameof(ReceiveClerkWebhook)), AllowAnonymous]
    [Operation(Body = typeof(JsonElement), Status = 204, Problems = [404, 409], SignedAs = "svix", Example = """
        {"type":"user.created","timestamp":1767225600000,"data":{"id":"user_example-1","updated_at":1767225600000,"first_name":"Ada",
        "last_name":"Lovelace","primary_email_address_id":"idn_1","email_addresses":[{"id":"idn_1","email_address":"ada.example-1@example.com"}]}}
        """)]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "webhooks/clerk")] HttpRequest http, CancellationToken cancel)
    {
        if (clerk.Signature is null)
            return Problem.Of(404, "not-found", "Not found", "No webhooks of Clerk are taken here: Clerk:WebhookSecrets is not set.").ToAnswer();
        var messageId = http.Headers["svix-id"].ToString();
        var body = await http.ReadJsonBytesAsync(cancel);
        if (clerk.Signature.Refusal(messageId, http.Headers["svix-timestamp"], http.Headers["svix-signature"], body.Span, clock.GetUtcNow()) is { } refusal)
            return Problem.Of(401, "bad-signature", "The webhook is not signed as it must be", refusal).ToAnswer();
        try
        {
            if (JsonSerializer.Deserialize(body.Span, ClerkJson.Default.ClerkMessage) is { } message && ClerkNews.From(message) is { } news)
                return await HandleAsync(http, news, messageId, cancel);
            return Answer.NoContent();
        }
        catch (JsonException malformed)
        {
            return RequestBody.Malformed(malformed).ToAnswer();
        }
    }

    /// <summary>
    /// First what is known, then organisation by organisation what follows from it, each in its own transaction. After a crash in between, or
    /// when one could not follow, Clerk sends the message again, and those that have followed already do nothing.
    /// </summary>
    private async Task<Answer> HandleAsync(HttpRequest http, ClerkNews news, string messageId, CancellationToken cancel)
    {
        var user = await ClerkUser.LearnAsync(database, news, cancel);
        var (members, left) = clerk.Organisation is { } all ? ([all], []) : (user.Organisations, user.Left);
        var answer = Answer.NoContent();
        // Whom to forget first: nothing that another organisation has may keep a user in one that the user has left.
        foreach (var organisation in left.Concat(members))
        {
            caller.Become(organisation, "clerk");
            var isMember = !user.Deleted && members.Contains(organisation);
            try
            {
                await work.HandleAsync(http, messageId, () => user.FollowAsync(work, isMember, messageId, cancel), cancel);
            }
            catch (ProblemException conflict)
            {
                answer = conflict.Problem.ToAnswer();
            }
        }

        return answer;
    }
}
