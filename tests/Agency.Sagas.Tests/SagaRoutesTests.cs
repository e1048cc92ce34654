using System.Net;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Sagas.Tests;

public sealed class SagaRoutesTests : IAsyncLifetime
{
    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await TestHost.StartAsync(
            [typeof(OrderSaga).Assembly, typeof(GetSaga).Assembly, typeof(SignalSaga).Assembly, typeof(CancelSaga).Assembly]);
        _client = _host.Client();
    }

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _host.DisposeAsync();
    }

    [Fact]
    public async Task A_saga_is_shown_with_its_history_and_an_entity_tag()
    {
        var id = await WaitingAsync();
        var response = await _client.GetAsync($"/sagas/{id}");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var saga = await response.JsonAsync();
        Assert.Equal("running", saga.GetProperty("status").GetString());
        Assert.Equal("shipped", saga.GetProperty("waitingFor").GetString());
        Assert.Equal("shipped", saga.GetProperty("step").GetString());
        Assert.Equal("started", saga.GetProperty("history")[0].GetProperty("kind").GetString());
        Assert.Equal($"\"{saga.GetProperty("version").GetInt64()}\"", response.Headers.ETag!.Tag);
        using var again = new HttpRequestMessage(HttpMethod.Get, $"/sagas/{id}") { Headers = { IfNoneMatch = { response.Headers.ETag } } };
        Assert.Equal(HttpStatusCode.NotModified, (await _client.SendAsync(again)).StatusCode);
    }

    [Fact]
    public async Task A_signal_with_a_body_moves_the_saga_on()
    {
        var id = await WaitingAsync();
        var accepted = await _client.SendJsonAsync(HttpMethod.Post, $"/sagas/{id}/signals/shipped", """{"carrier":"DHL"}""");
        Assert.Equal(HttpStatusCode.Accepted, accepted.StatusCode);
        Assert.Equal($"/sagas/{id}", accepted.Headers.Location!.OriginalString);
        Assert.Equal("completed", await EndAsync(id));
        Assert.Equal("DHL", await _host.Database.ScalarAsync<string>($"select data -> 'close-order' ->> 'carrier' from embedded.sagas where id = '{id}'"));
        Assert.Equal(HttpStatusCode.Conflict, (await _client.PostAsync($"/sagas/{id}/signals/shipped", null)).StatusCode);
        Assert.Equal(HttpStatusCode.Conflict, (await _client.PostAsync($"/sagas/{id}/cancel", null)).StatusCode);
    }

    [Fact]
    public async Task A_signal_needs_no_body()
    {
        var id = await WaitingAsync();
        Assert.Equal(HttpStatusCode.Accepted, (await _client.PostAsync($"/sagas/{id}/signals/shipped", null)).StatusCode);
        Assert.Equal("completed", await EndAsync(id));
    }

    [Theory]
    [InlineData("""{"carrier":""")]
    [InlineData("not json")]
    [InlineData("{} {}")]
    [InlineData("""{"a":"\ud800"}""")]
    [InlineData("""{"\udc00":1}""")]
    [InlineData("""{"a":"\u0000"}""")]
    [InlineData("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]")]
    public async Task A_signal_whose_body_is_not_json_is_refused_and_not_kept(string body)
    {
        var id = await WaitingAsync();
        var refused = await _client.SendJsonAsync(HttpMethod.Post, $"/sagas/{id}/signals/shipped", body);
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Equal("application/problem+json", refused.Content.Headers.ContentType!.MediaType);
        Assert.Empty(await _host.Database.QueryAsync<string>("select name from embedded.saga_signals"));
    }

    [Theory]
    [InlineData("""{"carrier":"\ud83d\ude00"}""")]
    [InlineData("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]")]
    public async Task A_signal_that_is_taken_can_be_kept(string body)
    {
        var id = await WaitingAsync();
        Assert.Equal(HttpStatusCode.Accepted, (await _client.SendJsonAsync(HttpMethod.Post, $"/sagas/{id}/signals/shipped", body)).StatusCode);
        await HttpTesting.EventuallyAsync(
            () => _host.Database.ScalarAsync<long>("select count(*) from embedded.saga_history where step = 'shipped' and kind = 'completed'"), count => count == 1);
    }

    [Fact]
    public async Task Text_that_is_not_utf8_is_refused()
    {
        var id = await WaitingAsync();
        using var body = new ByteArrayContent([0x22, 0xff, 0x22]) { Headers = { ContentType = new("application/json") } };
        Assert.Equal(HttpStatusCode.BadRequest, (await _client.PostAsync($"/sagas/{id}/signals/shipped", body)).StatusCode);
    }

    [Fact]
    public async Task Cancelling_takes_back_and_ends()
    {
        var id = await WaitingAsync();
        Assert.Equal(HttpStatusCode.Accepted, (await _client.PostAsync($"/sagas/{id}/cancel", null)).StatusCode);
        Assert.Equal("cancelled", await EndAsync(id));
    }

    [Fact]
    public async Task Unknown_sagas_and_signals_are_404_and_those_of_another_organisation_too()
    {
        var id = await WaitingAsync();
        using var globex = _host.Client(organisation: "globex");
        foreach (var response in (HttpResponseMessage[])
        [
            await _client.GetAsync("/sagas/order-none"), await _client.PostAsync("/sagas/order-none/signals/shipped", null),
            await _client.PostAsync("/sagas/order-none/cancel", null), await _client.PostAsync($"/sagas/{id}/signals/eaten", null),
            await globex.GetAsync($"/sagas/{id}"), await globex.PostAsync($"/sagas/{id}/signals/shipped", null),
            await globex.PostAsync($"/sagas/{id}/cancel", null),
        ])
        {
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
            Assert.Equal("urn:agency:problem:not-found", (await response.JsonAsync()).GetProperty("type").GetString());
        }

        Assert.Equal("shipped", (await (await _client.GetAsync($"/sagas/{id}")).JsonAsync()).GetProperty("waitingFor").GetString());
    }

    [Fact]
    public async Task Reading_and_writing_need_their_scopes()
    {
        using var reader = _host.Client("sagas:read");
        using var writer = _host.Client("sagas:write");
        using var nobody = _host.Client(null);
        Assert.Equal(HttpStatusCode.Unauthorized, (await nobody.GetAsync("/sagas/order-1")).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await writer.GetAsync("/sagas/order-1")).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await reader.PostAsync("/sagas/order-1/cancel", null)).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await reader.PostAsync("/sagas/order-1/signals/shipped", null)).StatusCode);
    }

    [Fact]
    public async Task A_repeated_key_replays_the_answer_also_after_the_saga_has_ended()
    {
        var id = await WaitingAsync();
        var first = await _client.SendJsonAsync(HttpMethod.Post, $"/sagas/{id}/signals/shipped", "{}", ("Idempotency-Key", "k1"));
        Assert.Equal(HttpStatusCode.Accepted, first.StatusCode);
        Assert.Equal("completed", await EndAsync(id));
        var again = await _client.SendJsonAsync(HttpMethod.Post, $"/sagas/{id}/signals/shipped", "{}", ("Idempotency-Key", "k1"));
        Assert.Equal(HttpStatusCode.Accepted, again.StatusCode);
        Assert.Equal("true", again.Headers.GetValues("Idempotency-Replayed").Single());
    }

    private async Task<string> WaitingAsync()
    {
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
        var id = await scope.ServiceProvider.GetRequiredService<ISagaEngine>().StartAsync(Orders.Fulfilment, "1", new("a"), default);
        await HttpTesting.EventuallyAsync(
            async () => (await (await _client.GetAsync($"/sagas/{id}")).JsonAsync()).GetProperty("waitingFor").GetString(), s => s == "shipped");
        return id;
    }

    private async Task<string> EndAsync(string id) => (await HttpTesting.EventuallyAsync(
        async () => (await (await _client.GetAsync($"/sagas/{id}")).JsonAsync()).GetProperty("status").GetString(),
        s => s is not ("running" or "compensating")))!;
}
