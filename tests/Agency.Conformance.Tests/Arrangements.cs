using System.Text.Json.Nodes;
using Agency.Testing;

namespace Agency.Conformance.Tests;

/// <summary>Settings under which every route can be asked.</summary>
internal static class Settings
{
    public const string WebhookSecret = "whsec_Q29uZm9ybWFuY2UgdGVzdHMgc2lnbiB3aXRoIHRoaXM=";

    public static IReadOnlyList<(string Name, string Value)> ForTests { get; } = [("Clerk:WebhookSecrets", WebhookSecret), ("Clerk:Organisation", World.Home), ("Webhooks:AllowPrivateTargets", "true")];

    /// <summary>Where the hosts of examples lead here: nowhere, and never off this machine.</summary>
    public const string Nowhere = "http://127.0.0.1:9";
}

/// <summary>How to come by things that no POST makes: by what makes them in life, or by their row.</summary>
internal static class Arrangements
{
    /// <summary>The consumer group of dead letters that are only there to be listed, redriven and discarded.</summary>
    public const string NoConsumer = "nobody";

    /// <summary>What the lists and reports of the home organisation need beyond what a POST of each kind makes.</summary>
    public static IReadOnlyList<(HttpMethod Method, string Path, JsonNode Body)> Seeds { get; } =
    [
        (HttpMethod.Put, "/analytics/config", JsonNode.Parse($$$"""
            {"trackingPlan":{"events":[{"name":"{{{World.Marker}}}","properties":[{"name":"plan","type":"string","required":true}]}]}}
            """)!),
        (HttpMethod.Post, "/events", new JsonArray([.. new (string Event, string Properties)[]
        {
            (World.Marker, "{}"), ("page-view", """{"$path":"/pricing"}"""), ("sign-up", "{}"),
            ("order-line", $$"""{"orderId":"{{World.Marker}}","productId":"{{World.Marker}}","quantity":2,"unitPrice":9.5,"currency":"EUR"}"""),
        }.Select(e => new JsonObject
        {
            ["messageId"] = $"{World.Marker}-seed-{e.Event}", ["event"] = e.Event, ["userId"] = World.Marker, ["properties"] = JsonNode.Parse(e.Properties),
        })])),
    ];

    /// <summary>By the path before the id; the result is the id.</summary>
    public static IReadOnlyDictionary<string, Func<World, string, Task<string?>>> Known { get; } = new Dictionary<string, Func<World, string, Task<string?>>>
    {
        ["/sagas"] = async (world, _) =>
        {
            // A new user is welcomed by a saga.
            var user = await world.ThingAsync("/users/{id}", fresh: true);
            return await HttpTesting.EventuallyAsync(
                async () => (await world.Host.Database.QueryAsync<string>("select id from embedded.sagas")).FirstOrDefault(id => id.Contains(user.Split('/')[^1], StringComparison.Ordinal)),
                id => id is not null);
        },
        ["/sagas/{id}/signals"] = async (world, path) =>
        {
            var saga = await world.SendAsync(new(HttpMethod.Get, path[..path.LastIndexOf('/')]) { Authorization = world.Bearer() });
            return await HttpTesting.EventuallyAsync(
                async () => (string?)(await world.SendAsync(new(HttpMethod.Get, path[..path.LastIndexOf('/')]) { Authorization = world.Bearer() })).Json?["waitingFor"],
                signal => signal is not null || saga.Status != 200);
        },
        ["/webhooks/{id}/deliveries"] = async (world, path) =>
        {
            var rows = await world.Host.Database.QueryAsync<long>($$"""
                insert into platform.webhook_deliveries (tenant_id, webhook_id, event_id, type, occurred_at, data, status)
                select tenant_id, id, '{{Guid.NewGuid()}}', 'agency.users.user-deleted.v1', now(), '{}', 'failed'
                from platform.webhooks where id = '{{path.Split('/')[2]}}' for share
                returning id
                """);
            return rows is [var id] ? id.ToString(System.Globalization.CultureInfo.InvariantCulture) : null;
        },
        ["/dead-letters"] = async (world, _) =>
        {
            var rows = await world.Host.Database.QueryAsync<long>($$"""
                insert into platform.parked (tenant_id, group_name, topic, subject, event_id, type, headers, data, state, attempts, next_attempt_at, error)
                values ('{{World.Home}}', '{{NoConsumer}}', 'agency.test', '{{Guid.NewGuid()}}', '{{Guid.NewGuid()}}', 'agency.test.v1', '{}', '{}', 'dead', 5, now(), 'broken')
                returning id
                """);
            return rows.Single().ToString(System.Globalization.CultureInfo.InvariantCulture);
        },
    };
}
