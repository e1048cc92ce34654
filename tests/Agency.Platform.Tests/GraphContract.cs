namespace Agency.Platform.Tests;

/// <summary>What every engine of the graph port must do. An engine's class says only where its graph comes from.</summary>
public abstract class GraphContract
{
    private const string Graph = "people";

    /// <summary>Runs <paramref name="use"/> with a graph on behalf of this organisation.</summary>
    protected abstract Task AsAsync(string tenant, Func<IGraph, Task> use);

    [Fact]
    public async Task Nearest_come_first_each_once_though_edges_go_round() => await AsAsync("acme", async graph =>
    {
        foreach (var (id, targets) in new[] { ("a", "bc"), ("b", "c"), ("c", "ad"), ("d", "e"), ("e", "a"), ("f", "") })
            await graph.UpsertAsync(Node(id, 1, [.. targets.Select(t => Knows(t.ToString()))]), default);
        Assert.Equal("b c e", await IdsAsync(graph, "a", 1));
        Assert.Equal("b c e d", await IdsAsync(graph, "a", 2));
        Assert.Equal("b c e d", await IdsAsync(graph, "a", 5));
        Assert.Equal("c e a b", await IdsAsync(graph, "d", 5));
    });

    [Fact]
    public async Task The_depth_is_a_limit() => await AsAsync("acme", async graph =>
    {
        for (var i = 0; i < 8; i++)
            await graph.UpsertAsync(Node($"n{i}", 1, Knows($"n{i + 1}")), default);
        for (var depth = 1; depth <= IGraph.MaxDepth; depth++)
            Assert.Equal(string.Join(' ', Enumerable.Range(1, depth).Select(i => $"n{i}")), await IdsAsync(graph, "n0", depth));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => graph.RelatedAsync(Graph, "n0", IGraph.MaxDepth + 1, 10, default));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => graph.RelatedAsync(Graph, "n0", 0, 10, default));
    });

    [Fact]
    public async Task The_path_names_each_step_in_its_direction() => await AsAsync("acme", async graph =>
    {
        await graph.UpsertAsync(Node("a", 1, Knows("b")), default);
        await graph.UpsertAsync(Node("b", 1), default);
        await graph.UpsertAsync(Node("c", 1, Knows("b"), GraphEdge.Sharing("club", "chess")), default);
        await graph.UpsertAsync(Node("d", 1, GraphEdge.Sharing("club", "chess")), default);
        var related = await graph.RelatedAsync(Graph, "a", 5, 10, default);
        Assert.Equal(["b: knows", "c: knows known-by", "d: knows known-by club"], related!.Select(n => $"{n.Id}: {string.Join(' ', n.Path)}"));
        Assert.Equal("Node c", related![1].Name);
    });

    [Fact]
    public async Task Those_who_share_a_key_are_one_step_apart_and_kinds_do_not_mix() => await AsAsync("acme", async graph =>
    {
        await graph.UpsertAsync(Node("a", 1, GraphEdge.Sharing("club", "x")), default);
        await graph.UpsertAsync(Node("b", 1, GraphEdge.Sharing("club", "x"), GraphEdge.Sharing("team", "y")), default);
        await graph.UpsertAsync(Node("c", 1, GraphEdge.Sharing("team", "x")), default);
        await graph.UpsertAsync(Node("x", 1), default);
        Assert.Equal("b", await IdsAsync(graph, "a", 5));
        Assert.Equal("", await IdsAsync(graph, "x", 5));
    });

    [Fact]
    public async Task A_crowd_of_one_key_is_walked_once() => await AsAsync("acme", async graph =>
    {
        for (var i = 0; i < 300; i++)
            await graph.UpsertAsync(Node($"m{i:000}", 1, GraphEdge.Sharing("club", "big")), default);
        await graph.UpsertAsync(Node("z", 1, Knows("m299")), default);
        // Each path walked for itself would be 300^5 of them.
        var all = await graph.RelatedAsync(Graph, "m000", 5, 1000, default).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(300, all!.Count);
        Assert.Equal("z", all[^1].Id);
        Assert.Equal(Enumerable.Range(1, 40).Select(i => $"m{i:000}"), (await graph.RelatedAsync(Graph, "m000", 5, 40, default))!.Select(n => n.Id));
    });

    [Fact]
    public async Task A_late_or_repeated_change_changes_nothing() => await AsAsync("acme", async graph =>
    {
        await graph.UpsertAsync(Node("a", 1), default);
        await graph.UpsertAsync(Node("b", 1), default);
        await graph.UpsertAsync(Node("c", 3, Knows("a")), default);
        await graph.UpsertAsync(Node("c", 2, Knows("b")), default);
        await graph.UpsertAsync(Node("c", 3, Knows("b")), default);
        Assert.Equal("a", await IdsAsync(graph, "c", 5));
        await graph.UpsertAsync(Node("c", 4, Knows("b")), default);
        Assert.Equal("b", await IdsAsync(graph, "c", 5));
        await graph.DeleteAsync(Graph, "c", 3, default);
        Assert.Equal("c", await IdsAsync(graph, "b", 5));
    });

    [Fact]
    public async Task A_deleted_node_is_gone_and_no_late_change_brings_it_back() => await AsAsync("acme", async graph =>
    {
        await graph.UpsertAsync(Node("a", 1, Knows("b")), default);
        await graph.UpsertAsync(Node("b", 1, Knows("c")), default);
        await graph.UpsertAsync(Node("c", 1), default);
        await graph.DeleteAsync(Graph, "b", 2, default);
        await graph.UpsertAsync(Node("b", 1, Knows("c")), default);
        await graph.UpsertAsync(Node("b", 2, Knows("c")), default);
        Assert.Equal("", await IdsAsync(graph, "a", 5));
        Assert.Null(await graph.RelatedAsync(Graph, "b", 5, 10, default));
        // A deletion may also come before the first that is heard of a node.
        await graph.DeleteAsync(Graph, "d", 2, default);
        await graph.UpsertAsync(Node("d", 1, Knows("a")), default);
        Assert.Null(await graph.RelatedAsync(Graph, "d", 5, 10, default));
    });

    [Fact]
    public async Task An_edge_may_come_before_its_target() => await AsAsync("acme", async graph =>
    {
        await graph.UpsertAsync(Node("a", 1, Knows("b")), default);
        Assert.Equal("", await IdsAsync(graph, "a", 1));
        await graph.UpsertAsync(Node("b", 1), default);
        Assert.Equal("b", await IdsAsync(graph, "a", 1));
    });

    [Fact]
    public async Task Organisations_and_graphs_do_not_touch()
    {
        await AsAsync("acme", async graph =>
        {
            await graph.UpsertAsync(Node("a", 1, GraphEdge.Sharing("club", "x")), default);
            await graph.UpsertAsync(Node("b", 1, GraphEdge.Sharing("club", "x")) with { Graph = "other" }, default);
        });
        await AsAsync("rival", async graph =>
        {
            Assert.Null(await graph.RelatedAsync(Graph, "a", 1, 10, default));
            await graph.UpsertAsync(Node("c", 1, GraphEdge.Sharing("club", "x"), Knows("a")), default);
            Assert.Equal("", await IdsAsync(graph, "c", 5));
            await graph.DeleteAsync(Graph, "a", 9, default);
        });
        await AsAsync("acme", async graph => Assert.Equal("", await IdsAsync(graph, "a", 5)));
    }

    [Fact]
    public async Task Concurrent_changes_of_one_node_end_with_the_newest_and_its_edges_only()
    {
        await AsAsync("acme", graph => graph.UpsertAsync(Node("t20", 1), default));
        await Task.WhenAll(Enumerable.Range(1, 20).Select(version =>
            Task.Run(() => AsAsync("acme", graph => graph.UpsertAsync(Node("n", version, Knows($"t{version}")), default)))));
        await AsAsync("acme", async graph =>
        {
            for (var i = 1; i < 20; i++)
                await graph.UpsertAsync(Node($"t{i}", 1), default);
            Assert.Equal("t20", await IdsAsync(graph, "n", 1));
        });
    }

    private static GraphEdge Knows(string target) => new("knows", "known-by", target);

    private static GraphNode Node(string id, long version, params IReadOnlyList<GraphEdge> edges) => new(Graph, id, version, $"Node {id}", edges);

    private static async Task<string> IdsAsync(IGraph graph, string id, int depth) =>
        string.Join(' ', (await graph.RelatedAsync(Graph, id, depth, 100, default))!.Select(n => n.Id));
}
