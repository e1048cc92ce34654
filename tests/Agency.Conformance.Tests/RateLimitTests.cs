using Agency.Testing;

namespace Agency.Conformance.Tests;

/// <summary>Every route is limited. A host of its own, as its limit is low.</summary>
[Collection(InOneWorld.Name)]
public sealed class RateLimitTests(World world)
{
    private const int Burst = 3;

    [Fact]
    public async Task Too_many_requests_are_refused_on_every_route()
    {
        await using var host = await TestHost.StartAsync(
            World.Apps, world.Host.Database, settings: [.. Settings.ForTests, ("RateLimits:Default", $"1/s burst {Burst}")]);
        using var client = World.NewClient(host.Address);
        foreach (var operation in world.Document.Operations)
        {
            // A caller for each, since routes of one scope share a bucket. The path need not lead anywhere: the limit comes first.
            var sent = new Sent(operation.Method, operation.Path.Count == 0 ? operation.Template : World.Unknown(operation))
            {
                Authorization = operation.Scope is null ? null : "Bearer " + host.Token(operation.Scope, subject: operation.Id),
            };
            Received answer;
            var asked = 0;
            do
            {
                answer = await World.SendAsync(client, sent);
                Assert.True(++asked <= 10 * Burst, $"{operation.Name} has no limit.");
            }
            while (answer.Status != 429);

            Assert.Null(Promises.Broken(world, operation, answer));
            Assert.Matches("^\".+\";r=0;t=[0-9]+$", answer.Header("RateLimit"));
            Assert.Matches("^\".+\";q=3;w=[0-9]+$", answer.Header("RateLimit-Policy"));
        }
    }

    /// <summary>So that the one request of each route is counted with the others.</summary>
    internal static IEnumerable<Case> Cases(Operation operation, World _) => [new(operation, "too many requests", w => w.ValidAsync(operation), 429)];
}
