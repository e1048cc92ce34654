using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Agency.Platform;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <param name="Depth">Steps.</param>
public sealed record ListRelatedUsersQuery(Guid Id, [Range(1, IGraph.MaxDepth), DefaultValue(2)] int Depth, [Range(1, 100), DefaultValue(50)] int Limit);

/// <summary>
/// GET /users/{id}/related?depth=&amp;limit=: the users within so many steps (2 unless given, at most 5), nearest first. It follows a
/// change in a moment, as it answers from the graph that the events feed.
/// </summary>
public sealed class ListRelatedUsers(IGraph graph, UnitOfWork work)
{
    [Function(nameof(ListRelatedUsers)), RequireScope("users:read")]
    [Operation(Query = typeof(ListRelatedUsersQuery), Answer = typeof(IReadOnlyList<RelatedUserDto>))]
    public async Task<IResult> Run(
        [HttpTrigger(AuthorizationLevel.Anonymous, "get", Route = "users/{id:guid}/related")] HttpRequest http, Guid id, CancellationToken cancel)
    {
        var parameters = QueryParameters.Of(http);
        var query = new ListRelatedUsersQuery(id, parameters.Integer("depth", 1, IGraph.MaxDepth, 2), parameters.Integer("limit", 1, 100, 50));
        var nodes = await graph.RelatedAsync(ReadModels.Graph, query.Id.ToString(), query.Depth, query.Limit, cancel);
        // A user whom the graph has not heard of yet is nobody's relation so far, but not a stranger.
        if (nodes is null && !await work.QueryFirstAsync($"select exists (select from users.users where id = {id})", row => row.GetBoolean(0), cancel))
            return Problem.NotFound("user").ToAnswer();
        IReadOnlyList<RelatedUserDto> related =
            [.. (nodes ?? []).Select(node => new RelatedUserDto(Guid.Parse(node.Id, CultureInfo.InvariantCulture), node.Name, node.Path.Count, node.Path))];
        return Answer.Ok(related, ReadModelsJson.Default.IReadOnlyListRelatedUserDto);
    }
}
