namespace Agency.Platform.Tests;

public sealed class EmbeddedSearchTests(EmbeddedPorts ports) : SearchContract, IClassFixture<EmbeddedPorts>
{
    // The tests share a database; each has organisations of its own.
    private readonly string _test = Guid.NewGuid().ToString();

    protected override Task AsAsync(string tenant, Func<ISearch, Task> use) => ports.AsAsync($"{tenant} {_test}", use);
}
