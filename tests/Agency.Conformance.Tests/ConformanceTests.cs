using Xunit.Abstractions;

namespace Agency.Conformance.Tests;

/// <summary>What every route promises, generated from <c>/openapi.json</c>: a route that is added is covered by existing.</summary>
[Collection(InOneWorld.Name)]
public sealed class ConformanceTests(World world, ITestOutputHelper output)
{
    private const int LeastCasesForEachRoute = 40;
    private const int ShownFailures = 40;

    private static readonly Func<Operation, World, IEnumerable<Case>>[] Families =
    [
        Cases.Valid, Cases.Unauthenticated, Cases.Unauthorized, Cases.OtherOrganisation, Cases.Routing, Cases.Query, Cases.Preconditions,
        Cases.ConditionalReads, Cases.Bodies, Cases.Idempotency, RateLimitTests.Cases,
    ];

    [Fact]
    public void There_are_forty_cases_and_more_for_each_route_on_average()
    {
        var counts = world.Document.Operations.Select(o => (o.Name, Count: Families.Sum(f => f(o, world).Count()))).ToList();
        foreach (var (name, count) in counts)
            output.WriteLine($"{count,5} {name}");
        var total = counts.Sum(c => c.Count);
        world.Say($"Conformance: {total} cases for {counts.Count} routes, {total / counts.Count} for each on average.");
        Assert.True(total >= LeastCasesForEachRoute * counts.Count, $"There are only {total} cases for {counts.Count} routes.");
    }

    [Fact]
    public Task Valid_requests_are_answered_as_described() => HoldsAsync(Cases.Valid);

    [Fact]
    public Task Without_a_valid_token_nothing_is_answered() => HoldsAsync(Cases.Unauthenticated);

    [Fact]
    public Task Without_the_scope_nothing_is_answered() => HoldsAsync(Cases.Unauthorized);

    [Fact]
    public async Task Another_organisations_things_are_unknown()
    {
        await world.Isolation.SeedAsync();
        await HoldsAsync(Cases.OtherOrganisation);
    }

    [Fact]
    public Task Wrong_methods_and_paths_are_problems() => HoldsAsync(Cases.Routing);

    [Fact]
    public Task Query_parameters_are_read_strictly() => HoldsAsync(Cases.Query);

    [Fact]
    public Task Changes_need_the_current_entity_tag() => HoldsAsync(Cases.Preconditions);

    [Fact]
    public Task Reads_answer_304_to_who_has_them() => HoldsAsync(Cases.ConditionalReads);

    [Fact]
    public Task Bodies_are_read_strictly() => HoldsAsync(Cases.Bodies);

    [Fact]
    public Task A_repeated_key_repeats_the_answer_only() => HoldsAsync(Cases.Idempotency);

    private async Task HoldsAsync(Func<Operation, World, IEnumerable<Case>> family)
    {
        var failures = new List<string>();
        var count = 0;
        // What the cases ask about is made before, so that they themselves change nothing.
        foreach (var operation in world.Document.Operations)
            await world.ThingAsync(operation.Template);
        IReadOnlyDictionary<string, long>? last = null;
        foreach (var operation in world.Document.Operations)
        {
            var cases = family(operation, world).ToList();
            count += cases.Count;
            var idle = cases.FindAll(c => c.ChangesNothing);
            if (idle.Count > 0)
            {
                var before = last ?? await world.FingerprintAsync();
                foreach (var one in idle)
                    await RunAsync(one, failures);
                var after = last = await world.FingerprintAsync();
                // A batch of which all is rejected is a command that was done, and leaves who sent it.
                failures.AddRange(before.Where(t => after[t.Key] != t.Value && !(operation.IsPartial && t.Key is "platform.audit" or "platform.idempotency")).Select(t => $"{operation.Name}: {t.Key} was changed by one of: {string.Join("; ", idle.Select(c => c.Name))}"));
            }

            foreach (var one in cases.FindAll(c => !c.ChangesNothing))
            {
                last = null;
                await RunAsync(one, failures);
            }
        }

        // What was accepted must also have been worked off.
        failures.AddRange(await world.LeftAsync());
        output.WriteLine($"{count} cases.");
        Assert.True(failures.Count == 0, $"{failures.Count} of {count} cases failed:\n{string.Join('\n', failures.Take(ShownFailures))}");
    }

    private async Task RunAsync(Case one, List<string> failures)
    {
        var (sent, wrong) = await TryAsync(one);
        if (wrong?.Contains(World.TooMany, StringComparison.Ordinal) == true)
        {
            await world.MakeRoomAsync(one.Operation);
            (sent, wrong) = await TryAsync(one);
        }

        if (wrong is not null && one.ComparesMoments)
            (sent, wrong) = await TryAsync(one);
        if (wrong is not null)
            failures.Add($"{one}: {wrong}\n    {sent}");
    }

    private async Task<(Sent? Sent, string? Wrong)> TryAsync(Case one)
    {
        Sent? sent = null;
        try
        {
            sent = await one.Make(world);
            // What is refused has not used its key.
            if (one.ChangesNothing && one.Operation.TakesIdempotencyKey && one.Expected.All(s => s >= 400) && sent.Headers.All(h => h.Name != "Idempotency-Key"))
                sent = sent with { Headers = [.. sent.Headers, ("Idempotency-Key", Guid.NewGuid().ToString())] };
            if (one.IsSigned)
                sent = World.Sign(one.Operation, sent);
            var answer = await world.SendAsync(sent);
            return (sent, !one.Expected.Contains(answer.Status) ? $"{answer.Status}, not {string.Join(" or ", one.Expected)}: {answer.Text}"
                : (one.IsBodiless ? null : Promises.Broken(world, one.Operation, answer, one.IsUnrouted))
                ?? (one.Also is null ? null : await one.Also(world, sent, answer)));
        }
        catch (Exception failure) when (failure is HttpRequestException or TaskCanceledException or InvalidOperationException)
        {
            return (sent, failure.Message);
        }
    }
}
