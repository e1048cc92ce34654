using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Analytics.Tests;

public sealed class ExportTests : IAsyncLifetime
{
    private static readonly DateTime Start = new(2011, 3, 7, 0, 0, 0, DateTimeKind.Utc);

    private static readonly JsonSerializerOptions Relaxed = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private TestHost _host = null!;
    private HttpClient _client = null!;

    public async Task InitializeAsync()
    {
        _host = await AnalyticsHost.StartAsync(consuming: false);
        _client = _host.Client();
    }

    public async Task DisposeAsync()
    {
        _client.Dispose();
        await _host.DisposeAsync();
    }

    [Fact]
    public async Task Every_event_is_exported_once_in_the_order_of_time()
    {
        // Those of one time come first, so that they need two pages.
        await _host.Database.AddRawAsync([.. RetentionTests.RandomEvents(seed: 5, count: 4000), .. AtOneTime(3000)]);
        // No rollup need know of an event.
        await _host.Database.RunAsync("truncate analytics.event_counts");
        var (media, lines) = await LinesAsync("/analytics/export");
        Assert.Equal("application/x-ndjson; charset=utf-8", media);
        var expected = await RawAsync("true");
        Assert.True(expected.Count > 6000);
        Assert.Equal(expected, lines.Select(Line));
    }

    [Theory]
    [InlineData("event=order", "name = 'order'")]
    [InlineData("event=nothing", "false")]
    [InlineData("from=2011-01-20T07:00:00Z&to=2011-02-20T13:00:00Z", "occurred_at >= '2011-01-20T07:00:00Z' and occurred_at < '2011-02-20T13:00:00Z'")]
    [InlineData("to=2011-01-01T00:00:00Z", "false")]
    [InlineData("from=2012-01-01", "false")]
    [InlineData("filter=plan%20%3D%20%27b%27&event=page&to=2011-02-01", "name = 'page' and properties->>'plan' = 'b' and occurred_at < '2011-02-01Z'")]
    public async Task What_was_asked_for_is_exported(string query, string condition)
    {
        await _host.Database.AddRawAsync(RetentionTests.RandomEvents(seed: 6, count: 3000));
        var expected = await RawAsync(condition);
        Assert.Equal(expected, (await LinesAsync($"/analytics/export?{query}")).Lines.Select(Line));
        // As CSV the same, under a header.
        var rows = Rows(await _client.GetStringAsync(new Uri($"/analytics/export?format=csv&{query}", UriKind.Relative)));
        Assert.Equal(["messageId", "event", "userId", "anonymousId", "time", "properties"], rows[0]);
        Assert.Equal(expected, rows.Skip(1).Select(r => $"{r[0]} {r[1]} {r[2]} {r[3]} {DateTime.Parse(r[4], CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal):O} {Compact(r[5])}"));
    }

    [Fact]
    public async Task What_is_exported_can_be_tracked_as_it_is()
    {
        await _host.Database.AddRawAsync([new("a \"b\", 'c'", Start, "u 1", "=1", new JsonObject { ["x"] = new JsonArray(1, null, "é"), ["$path"] = "/" })]);
        var (_, lines) = await LinesAsync("/analytics/export");
        var read = EventReader.Read(Encoding.UTF8.GetBytes(lines.Single()), DateTimeOffset.UtcNow).Single();
        Assert.Null(read.Error);
        Assert.Equal(("a \"b\", 'c'", "u 1", "=1", Start), (read.Event!.Event, read.Event.UserId, read.Event.AnonymousId, read.Event.Time.UtcDateTime));
        Assert.Equal("""{"x":[1,null,"é"],"$path":"/"}""", Compact(Encoding.UTF8.GetString(read.Event.Properties.Utf8.Span)));
    }

    [Fact]
    public async Task What_is_wrong_is_a_problem_before_anything_is_sent()
    {
        await _client.AskAsync("/analytics/export?filter=x", 400);
        await _client.AskAsync("/analytics/export?format=json", 400);
        await _client.AskAsync("/analytics/export?from=2011-01-02&to=2011-01-01", 400);
        await _host.Database.AddRawAsync([new("a", Start, "u")]);
        await _host.Database.RunAsync("revoke select on analytics.events from public; alter table analytics.events rename column properties to gone");
        await _client.AskAsync("/analytics/export", 500);
    }

