using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.PlatformFunctions;

/// <param name="Name">What the key is for, 1 to 100 characters.</param>
/// <param name="Scopes">What it allows; 1 to 50, each one that the caller has too.</param>
/// <param name="ExpiresAt">When it ends; never when left out.</param>
public sealed record CreateApiKeyCommand(
    [StringLength(100, MinimumLength = 1)] string Name, [Length(1, 50)] IReadOnlyList<string> Scopes, DateTimeOffset? ExpiresAt = null)
{
    /// <exception cref="ProblemException">400 naming every field that breaks a rule.</exception>
    public CreateApiKeyCommand Checked(DateTimeOffset now)
    {
        var errors = new Dictionary<string, string[]>();
        var name = Name.Trim();
        if (name.Length is 0 or > 100 || name.Any(char.IsControl))
            errors["name"] = ["Must have 1 to 100 characters, no control characters."];
        if (Scopes.Count is 0 or > 50 || Scopes.Any(string.IsNullOrEmpty) || Scopes.Distinct(StringComparer.Ordinal).Count() < Scopes.Count)
            errors["scopes"] = ["Must list 1 to 50 scopes, each once."];
        if (ExpiresAt <= now)
            errors["expiresAt"] = ["Must be in the future."];
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
/// more than the caller may.
/// </summary>
public sealed class CreateApiKey(UnitOfWork work, Caller caller, TimeProvider clock)
{
    [Function(nameof(CreateApiKey)), RequireScope("apikeys:write")]
    [Operation(
        Body = typeof(CreateApiKeyCommand), Answer = typeof(NewApiKeyDto), Status = 201,
        Example = """{"name":"Nightly import example-1","scopes":["users:read"],"expiresAt":"2099-01-01T00:00:00Z"}""")]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "api-keys")] HttpRequest http, CancellationToken cancel)
    {
        var command = (await http.ReadAsync<CreateApiKeyCommand>(CreateApiKeyJson.Default, cancel)).Checked(clock.GetUtcNow());
        if (command.Scopes.FirstOrDefault(scope => !caller.Scopes.Contains(scope)) is { } lacking)
            return Problem.Of(403, "scope-not-held", "The key would allow more than you may",
                $"You do not have the scope {(lacking.Length > 100 ? "that is asked for" : lacking)} and so cannot give it to a key.").ToAnswer();
        return await work.RunAsync(http, () => InsertAsync(command, cancel), cancel);
    }

    private async Task<Answer> InsertAsync(CreateApiKeyCommand command, CancellationToken cancel)
    {
        var key = ApiKey.New();
        var made = await work.QueryFirstAsync(
            $"""
            insert into platform.api_keys (id, name, prefix, secret_hash, scopes, created_by, expires_at)
            values ({Guid.CreateVersion7()}, {command.Name}, {ApiKey.Prefix(key)}, {ApiKey.Hash(key)}, {command.Scopes.ToArray()}, {caller.Subject},
                {command.ExpiresAt?.UtcDateTime})
            returning {ApiKeyDto.Columns}
            """,
            ApiKeyDto.From,
            cancel);
        return Answer.CreatedOnce(
            $"/api-keys/{made!.Id}", new NewApiKeyDto(made, key), new NewApiKeyDto(made, null), CreateApiKeyJson.Default.NewApiKeyDto, ApiKey.OnlyVersion);
    }
}
