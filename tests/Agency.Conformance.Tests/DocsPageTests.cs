namespace Agency.Conformance.Tests;

/// <summary>The reference for people, in a real browser.</summary>
[Collection(InOneWorld.Name)]
public sealed class DocsPageTests(World world)
{
    [BrowserFact]
    public async Task The_page_lists_every_operation_and_asks_no_other_host()
    {
        await using var browser = await Browser.StartAsync();
        await browser.OpenAsync(new(world.Host.Address, "/docs"), $"document.querySelectorAll('.opblock').length === {world.Document.Operations.Count}");
        var shown = (string)(await browser.EvaluateAsync("[...document.querySelectorAll('.opblock')].map(o => o.querySelector('.opblock-summary-method').innerText + ' ' + o.querySelector('.opblock-summary-path').dataset.path).join('\\n')"))!;
        Assert.Equal(world.Document.Operations.Select(o => o.Name).Order(StringComparer.Ordinal), shown.Split('\n').Order(StringComparer.Ordinal));
        Assert.All(browser.Requests, address => Assert.True(
            address.StartsWith(world.Host.Address.ToString(), StringComparison.Ordinal) || address.StartsWith("data:", StringComparison.Ordinal) || address == "about:blank", address));
        Assert.Empty(browser.Complaints);
        if (Environment.GetEnvironmentVariable("AGENCY_SCREENSHOT") is { Length: > 0 } file)
            await File.WriteAllBytesAsync(file, await browser.ScreenshotAsync());
    }

    [BrowserFact]
    public async Task A_request_can_be_tried_on_the_page()
    {
        await using var browser = await Browser.StartAsync();
        await browser.OpenAsync(new(world.Host.Address, "/docs#/platform/CheckReadiness"), "!!document.querySelector('#operations-platform-CheckReadiness .execute')");
        await browser.EvaluateAsync("document.querySelector('#operations-platform-CheckReadiness .execute').click()");
        await Agency.Testing.HttpTesting.EventuallyAsync(
            async () => (string?)await browser.EvaluateAsync("document.querySelector('#operations-platform-CheckReadiness .live-responses-table tr.response .response-col_status')?.innerText ?? ''"),
            status => status is not null && status.StartsWith("200", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_page_and_its_parts_are_served_for_this_host_only()
    {
        foreach (var (path, media) in new[] { ("/docs", "text/html"), ("/docs/", "text/html"), ("/docs/swagger-ui.css", "text/css"), ("/docs/swagger-ui-bundle.js", "text/javascript"), ("/docs/docs.js", "text/javascript") })
        {
            var answer = await world.SendAsync(new(HttpMethod.Get, path));
            Assert.Equal((200, media), (answer.Status, answer.MediaType));
            Assert.StartsWith("default-src 'self';", answer.Header("Content-Security-Policy"), StringComparison.Ordinal);
            Assert.DoesNotContain("unsafe", answer.Header("Content-Security-Policy"), StringComparison.Ordinal);
            Assert.Equal("nosniff", answer.Header("X-Content-Type-Options"));
            Assert.Equal("no-cache", answer.Header("Cache-Control"));
            Assert.Equal(304, (await world.SendAsync(new(HttpMethod.Get, path) { Headers = [("If-None-Match", answer.Header("ETag")!)] })).Status);
        }

        Assert.Equal(404, (await world.SendAsync(new(HttpMethod.Get, "/docs/package.json"))).Status);
    }
}

/// <summary>A test that needs a browser on this machine.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class BrowserFactAttribute : FactAttribute
{
    public BrowserFactAttribute() => Skip = Browser.Program is null ? "There is no Chromium on this machine; install the package chromium." : null;
}
