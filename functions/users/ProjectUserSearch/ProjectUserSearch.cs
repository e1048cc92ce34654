using System.Text.Json;
using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <summary>Keeps the search index of users: by name first, then by email, external id and tags.</summary>
public sealed class ProjectUserSearch(Inbox inbox, ISearch search)
{
    [Function(nameof(ProjectUserSearch))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", UsersTopic.Name, ConsumerGroup = nameof(ProjectUserSearch))] KafkaRecord record, CancellationToken cancel) =>
        inbox.HandleOnceAsync(
            record,
            nameof(ProjectUserSearch),
            async e =>
            {
                if (e.Is<UserCreatedEvent>(out var created))
                    await search.UpsertAsync(Document(created.User), cancel);
                else if (e.Is<UserUpdatedEvent>(out var updated))
                    await search.UpsertAsync(Document(updated.User), cancel);
                else if (e.Is<UserDeletedEvent>(out _))
                    await search.DeleteAsync(ReadModels.SearchIndex, e.Subject, e.Version, cancel);
            },
            cancel);

    /// <summary>The user as the index knows it.</summary>
    public static SearchDocument Document(UserDto user) => new(
        ReadModels.SearchIndex,
        user.Id.ToString(),
        user.Version,
        user.Name,
        string.Join(' ', [user.Email, user.ExternalId ?? "", .. user.Tags]),
        JsonSerializer.SerializeToUtf8Bytes(new FoundUserDto(user.Id, user.Name, user.Email, user.Country, 0), ReadModelsJson.Default.FoundUserDto));
}
