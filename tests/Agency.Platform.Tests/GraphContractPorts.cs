using Agency.Embedded;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform.Tests;

/// <summary>The ports of the embedded engines, without a host around them.</summary>
public sealed class EmbeddedPorts : IAsyncLifetime
{
    private ServiceProvider _services = null!;
    private TestDatabase _database = null!;

    public async Task InitializeAsync()
    {
        _database = await TestDatabase.CreateAsync();
        _services = new ServiceCollection().AddLogging()
            .AddSingleton(_ => new Database(_database.Settings)).AddSingleton(ReadCacheOptions.Default).AddPlatform(new([])).AddEmbedded().BuildServiceProvider();
    }

    public async Task DisposeAsync()
    {
        await _services.DisposeAsync();
        await _database.DisposeAsync();
    }

    public async Task AsAsync<TPort>(string tenant, Func<TPort, Task> use)
        where TPort : notnull
    {
        await using var scope = _services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become(tenant, "test");
        await use(scope.ServiceProvider.GetRequiredService<TPort>());
    }
}
