using System.Globalization;
using System.Reflection;
using System.Text.Json;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics.Tests;

internal static class AnalyticsHost
{
    private static readonly Assembly[] Http =
    [
        typeof(TrackEvent).Assembly, typeof(CountViolations).Assembly, typeof(ExportEvents).Assembly, typeof(GetAnalyticsConfig).Assembly,
        typeof(GetEventAnalytics).Assembly, typeof(GetFunnelAnalytics).Assembly, typeof(GetLiveAnalytics).Assembly, typeof(GetPathAnalytics).Assembly,
        typeof(GetRetentionAnalytics).Assembly, typeof(GetRevenueAnalytics).Assembly, typeof(GetUserAnalytics).Assembly,
        typeof(ListViolations).Assembly, typeof(UpdateAnalyticsConfig).Assembly,
    ];

    /// <param name="consuming">False when the test delivers the log's records itself.</param>
    /// <param name="database">Another host's, for a second process; its own when null.</param>
    /// <param name="settings">Configuration.</param>
    public static Task<TestHost> StartAsync(bool consuming = true, TestDatabase? database = null, params IReadOnlyList<(string Name, string Value)> settings) =>
        TestHost.StartAsync(consuming ? [.. Http, typeof(RollUpEvents).Assembly] : Http, database, settings: settings);

    public static Task<HttpResponseMessage> PostAsync(this HttpClient client, string json) => client.SendJsonAsync(HttpMethod.Post, "/events", json);

    /// <summary>Sends events that must all be accepted.</summary>
    public static async Task TrackAsync(this HttpClient client, params IEnumerable<string> events)
    {
        foreach (var batch in events.Chunk(500))
        {
            var answer = await (await client.PostAsync($"[{string.Join(',', batch)}]")).JsonAsync();
            Assert.True(batch.Length == answer.GetProperty("accepted").GetInt32(), answer.ToString());
        }
    }

    public static async Task<JsonElement> AskAsync(this HttpClient client, string path, int status = 200)
    {
        var response = await client.GetAsync(new Uri(path, UriKind.Relative));
        var json = await response.JsonAsync();
        Assert.True(status == (int)response.StatusCode, json.ToString());
        return json;
    }

    /// <summary>Waits until every event is in the rollups.</summary>
    public static Task RolledUpAsync(this TestHost host) => HttpTesting.EventuallyAsync(
        () => host.Database.ScalarAsync<bool>("""
            select (select count(*) from analytics.events)
              = (select coalesce(sum(events), 0) from analytics.event_counts where resolution = 'hour')
            """),
        done => done);

    public static string Page(string id, string? user, string time, string? anonymous = null) => $$$"""
        {"messageId":"{{{id}}}","event":"page-view","userId":{{{Quoted(user)}}},"anonymousId":{{{Quoted(anonymous)}}},"time":"{{{time}}}","properties":{"path":"/"}}
        """;

    public static string Line(
        string id, string order, string product, int quantity, decimal price, string time, string? user = null, string? country = "GB",
        bool cancelled = false, string currency = "GBP", string? anonymous = null, string? campaign = null) => string.Create(CultureInfo.InvariantCulture, $$"""
        {"messageId":{{Quoted(id)}},"event":"order-line","userId":{{Quoted(user)}},"anonymousId":{{Quoted(anonymous)}},"time":"{{time}}","properties":{
          "orderId":{{Quoted(order)}},"productId":{{Quoted(product)}},"product":"A thing","quantity":{{quantity}},"unitPrice":{{price}},
          "currency":"{{currency}}","country":{{Quoted(country)}},"$utm_campaign":{{Quoted(campaign)}},"cancelled":{{(cancelled ? "true" : "false")}} } }
        """);

    /// <summary>Delivers records to the consumer as the worker does.</summary>
    public static async Task DeliverAsync(this TestHost host, params KafkaRecord[] records)
    {
        await using var scope = host.Services.CreateAsyncScope();
        await ActivatorUtilities.CreateInstance<RollUpEvents>(scope.ServiceProvider).Run(records, CancellationToken.None);
    }

    private static string Quoted(string? text) => text is null ? "null" : "\"" + JsonEncodedText.Encode(text) + "\"";
}
