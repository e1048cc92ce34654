namespace Agency.Platform;

/// <summary>A thing and the edges that lead from it.</summary>
/// <param name="Graph">The graph it is in, such as <c>users</c>. Graphs, like organisations, do not touch each other.</param>
/// <param name="Id">Unique in its graph.</param>
/// <param name="Version">The aggregate's version that this tells of; an older one than is known changes nothing.</param>
/// <param name="Name">What to show of it.</param>
/// <param name="Edges">All of them: what is not among them any more is removed.</param>
public sealed record GraphNode(string Graph, string Id, long Version, string Name, IReadOnlyList<GraphEdge> Edges);

/// <summary>One edge. It can be walked both ways.</summary>
/// <param name="Kind">What the node at the other end is to this one, such as <c>referred-by</c>.</param>
/// <param name="Inverse">What this node is to the one at the other end, such as <c>referred</c>.</param>
/// <param name="Target">The other node's id, which need not be there yet; or, when <paramref name="Shared"/>, any key.</param>
/// <param name="Shared">True when every two nodes that hold this kind and key are one step from each other.</param>
public sealed record GraphEdge(string Kind, string Inverse, string Target, bool Shared = false)
{
    /// <summary>Makes all that hold <paramref name="key"/> neighbours, without an edge between each two of them.</summary>
    public static GraphEdge Sharing(string kind, string key) => new(kind, kind, key, Shared: true);
}

/// <summary>A node that can be reached.</summary>
/// <param name="Path">The kind of each step of one shortest way to it; as many as the distance.</param>
public sealed record RelatedNode(string Id, string Name, IReadOnlyList<string> Path);

/// <summary>
/// The port of the graph. Everything is of the caller's organisation. A change is applied when its version is above the one known,
/// so that late and repeated events do no harm; a deletion leaves its version behind for that.
/// </summary>
public interface IGraph
{
    const int MaxDepth = 5;

    Task UpsertAsync(GraphNode node, CancellationToken cancel);

    Task DeleteAsync(string graph, string id, long version, CancellationToken cancel);

    /// <summary>The nodes within so many steps, each once: nearest first, then by id.</summary>
    /// <param name="depth">Steps, from 1 to <see cref="MaxDepth"/>.</param>
    /// <param name="limit">Nodes.</param>
    /// <returns>Null when the graph does not have the node.</returns>
    Task<IReadOnlyList<RelatedNode>?> RelatedAsync(string graph, string id, int depth, int limit, CancellationToken cancel);
}
