using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <param name="Name">What the key is for, 1 to 100 characters.</param>
/// <param name="Scopes">What it allows; 1 to 50, each one that the caller has too.</param>
/// <param name="ExpiresAt">When it ends; never when left out, or with the key that makes it.</param>
public sealed record CreateApiKeyCommand(
    [StringLength(100, MinimumLength = 1)] string Name, [Length(1, 50)] IReadOnlyList<string> Scopes, DateTimeOffset? ExpiresAt = null)
{
    /// <exception cref="ProblemException">400 naming every field that breaks a rule.</exception>
    public CreateApiKeyCommand Checked()
    {
        var errors = new Dictionary<string, string[]>();
        var name = Name.Trim();
        if (name.Length is 0 or > 100 || name.Any(char.IsControl))
            errors["name"] = ["Must have 1 to 100 characters, no control characters."];
        if (Scopes.Count is 0 or > 50 || Scopes.Any(string.IsNullOrEmpty) || Scopes.Distinct(StringComparer.Ordinal).Count() < Scopes.Count)
            errors["scopes"] = ["Must list 1 to 50 scopes, each once."];
        return errors.Count == 0 ? this with { Name = name } : throw new ProblemException(Problem.Validation(errors));
    }
}

/// <param name="ApiKey">What lists show of it.</param>
/// <param name="Key">The credential, shown this once; null in the replay of an <c>Idempotency-Key</c>, because it is stored nowhere.</param>
public sealed record NewApiKeyDto(ApiKeyDto ApiKey, string? Key);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(CreateApiKeyCommand))]
[JsonSerializable(typeof(NewApiKeyDto))]
internal sealed partial class CreateApiKeyJson : JsonSerializerContext;

/// <summary>
/// POST /api-keys: a credential for a machine, sent as <c>Authorization: Bearer ak_...</c>. 201; 400 naming the fields; 403 when it would allow
/// more than the caller may; 409 when there are too many. A key that another key makes ends with that one at the latest, and is revoked with it.
/// </summary>
public sealed class CreateApiKey(UnitOfWork work, Caller caller, TimeProvider clock)
{
    /// <summary>Keys of one organisation that have not ended. Each has its own rate limit, so they must not multiply without end.</summary>
    public const int Most = 100;

    [Function(nameof(CreateApiKey)), RequireScope("apikeys:write")]
    [Operation(
        Body = typeof(CreateApiKeyCommand), Answer = typeof(NewApiKeyDto), Status = 201,
        Example = """{"name":"Nightly import example-1","scopes":["users:read"],"expiresAt":"2099-01-01T00:00:00Z"}""")]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "api-keys")] HttpRequest http, CancellationToken cancel)
    {
        var command = (await http.ReadAsync<CreateApiKeyCommand>(CreateApiKeyJson.Default, cancel)).Checked();
        return await work.RunAsync(http, () => InsertAsync(command, cancel), cancel);
    }

    private async Task<Answer> InsertAsync(CreateApiKeyCommand command, CancellationToken cancel)
    {
        if (command.Scopes.FirstOrDefault(scope => !caller.Scopes.Contains(scope)) is { } lacking)
            return Problem.Of(403, "scope-not-held", "The key would allow more than you may",
                $"You do not have the scope {(lacking.Length > 100 ? "that is asked for" : lacking)} and so cannot give it to a key.").ToAnswer();
        var now = clock.GetUtcNow();
        var maker = ApiKey.IdOf(caller.Subject);
        var last = maker is { } id ? await EndOfAsync(id, cancel) : null;
        if (command.ExpiresAt <= now)
            return Problem.Validation("expiresAt", "Must be in the future.").ToAnswer();
        if (command.ExpiresAt > last)
            return Problem.Validation("expiresAt", $"Must not be after {last:O}, when the key that makes it ends.").ToAnswer();
        // Of several at once each counts those before it.
        await work.LockAsync("api keys", cancel);
        var key = ApiKey.New();
        var made = await work.QueryFirstAsync(
            $"""
            insert into platform.api_keys (id, name, prefix, secret_hash, scopes, created_by, made_by, expires_at)
            select {Guid.CreateVersion7()}, {command.Name}, {ApiKey.Prefix(key)}, {ApiKey.Hash(key)}, {command.Scopes.ToArray()}, {caller.Subject}, {maker},
                {(command.ExpiresAt ?? last)?.UtcDateTime}
            where (select count(*) from platform.api_keys where expires_at is null or expires_at > {now}) < {Most}
            returning {ApiKeyDto.Columns}
            """,
            ApiKeyDto.From,
            cancel);
        if (made is null)
            return Problem.Of(409, "too-many-api-keys", "There are too many API keys", $"An organisation has at most {Most}; revoke one first.").ToAnswer();
        return Answer.CreatedOnce(
            $"/api-keys/{made.Id}", new NewApiKeyDto(made, key), new NewApiKeyDto(made, null), CreateApiKeyJson.Default.NewApiKeyDto, ApiKey.OnlyVersion);
    }

    /// <summary>When the caller's own key ends, which stays until this transaction has ended; null when it does not.</summary>
    private async Task<DateTimeOffset?> EndOfAsync(Guid maker, CancellationToken cancel)
    {
        var ends = await work.QueryAsync(
            $"select expires_at from platform.api_keys where id = {maker} for key share", row => row.GetFieldValue<DateTimeOffset?>(0), cancel);
        return ends is [var end] ? end : throw new ProblemException(Problem.Of(401, "unauthenticated", "A valid token is required", "The key has been revoked."));
    }
}
