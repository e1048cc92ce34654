using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.Configuration;

namespace Agency.Users;

/// <summary>Whom the onboarding is about. Who that is stays in the user's row, so that it goes with it.</summary>
public sealed record UserOnboardingInput(Guid UserId);

[JsonSerializable(typeof(UserOnboardingInput))]
internal sealed partial class StartUserOnboardingJson : JsonSerializerContext;

/// <summary>
/// A new user is asked to verify the email. The signal <c>email-verified</c> brings the welcome and, some time later, a follow-up.
/// Without it in time the saga ends, completed: whoever does not answer gets no more messages.
/// </summary>
/// <param name="settings"><c>Onboarding:VerifyWithin</c> (7 days) and <c>Onboarding:FollowUpAfter</c> (3 days), time spans.</param>
public sealed class UserOnboarding(IConfiguration settings) : ISaga
{
    public const string Name = "user-onboarding";

    SagaDefinition ISaga.Definition => Definition;

    public SagaDefinition<UserOnboardingInput> Definition { get; } = Saga.Define(Name, StartUserOnboardingJson.Default.UserOnboardingInput)
        .Step("verify-email")
        .WaitFor("email-verified", settings.GetValue("Onboarding:VerifyWithin", TimeSpan.FromDays(7)), Otherwise.End)
        .Step("welcome-message")
        .Delay("follow-up-pause", settings.GetValue("Onboarding:FollowUpAfter", TimeSpan.FromDays(3)))
        .Step("follow-up-message");
}

/// <summary>Queues the message that the step is named after. A user who is gone gets none.</summary>
[Activity("verify-email"), Activity("welcome-message"), Activity("follow-up-message")]
public sealed class QueueOnboardingMessage(UnitOfWork work) : IActivity
{
    public async Task RunAsync(ActivityContext context, CancellationToken cancel)
    {
        var user = context.Input(StartUserOnboardingJson.Default.UserOnboardingInput);
        await work.ExecuteAsync(
            $"""
            insert into users.messages (id, user_id, template, recipient, idempotency_key)
            select {Guid.CreateVersion7()}, id, {context.Step}, email, {context.IdempotencyKey}
            from users.users
            where id = {user.UserId}
            on conflict do nothing
            """,
            cancel);
    }
}

/// <summary>Starts the onboarding of a user who is created, and cancels that of one who is deleted.</summary>
public sealed class StartUserOnboarding(Inbox inbox, ISagaEngine sagas, UserOnboarding onboarding)
{
    [Function(nameof(StartUserOnboarding))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", UsersTopic.Name, ConsumerGroup = nameof(StartUserOnboarding))] KafkaRecord record,
        CancellationToken cancel) => inbox.HandleOnceAsync(
            record,
            nameof(StartUserOnboarding),
            async e =>
            {
                if (e.Is<UserCreatedEvent>(out var created))
                    await sagas.StartAsync(onboarding.Definition, created.User.Id.ToString(), new(created.User.Id), cancel);
                else if (e.Is<UserDeletedEvent>(out var deleted))
                    await sagas.CancelAsync(Saga.IdOf(UserOnboarding.Name, deleted.Id.ToString()), cancel);
            },
            cancel);
}
