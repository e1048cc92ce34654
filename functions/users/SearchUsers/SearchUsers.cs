using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <param name="Text">Words, beginnings of words, with typos or without.</param>
public sealed record SearchUsersQuery([FromQuery(Name = "q"), Required] string Text, [Range(1, 100), DefaultValue(20)] int Limit);

/// <summary>
/// GET /users/search?q=&amp;limit=: the users whose name, email, external id or tags hold every word of the query, best match first. It
/// follows a change in a moment, as it answers from the index that the events feed.
/// </summary>
public sealed class SearchUsers(ISearch search)
{
    [Function(nameof(SearchUsers)), RequireScope("users:read")]
    [Operation(Query = typeof(SearchUsersQuery), Answer = typeof(IReadOnlyList<FoundUserDto>))]
    public async Task<IResult> Run([HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "users/search")] HttpRequest http, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new SearchUsersQuery(parameters.RequiredText("q"), parameters.Integer("limit", 1, 100, 20));
        var hits = await search.FindAsync(ReadModels.SearchIndex, query.Text, query.Limit, cancel);
        IReadOnlyList<FoundUserDto> found =
            [.. hits.Select(hit => JsonSerializer.Deserialize(hit.Content.Span, ReadModelsJson.Default.FoundUserDto)! with { Score = Math.Round(hit.Score, 4) })];
        return Answer.Ok(found, ReadModelsJson.Default.IReadOnlyListFoundUserDto);
    }
}