    [Fact]
    public async Task A_failure_in_the_middle_breaks_the_transfer_off()
    {
        await _host.Database.AddRawAsync(Many(20_000, 2000));
        using var answer = await _client.GetAsync(new Uri("/analytics/export", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        await using var body = await answer.Content.ReadAsStreamAsync();
        var buffer = new byte[1000];
        await body.ReadExactlyAsync(buffer);
        // The client reads no more for a moment, so the rest is still to be asked for.
        await _host.Database.RunAsync("alter table analytics.events rename column properties to gone");
        await Assert.ThrowsAnyAsync<IOException>(async () => await body.CopyToAsync(Stream.Null));
    }

    [Fact]
    public async Task A_client_that_goes_away_ends_the_reading()
    {
        await _host.Database.AddRawAsync(Many(20_000, 2000));
        using (var answer = await _client.GetAsync(new Uri("/analytics/export", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead))
        {
            await using var body = await answer.Content.ReadAsStreamAsync();
            await body.ReadExactlyAsync(new byte[1000]);
        }

        await HttpTesting.EventuallyAsync(
            async () =>
            {
                var before = await ReadsAsync();
                await Task.Delay(1500);
                return await ReadsAsync() - before;
            },
            more => more == 0);
        // It has not read all and thrown it away: that would be each event once, after counting the windows it is in.
        Assert.True(await ReadsAsync() < 40_000);

        Task<long> ReadsAsync() => _host.Database.ScalarAsync<long>("select coalesce(sum(idx_tup_fetch), 0)::bigint from pg_stat_user_tables where relname like 'events\\_2%'");
    }

    [Fact]
    public void A_page_is_about_as_long_as_may_be_whatever_lies_in_the_events()
    {
        var page = EventPage.Starting(Start, Start.AddYears(10));
        Assert.Equal(Start.AddHours(1), page.End);
        // Nothing there: a longer window. A little: a longer one too.
        Assert.Equal((Start.AddHours(1), Start.AddHours(17)), page.Next(0, null, 0) is { } empty ? (empty.From, empty.End) : default);
        Assert.Equal(Start.AddHours(5), page.Next(10, (Start, "x"), 1000)!.End);
        // Full: on from the last event, and as much time as twice as many may need; many small ones or few large ones.
        var full = page.Next(500, (Start.AddMinutes(1), "m"), 100_000)!;
        Assert.Equal((Start.AddMinutes(1), "m", Start.AddMinutes(3), 10_000), (full.From, full.After, full.End, full.Rows));
        Assert.Equal(100, page.Next(500, (Start.AddMinutes(1), "m"), 500 * 32_000)!.Rows);
        // All at one time: still there is a window.
        Assert.Equal(Start.AddMicroseconds(1), page.Next(500, (Start, "m"), 100_000)!.End);
        Assert.Null((page with { To = Start.AddMinutes(5) }).Next(3, (Start, "x"), 100));
        Assert.NotNull((page with { To = Start.AddMinutes(5) }).Next(500, (Start, "x"), 100));
        Assert.Equal(Start.AddYears(10), (page with { Window = TimeSpan.FromDays(9999) }).End);
    }

    [Fact]
    public async Task A_page_reads_few_events_also_where_it_crosses_much()
    {
        // Years of nothing, and then more than one page may look at in a day.
        await _host.Database.RunAsync("""
            select analytics.add_partition('2011-03-07');
            insert into analytics.events (tenant_id, message_id, name, occurred_at, batch_id, properties)
            select 'acme', n::text, 'a', timestamptz '2011-03-07' + n * interval '500 ms', gen_random_uuid(), '{}' from generate_series(1, 150000) as n
            """);
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        var page = EventPage.Starting(Start.AddDays(-100), Start.AddYears(1)) with { Window = TimeSpan.FromDays(366) };
        var narrow = await page.NarrowAsync(work, ["a"], CancellationToken.None);
        Assert.Equal((page.From, true), (narrow.From, narrow.Window < TimeSpan.FromDays(101)));
        Assert.Equal(TimeSpan.FromDays(1), (await (page with { Window = TimeSpan.FromDays(1) }).NarrowAsync(work, ["a"], CancellationToken.None)).Window);
        Assert.Equal(3, (await LinesAsync("/analytics/export?filter=" + Uri.EscapeDataString("@event = 'a' and @user missing") + "&from=2011-03-07&to=2011-03-08")).Lines.Count(l => l.Contains("\"7\"", StringComparison.Ordinal) || l.Contains("\"8\"", StringComparison.Ordinal) || l.Contains("\"150000\"", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(null, "")]
    [InlineData("", "\"\"")]
    [InlineData("plain", "plain")]
    [InlineData("a,b", "\"a,b\"")]
    [InlineData("say \"x\"", "\"say \"\"x\"\"\"")]
    [InlineData("two\nlines", "\"two\nlines\"")]
    [InlineData(" blank ", "\" blank \"")]
    [InlineData("=1+1", "'=1+1")]
    [InlineData("+1", "'+1")]
    [InlineData("-1", "'-1")]
    [InlineData("@x", "'@x")]
    [InlineData("\t=1", "'\t=1")]
    [InlineData("\r=1", "\"'\r=1\"")]
    [InlineData("=a,\"b\"", "\"'=a,\"\"b\"\"\"")]
    [InlineData("a=1", "a=1")]
    public void A_cell_is_quoted_where_it_must_be_and_never_a_formula(string? text, string cell) =>
        Assert.Equal(cell, new StringBuilder().AppendCell(text).ToString());

    [Fact]
    public async Task An_answer_is_a_file_of_its_rows_when_that_is_asked_for()
    {
        await _host.Database.AddRawAsync(
        [
            new("a", Start, "u"), new("b", Start.AddMinutes(1), "u"), new("=c,d", Start.AddMinutes(2), "u"), new("a", Start.AddDays(1), "v"),
        ]);
        const string Paths = "/analytics/paths?event=a";
        var rows = (await _client.AskAsync(Paths + "&format=json")).GetProperty("paths").EnumerateArray().Select(p => p.GetRawText()).ToList();
        var (media, lines) = await LinesAsync(Paths + "&format=ndjson");
        Assert.Equal(("application/x-ndjson; charset=utf-8", 2), (media, lines.Count));
        Assert.Equal(rows, lines);
        using var csv = await _client.GetAsync(new Uri(Paths + "&format=csv", UriKind.Relative));
        Assert.Equal(("text/csv; charset=utf-8; header=present", "attachment; filename=\"paths.csv\""), (csv.Content.Headers.ContentType!.ToString(), csv.Content.Headers.ContentDisposition!.ToString()));
        Assert.Equal("steps.0,steps.1,sessions,visitors,ended\r\nb,,1,1,0\r\nb,\"'=c,d\",1,1,1\r\n", await csv.Content.ReadAsStringAsync());
        // It has an entity tag as any other answer.
        using var again = new HttpRequestMessage(HttpMethod.Get, new Uri(Paths + "&format=csv", UriKind.Relative)) { Headers = { IfNoneMatch = { csv.Headers.ETag! } } };
        using var unchanged = await _client.SendAsync(again);
        Assert.Equal(HttpStatusCode.NotModified, unchanged.StatusCode);

        Assert.Equal(
            "start,visitors,returned.0,returned.1,rates.0,rates.1\r\n2011-03-07T00:00:00+00:00,1,1,0,1,0\r\n2011-03-08T00:00:00+00:00,1,0,,0,\r\n",
            await _client.GetStringAsync(new Uri("/analytics/retention?interval=day&periods=2&to=2011-03-09&format=csv", UriKind.Relative)));
        Assert.Equal("value,visitors,returned.0,rates.0\r\n,2,1,0.5\r\n", await _client.GetStringAsync(new Uri("/analytics/retention?interval=month&to=2011-04-01&periods=1&breakdown=x&format=csv", UriKind.Relative)));
        foreach (var path in new[] { Paths + "&breakdown=x", "/analytics/funnels?steps=a,b&breakdown=x", "/analytics/retention?to=2001-01-01&breakdown=x" })
            Assert.StartsWith("value,", await _client.GetStringAsync(new Uri(path + "&format=csv", UriKind.Relative)), StringComparison.Ordinal);
        // The header stands also where there is nothing.
        Assert.Equal("start,gross,refunds,net,orders,lines,cancelledLines,units,averageOrder,customers,perCustomer\r\n", await _client.GetStringAsync(new Uri("/analytics/revenue?format=csv", UriKind.Relative)));
        Assert.Equal("key,gross,refunds,net,orders,lines,cancelledLines,units,averageOrder,customers,perCustomer\r\n", await _client.GetStringAsync(new Uri("/analytics/revenue?by=country&format=csv", UriKind.Relative)));
        await _client.AskAsync("/analytics/revenue?format=xml", 400);
        // Another part of it; a series is no column of another row.
        const string Users = "/analytics/users?interval=month&breakdown=@user&limit=1&format=csv&rows=";
        Assert.Equal(
            "value,active,new,returning,anonymous,visitors,newVisitors,returningVisitors,events,sessions,bounces,sessionSeconds\r\nu,1,1,0,0,1,1,0,3,1,0,120\r\n",
            await _client.GetStringAsync(new Uri(Users + "breakdown", UriKind.Relative)));
        Assert.StartsWith("2,", (await _client.GetStringAsync(new Uri(Users + "totals", UriKind.Relative))).Split("\r\n")[1], StringComparison.Ordinal);
        Assert.StartsWith("2011-03-01T00:00:00+00:00,2,", (await _client.GetStringAsync(new Uri(Users + "series", UriKind.Relative))).Split("\r\n")[1], StringComparison.Ordinal);
        Assert.StartsWith("a,2", (await _client.GetStringAsync(new Uri("/analytics/events?format=csv&rows=breakdown", UriKind.Relative))).Split("\r\n")[1], StringComparison.Ordinal);
        await _client.AskAsync(Paths + "&format=csv&rows=series", 400);
    }

    [Fact]
    public void What_lies_inside_a_row_has_columns_of_its_own()
    {
        var rows = JsonDocument.Parse("""[{"step":{"name":"x","time":null}},{"step":{"name":"y","time":{"mean":1.50,"list":[true,[2]]}},"more":-5,"text":"-5"}]""").RootElement;
        Assert.Equal(
            "step.name,step.time.mean,step.time.list.0,step.time.list.1.0,more,text\r\nx,,,,,\r\ny,1.50,true,2,-5,'-5\r\n",
            Csv.Of(JsonSerializerOptions.Web.GetTypeInfo(typeof(JsonElement)), [.. rows.EnumerateArray()]));
    }

    private static IEnumerable<RawEvent> AtOneTime(int count) => Enumerable.Range(0, count).Select(n => new RawEvent(n % 2 == 0 ? "page" : "order", new(2010, 12, 31, 0, 0, 0, DateTimeKind.Utc), $"u{n}"));

    private static List<RawEvent> Many(int count, int length) =>
        [.. Enumerable.Range(0, count).Select(n => new RawEvent("a", Start.AddSeconds(n), "u", Properties: new JsonObject { ["x"] = new string('x', length) }))];

    private async Task<(string Media, List<string> Lines)> LinesAsync(string path)
    {
        using var answer = await _client.GetAsync(new Uri(path, UriKind.Relative));
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.EndsWith(".ndjson\"", answer.Content.Headers.ContentDisposition!.ToString(), StringComparison.Ordinal);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(text.Length == 0 || text[^1] == '\n');
        return (answer.Content.Headers.ContentType!.ToString(), [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries)]);
    }

    private async Task<List<string>> RawAsync(string condition)
    {
        var rows = new List<string>();
        await using var source = NpgsqlDataSource.Create(_host.Database.Settings.Admin);
        await using var command = source.CreateCommand($"""
            select message_id, name, coalesce(user_id, ''), coalesce(anonymous_id, ''), occurred_at, properties::text
            from analytics.events where tenant_id = 'acme' and {condition} order by occurred_at, message_id collate "C"
            """);
        await using var reader = await command.ExecuteReaderAsync();
        while (await reader.ReadAsync())
            rows.Add($"{reader.GetString(0)} {reader.GetString(1)} {reader.GetString(2)} {reader.GetString(3)} {reader.GetDateTime(4):O} {Compact(reader.GetString(5))}");
        return rows;
    }

    private static string Line(string json)
    {
        var e = JsonDocument.Parse(json).RootElement;
        return $"{e.GetProperty("messageId")} {e.GetProperty("event")} {e.GetProperty("userId")} {e.GetProperty("anonymousId")} {e.GetProperty("time").GetDateTime().ToUniversalTime():O} {Compact(e.GetProperty("properties").GetRawText())}";
    }

    private static string Compact(string json) => JsonSerializer.Serialize(JsonDocument.Parse(json).RootElement, Relaxed);

    /// <summary>Reads CSV by the letter of RFC 4180.</summary>
    private static List<List<string>> Rows(string csv)
    {
        var rows = new List<List<string>> { new() };
        var cell = new StringBuilder();
        for (var i = 0; i < csv.Length; i++)
        {
            if (csv[i] == '"')
            {
                for (i++; csv[i] != '"' || (i + 1 < csv.Length && csv[i + 1] == '"' && ++i > 0); i++)
                    cell.Append(csv[i]);
            }
            else if (csv[i] is ',' or '\r')
            {
                rows[^1].Add(cell.ToString());
                cell.Clear();
                if (csv[i] == '\r' && csv[++i] == '\n' && i + 1 < csv.Length)
                    rows.Add([]);
            }
            else
            {
                cell.Append(csv[i]);
            }
        }

        return rows;
    }
}
