namespace Agency.Platform.Tests;

public sealed class EmbeddedGraphTests(EmbeddedPorts ports) : GraphContract, IClassFixture<EmbeddedPorts>
{
    // The tests share a database; each has organisations of its own.
    private readonly string _test = Guid.NewGuid().ToString();

    protected override Task AsAsync(string tenant, Func<IGraph, Task> use) => ports.AsAsync($"{tenant} {_test}", use);
}
