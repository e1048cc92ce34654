using Agency.Platform;

namespace Agency.Embedded;

/// <summary>The graph as nodes and edges in PostgreSQL. Inside a transaction of the unit of work, a change is part of it.</summary>
public sealed class EmbeddedGraph(UnitOfWork work) : IGraph
{
    public Task UpsertAsync(GraphNode node, CancellationToken cancel) => PutAsync(node, deleted: false, cancel);

    public Task DeleteAsync(string graph, string id, long version, CancellationToken cancel) => PutAsync(new(graph, id, version, "", []), deleted: true, cancel);

    public async Task<IReadOnlyList<RelatedNode>?> RelatedAsync(string graph, string id, int depth, int limit, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(depth, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(depth, IGraph.MaxDepth);
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        // The node itself comes first, without a path, when it is there.
        var rows = await work.QueryAsync(
            $"""
            select id, name, null::text[] from embedded.graph_nodes where graph = {graph} and id = {id} and not deleted
            union all
            select id, name, path from embedded.graph_related({graph}, {id}, {depth}, {limit})
            """,
            row => new RelatedNode(row.GetString(0), row.GetString(1), row.IsDBNull(2) ? [] : row.GetFieldValue<string[]>(2)),
            cancel);
        return rows is [{ Path: [] }, .. var related] ? related : null;
    }

    private Task<bool> PutAsync(GraphNode node, bool deleted, CancellationToken cancel) => work.QueryFirstAsync(
        $"""
        select embedded.graph_put({node.Graph}, {node.Id}, {node.Version}, {deleted}, {node.Name},
            {node.Edges.Select(e => e.Kind).ToArray()}, {node.Edges.Select(e => e.Inverse).ToArray()},
            {node.Edges.Select(e => e.Target).ToArray()}, {node.Edges.Select(e => e.Shared).ToArray()})
        """,
        row => row.GetBoolean(0),
        cancel);
}
