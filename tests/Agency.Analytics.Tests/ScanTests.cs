using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Agency.Platform;
using Agency.Testing;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Analytics.Tests;

/// <summary>Questions with filters, breakdowns and steps, against the same put to the raw events in SQL.</summary>
public sealed class ScanTests : IAsyncLifetime
{
    private const string Person = "coalesce('user ' || user_id, 'anonymous ' || anonymous_id)";
    private static readonly string[] Organisations = ["acme", "beta"];
    private static readonly string[] Ranges = ["2023-12-01T00:00Z/2024-03-01T00:00Z", "2023-12-30T05:00Z/2024-01-02T19:00Z", "2024-01-10T10:00Z/2024-01-10T12:00Z"];

    // As a query has them, and in SQL.
    private static readonly (string? Filter, string Sql)[] Filters =
    [
        (null, "true"),
        ("country = 'GB' and not (quantity > 10 or $device in ('mobile', 'tablet'))",
            "coalesce(properties ->> 'country' = 'GB', false) and not coalesce((properties ->> 'quantity')::int > 10, false) and coalesce(properties ->> '$device', '') not in ('mobile', 'tablet')"),
        ("@user exists and @event != 'page-view'", "user_id is not null and name <> 'page-view'"),
    ];

    private TestHost _host = null!;

    public async Task InitializeAsync()
    {
        _host = await AnalyticsHost.StartAsync(consuming: false);
        await AddRandomAsync(new Random(1), 2500);
    }

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task Events_equal_the_raw_events()
    {
        foreach (var (organisation, interval, range) in Questions())
        {
            using var client = _host.Client(organisation: organisation);
            foreach (var (filter, condition) in Filters)
                foreach (var name in new[] { null, "order-line" })
                    foreach (var breakdown in new[] { null, "country", "@user" })
                    {
                        var scans = filter is not null || breakdown is not null;
                        var raw = $"{Raw(organisation, range)} and {condition} and {(name is null ? "true" : $"name = '{name}'")}";
                        var answer = await client.AskAsync("/analytics/events" + Query(range, ("interval", interval), ("filter", filter), ("event", name), ("breakdown", breakdown), ("limit", "7")));
                        Assert.Equal(
                            await _host.Database.ScalarAsync<string>($"select count(*) || '|' || {(scans ? $"count(distinct {Person})::text" : "''")} from ({raw}) as e"),
                            $"{answer.GetProperty("totals").GetProperty("events")}|{(answer.GetProperty("totals").TryGetProperty("visitors", out var visitors) ? visitors : "")}");
                        Assert.Equal(
                            await _host.Database.QueryAsync<string>($"select {Start(interval)} || '|' || count(*) from ({raw}) as e group by date_trunc('{interval}', occurred_at, 'UTC') order by 1"),
                            answer.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("events").GetInt64() > 0)
                                .Select(p => $"{p.GetProperty("start").GetString()![..13]}|{p.GetProperty("events")}"));
                        Assert.Equal(new TimeRange(Time(range, 0), Time(range, 1)).Starts(interval).Count(), answer.GetProperty("series").GetArrayLength());
                        if (name is not null && breakdown is null)
                        {
                            Assert.False(answer.TryGetProperty("top", out _));
                            continue;
                        }

                        var by = breakdown switch { null => "name", "@user" => "user_id", _ => $"properties ->> '{breakdown}'" };
                        Assert.Equal(
                            await _host.Database.QueryAsync<string>($"""
                                select concat_ws('|', coalesce(value, '(none)'), n {(scans ? ", visitors" : "")})
                                from (select {by} as value, count(*) as n, count(distinct {Person}) as visitors from ({raw}) as e group by 1) as counted order by n desc, value collate "C" limit 7
                                """),
                            answer.GetProperty("top").EnumerateArray().Select(t =>
                                $"{t.GetProperty("value").GetString() ?? "(none)"}|{t.GetProperty("events")}{(scans ? "|" + t.GetProperty("visitors") : "")}"));
                        Assert.Equal(
                            await _host.Database.QueryAsync<string>($"""
                                select concat_ws('|', coalesce({by}, '(none)'), {Start(interval)}, count(*) {(scans ? $", count(distinct {Person})" : "")})
                                from ({raw}) as e group by ({by}), date_trunc('{interval}', occurred_at, 'UTC') order by ({by}) collate "C", 1
                                """) is var points ? points.Where(p => answer.GetProperty("top").EnumerateArray().Any(t => p.StartsWith((t.GetProperty("value").GetString() ?? "(none)") + "|", StringComparison.Ordinal))) : [],
                            answer.GetProperty("top").EnumerateArray().OrderBy(t => t.GetProperty("value").GetString() is null).ThenBy(t => t.GetProperty("value").GetString(), StringComparer.Ordinal)
                                .SelectMany(t => t.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("events").GetInt64() > 0).Select(p =>
                                    $"{t.GetProperty("value").GetString() ?? "(none)"}|{p.GetProperty("start").GetString()![..13]}|{p.GetProperty("events")}{(scans ? "|" + p.GetProperty("visitors") : "")}")));
                    }
        }
    }

    [Theory]
    [InlineData("page-view,sign-up,order-line", 3)]
    [InlineData("page-view,order-line,page-view", 3)]
    [InlineData("sign-up,sign-up", 2)]
    public async Task Funnels_equal_the_raw_events(string steps, int count)
    {
        var names = steps.Split(',');
        foreach (var organisation in Organisations)
            foreach (var (range, window, sqlWindow) in new[] { (Ranges[0], "7d", "7 days"), (Ranges[1], "36h", "36 hours"), (Ranges[1], "45m", "45 minutes") })
                foreach (var (filter, condition) in Filters)
                {
                    using var client = _host.Client(organisation: organisation);
                    // Every attempt, each step as early as it can be by an event that is not used yet.
                    var sql = $"""
                        with raw as materialized (
                          select {Person} as person, name, occurred_at as at, message_id as id, properties ->> 'country' as country
                          from analytics.events where tenant_id = '{organisation}' and coalesce(user_id, anonymous_id) is not null and {condition}
                        ), attempts as (
                          select a.*, t2, t3, 1 + (t2 is not null)::int + (t3 is not null)::int as depth
                          from raw a
                          left join lateral (select at as t2, id as id2 from raw b
                            where b.person = a.person and b.name = '{names[1]}' and b.id <> a.id and b.at between a.at and a.at + interval '{sqlWindow}' order by b.at limit 1) as b on true
                          left join lateral (select at as t3 from raw c
                            where {count} = 3 and c.person = a.person and c.name = '{names[^1]}' and c.id not in (a.id, b.id2) and c.at between t2 and a.at + interval '{sqlWindow}' order by c.at limit 1) as c on true
                          where a.name = '{names[0]}' and a.at >= '{range.Split('/')[0]}' and a.at < '{range.Split('/')[1]}'
                        ), best as (
                          select distinct on (person) *, extract(epoch from t2 - at) as s12, extract(epoch from t3 - t2) as s23, extract(epoch from t3 - at) as s13
                          from attempts order by person, depth desc, at, country collate "C"
                        )
                        """;
                    string Steps(string where) => $"""
                        select concat_ws('|', count(*), count(t2), {(count == 3 ? "count(t3)," : "")}
                          round((percentile_cont(0.5) within group (order by s12))::numeric, 4), round(avg(s12), 4),
                          round((percentile_cont(0.5) within group (order by s23))::numeric, 4), round(avg(s23), 4),
                          round((percentile_cont(0.5) within group (order by s13))::numeric, 4), round(avg(s13), 4))
                        from best where {where}
                        """;
                    var query = Query(range, ("steps", steps), ("window", window), ("filter", filter));
                    var plain = await client.AskAsync("/analytics/funnels" + query);
                    Assert.Equal(await _host.Database.ScalarAsync<string>($"{sql} {Steps("true")}"), Told(plain.GetProperty("steps")));
                    Assert.False(plain.TryGetProperty("breakdown", out _));

                    string Series(string where) => $"""
                        {sql} select concat_ws('|', {Start("day").Replace("occurred_at", "at", StringComparison.Ordinal)}, count(*), count({(count == 3 ? "t3" : "t2")}))
                        from best where {where} group by date_trunc('day', at, 'UTC') order by 1
                        """;
                    static IEnumerable<string> Points(JsonElement of) => of.GetProperty("series").EnumerateArray().Where(p => p.GetProperty("entered").GetInt64() > 0).Select(p =>
                    {
                        var (entered, converted) = (p.GetProperty("entered").GetInt64(), p.GetProperty("converted").GetInt64());
                        Assert.Equal((double)converted / entered, p.GetProperty("conversion").GetDouble());
                        return $"{p.GetProperty("start").GetString()![..13]}|{entered}|{converted}";
                    });
                    var byDay = await client.AskAsync($"/analytics/funnels{query}&interval=day&breakdown=country&limit=3");
                    Assert.Equal(await _host.Database.QueryAsync<string>(Series("true")), Points(byDay));
                    Assert.Equal(new TimeRange(Time(range, 0), Time(range, 1)).Starts("day").Count(), byDay.GetProperty("series").GetArrayLength());
                    foreach (var share in byDay.GetProperty("breakdown").EnumerateArray())
                        Assert.Equal(await _host.Database.QueryAsync<string>(Series(Is("country", share.GetProperty("value")))), Points(share));
                    Assert.False(plain.TryGetProperty("series", out _));

                    var broken = await client.AskAsync($"/analytics/funnels{query}&breakdown=country&limit=3");
                    Assert.Equal(plain.GetProperty("steps").GetRawText(), broken.GetProperty("steps").GetRawText());
                    var values = await _host.Database.QueryAsync<string>($"{sql} select coalesce(country, '(none)') from best group by country order by count(*) desc, country collate \"C\" limit 3");
                    Assert.Equal(values, broken.GetProperty("breakdown").EnumerateArray().Select(b => b.GetProperty("value").GetString() ?? "(none)"));
                    foreach (var share in broken.GetProperty("breakdown").EnumerateArray())
                        Assert.Equal(
                            await _host.Database.ScalarAsync<string>($"{sql} {Steps(share.GetProperty("value").GetString() is { } value ? $"country = '{value}'" : "country is null")}"),
                            Told(share.GetProperty("steps")));
                }
    }

    [Theory]
    [InlineData("page-view[country = 'GB'],sign-up", "name = 'page-view' and properties ->> 'country' = 'GB'", "name = 'sign-up'", null)]
    [InlineData("page-view[$device = 'mobile'],page-view[country = 'GB']", "name = 'page-view' and properties ->> '$device' = 'mobile'", "name = 'page-view' and properties ->> 'country' = 'GB'", null)]
    [InlineData("page-view,sign-up[not country exists],page-view[country = 'DE' or $device = 'desktop']", "name = 'page-view'", "name = 'sign-up' and properties ->> 'country' is null",
        "name = 'page-view' and (properties ->> 'country' = 'DE' or properties ->> '$device' = 'desktop')")]
    public async Task Steps_with_filters_of_their_own_equal_the_raw_events(string steps, string one, string two, string? three)
    {
        using var client = _host.Client();
        foreach (var (filter, condition) in Filters[..1].Append(("@user exists", "user_id is not null")))
        {
            var raw = $"(select *, {Person} as person from analytics.events where tenant_id = 'acme' and coalesce(user_id, anonymous_id) is not null and {condition})";
            string Later(int n, string where, string before) => $"""
                left join lateral (select occurred_at as t{n}, message_id as id{n} from {raw} as e
                  where e.person = a.person and {where} and message_id not in ({before}) and occurred_at between t{n - 1} and t1 + interval '7 days') as s{n} on true
                """;
            // Every choice of events, the best of them: here an event may fit several steps, so that the first that comes is not always the one to take.
            var expected = await _host.Database.ScalarAsync<string>($"""
                with choices as (
                  select a.person, t1, t2, {(three is null ? "null::timestamptz" : "t3")} as t3
                  from (select person, occurred_at as t1, message_id as id1 from {raw} as e where {one} and occurred_at >= '{Ranges[0].Split('/')[0]}' and occurred_at < '{Ranges[0].Split('/')[1]}') as a
                  {Later(2, two, "id1")}
                  {(three is null ? "" : Later(3, three, "id1, id2"))}
                ), best as (
                  select distinct on (person) * from choices order by person, (t2 is not null)::int + (t3 is not null)::int desc, t1, t2, t3
                )
                select concat_ws('|', count(*), count(t2), {(three is null ? "" : "count(t3),")}
                  round((percentile_cont(0.5) within group (order by extract(epoch from t2 - t1)))::numeric, 4), round(avg(extract(epoch from t2 - t1)), 4),
                  round((percentile_cont(0.5) within group (order by extract(epoch from t3 - t2)))::numeric, 4), round(avg(extract(epoch from t3 - t2)), 4),
                  round((percentile_cont(0.5) within group (order by extract(epoch from t3 - t1)))::numeric, 4), round(avg(extract(epoch from t3 - t1)), 4))
                from best
                """);
            var answer = (await client.AskAsync("/analytics/funnels" + Query(Ranges[0], ("steps", steps), ("window", "7d"), ("filter", filter)))).GetProperty("steps");
            Assert.Equal(expected, Told(answer));
            Assert.True(answer[1].GetProperty("visitors").GetInt64() > 10, answer.ToString());
        }
    }

    [Fact]
    public async Task Revenue_equals_the_raw_events()
    {
        foreach (var (organisation, interval, range) in Questions())
        {
            using var client = _host.Client(organisation: organisation);
            foreach (var (filter, condition) in Filters)
                foreach (var breakdown in new[] { null, "$device", "by=country", "by=product" })
                {
                    if (filter is null && breakdown is null or "by=country" or "by=product")
                        continue;
                    var lines = $"""
                        select *, (properties ->> 'quantity')::numeric * (properties ->> 'unitPrice')::numeric as amount, (properties ->> 'cancelled')::boolean as cancelled,
                          date_trunc('hour', min(occurred_at) filter (where not (properties ->> 'cancelled')::boolean) over (partition by properties ->> 'orderId')) < '{range.Split('/')[0]}' as is_old
                        from analytics.events where tenant_id = '{organisation}' and name = 'order-line'
                        """;
                    var raw = $"""
                        select * from ({lines}) as e where occurred_at >= '{range.Split('/')[0]}' and occurred_at < '{range.Split('/')[1]}' and {condition}
                        """;
                    const string sums = """
                        coalesce(sum(amount) filter (where amount > 0), 0), coalesce(-sum(amount) filter (where amount < 0), 0), coalesce(sum(amount), 0),
                        count(*), count(*) filter (where cancelled), coalesce(sum((properties ->> 'quantity')::int), 0)
                        """;
                    var answer = await client.AskAsync("/analytics/revenue" + Query(range, ("interval", interval), ("filter", filter), ("limit", "5"),
                        breakdown?.StartsWith("by", StringComparison.Ordinal) == true ? ("by", breakdown[3..]) : ("breakdown", breakdown)));
                    const string fields = "gross|refunds|net|lines|cancelledLines|units|customers|orders";
                    const string orders = "properties ->> 'orderId'";
                    async Task CheckAsync(string where, JsonElement whole, JsonElement series)
                    {
                        // The first line of those that are looked at.
                        var own = $"select *, min(occurred_at) filter (where not cancelled) over (partition by {orders}) as ordered_at from ({raw}) as e where {where}";
                        Assert.Equal(
                            (await _host.Database.QueryAsync<string>($"""
                                select concat_ws('|', {Start(interval)}, {sums}, count(distinct {Person}),
                                  count(distinct {orders}) filter (where not is_old and date_trunc('{interval}', occurred_at, 'UTC') = date_trunc('{interval}', ordered_at, 'UTC')))
                                from ({own}) as e group by date_trunc('{interval}', occurred_at, 'UTC') order by 1
                                """)).Select(Plain),
                            series.EnumerateArray().Where(p => p.GetProperty("lines").GetInt64() > 0).Select(p => p.GetProperty("start").GetString()![..13] + "|" + Fields(p, fields.Split('|'))));
                        Assert.Equal(
                            Plain(await _host.Database.ScalarAsync<string>($"""
                                select concat_ws('|', {sums}, count(distinct {Person}), count(distinct {orders}) filter (where not is_old and ordered_at is not null),
                                  coalesce(round(coalesce(sum(amount) filter (where amount > 0), 0) / nullif(count(distinct {orders}) filter (where not is_old and ordered_at is not null), 0), 4)::text, 'null'),
                                  coalesce(round(sum(amount) / nullif(count(distinct {Person}), 0), 4)::text, 'null'))
                                from ({own}) as e
                                """)),
                            Fields(whole, [.. fields.Split('|'), "averageOrder", "perCustomer"]));
                    }

                    await CheckAsync("true", answer.GetProperty("totals"), answer.GetProperty("series"));
                    if (breakdown is null)
                        continue;
                    var by = breakdown switch { "by=country" => "country", "by=product" => "productId", _ => breakdown };
                    Assert.Equal(
                        await _host.Database.QueryAsync<string>($"""
                            select coalesce(properties ->> '{by}', '(none)') from ({raw}) as e group by properties ->> '{by}'
                            order by coalesce(sum(amount) filter (where amount > 0), 0) desc, (properties ->> '{by}') collate "C" limit 5
                            """),
                        answer.GetProperty("breakdown").EnumerateArray().Select(b => b.GetProperty("key").GetString() ?? "(none)"));
                    foreach (var share in answer.GetProperty("breakdown").EnumerateArray())
                        await CheckAsync(Is($"properties ->> '{by}'", share.GetProperty("key")), share, share.GetProperty("series"));
                }
        }
    }

    [Fact]
    public async Task Users_equal_the_raw_events()
    {
        foreach (var (organisation, interval, range) in Questions())
            foreach (var (filter, condition) in Filters)
                foreach (var breakdown in new[] { null, "country", "@event" })
                {
                    await using var scope = _host.Services.CreateAsyncScope();
                    scope.ServiceProvider.GetRequiredService<Caller>().Become(organisation, "tester");
                    var dto = await UserScan.RunAsync(
                        scope.ServiceProvider.GetRequiredService<UnitOfWork>(), new(Time(range, 0), Time(range, 1)), interval, new(filter, breakdown), 2, CancellationToken.None);
                    var answer = JsonSerializer.SerializeToElement(dto, AnalyticsJson.Default.AnalyticsDto);
                    var (from, to) = (range.Split('/')[0], range.Split('/')[1]);
                    var raw = $"""
                        select * from (select *, min(occurred_at) over (partition by user_id, case when user_id is null then anonymous_id end) as first from analytics.events where tenant_id = '{organisation}') as e
                        where occurred_at >= '{from}' and occurred_at < '{to}' and {condition}
                        """;
                    const string fields = "active|new|anonymous|visitors|newVisitors|events";
                    const string who = "coalesce('u' || user_id, 'a' || anonymous_id)";
                    string Counts(string start) => $"""
                        count(distinct user_id), count(distinct user_id) filter (where first >= '{from}' and first < '{to}' and {start}),
                        count(distinct anonymous_id) filter (where user_id is null),
                        count(distinct {who}), count(distinct {who}) filter (where first >= '{from}' and first < '{to}' and {start}), count(*)
                        """;
                    // All sessions there are; each event with its own.
                    var visits = $"""
                        with numbered as (
                          select *, count(*) filter (where is_new) over (partition by person order by occurred_at) as n from (
                            select *, {Person} as person, occurred_at - lag(occurred_at) over (partition by {Person} order by occurred_at) >= interval '30 minutes' as is_new
                            from analytics.events where tenant_id = '{organisation}' and coalesce(user_id, anonymous_id) is not null) as marked
                        ), visits as (
                          select *, min(occurred_at) over session as began, max(occurred_at) over session as ended, count(*) over session as length
                          from numbered window session as (partition by person, n)
                        )
                        """;
                    string Visits(string where) =>
                        $"(select distinct person, began, ended, length from visits where occurred_at >= '{from}' and occurred_at < '{to}' and began >= '{from}' and {condition} and {where}) as v";
                    const string sessions = "count(*), count(*) filter (where length = 1), coalesce(sum(extract(epoch from ended - began)), 0)::bigint";
                    async Task CheckAsync(string where, JsonElement whole, JsonElement series)
                    {
                        Assert.Equal(await _host.Database.ScalarAsync<string>($"select concat_ws('|', {Counts("true")}) from ({raw}) as e where {where}"), Fields(whole, fields.Split('|')));
                        Assert.Equal(await _host.Database.ScalarAsync<string>($"{visits} select concat_ws('|', {sessions}) from {Visits(where)}"), Sessions(whole));
                        Assert.Equal(
                            await _host.Database.QueryAsync<string>($"""
                                select concat_ws('|', {Start(interval)}, {Counts($"date_trunc('{interval}', first, 'UTC') = date_trunc('{interval}', occurred_at, 'UTC')")})
                                from ({raw}) as e where {where} group by date_trunc('{interval}', occurred_at, 'UTC') order by 1
                                """),
                            series.EnumerateArray().Where(p => p.GetProperty("events").GetInt64() > 0).Select(p => p.GetProperty("start").GetString()![..13] + "|" + Fields(p, fields.Split('|'))));
                        Assert.Equal(
                            await _host.Database.QueryAsync<string>($"""
                                {visits} select concat_ws('|', {Start(interval).Replace("occurred_at", "began", StringComparison.Ordinal)}, {sessions})
                                from {Visits(where)} group by date_trunc('{interval}', began, 'UTC') order by 1
                                """),
                            series.EnumerateArray().Where(p => p.GetProperty("sessions").GetInt64() > 0).Select(p => p.GetProperty("start").GetString()![..13] + "|" + Sessions(p)));
                        Assert.All(series.EnumerateArray().Append(whole), p => Assert.Equal(p.GetProperty("active").GetInt64(), p.GetProperty("new").GetInt64() + p.GetProperty("returning").GetInt64()));
                    }

                    await CheckAsync("true", answer.GetProperty("totals"), answer.GetProperty("series"));
                    if (breakdown is null)
                    {
                        Assert.False(answer.TryGetProperty("breakdown", out _));
                        continue;
                    }

                    var by = breakdown == "@event" ? "name" : $"properties ->> '{breakdown}'";
                    Assert.Equal(
                        await _host.Database.QueryAsync<string>($"""
                            select coalesce({by}, '(none)') from ({raw}) as e
                            group by {by} order by count(distinct user_id) desc, count(*) desc, ({by}) collate "C" limit 2
                            """),
                        answer.GetProperty("breakdown").EnumerateArray().Select(b => b.GetProperty("value").GetString() ?? "(none)"));
                    foreach (var share in answer.GetProperty("breakdown").EnumerateArray())
                        await CheckAsync(Is(by, share.GetProperty("value")), share, share.GetProperty("series"));
                }

        // Sessions, bounces, seconds in all.
        static string Sessions(JsonElement of) => of.GetProperty("sessions").GetInt64() is var sessions
            ? $"{sessions}|{of.GetProperty("bounces")}|{Math.Round(sessions * (of.GetProperty("sessionSeconds").Deserialize<double?>() ?? 0))}" : "";
    }

    [Fact]
    public async Task Values_have_a_series_each_as_long_as_there_are_not_too_many_points()
    {
        using var client = _host.Client();
        const string month = "from=2024-01-01&to=2024-02-01&breakdown=country&interval=hour";
        foreach (var (question, list) in new[] { ("users", "breakdown"), ("events", "top"), ("revenue", "breakdown"), ("funnels", "breakdown") })
            foreach (var (limit, has) in new[] { (13, true), (14, false) })
                Assert.All(
                    (await client.AskAsync($"/analytics/{question}?{month}&limit={limit}{(question == "funnels" ? "&steps=page-view,sign-up" : "")}")).GetProperty(list).EnumerateArray(),
                    share => Assert.Equal(has, share.TryGetProperty("series", out var series) && series.ValueKind == JsonValueKind.Array));
    }

    [Fact]
    public async Task Revenue_by_what_the_rollups_have_is_never_refused_for_its_size()
    {
        using var client = _host.Client();
        Assert.All((await client.AskAsync("/analytics/revenue?breakdown=country")).GetProperty("breakdown").EnumerateArray(), b => Assert.Equal(JsonValueKind.Number, b.GetProperty("orders").ValueKind));
        await _host.Database.RunAsync("""
            update analytics.event_counts set events = 5000001 where name = 'order-line';
            insert into analytics.revenue (tenant_id, dimension, resolution, start, currency, key, gross, refunds, orders, lines, cancelled_lines, units)
            select 'acme', dimension, resolution, '2024-01-01', 'GBP', 'DE', 10, 4, 0, 3, 1, 2
            from unnest(array['country', 'product', 'campaign']) as dimension, unnest(array['day', 'month']) as resolution
            """);
        foreach (var (breakdown, by) in new[] { ("country", "country"), ("productId", "product"), ("$utm_campaign", "campaign") })
        {
            var answer = await client.AskAsync($"/analytics/revenue?breakdown={breakdown}");
            Assert.Equal((await client.AskAsync($"/analytics/revenue?by={by}")).GetRawText(), answer.GetRawText());
            var share = answer.GetProperty("breakdown").EnumerateArray().Single();
            Assert.Equal("DE|10|4|6|null|3|1|2|null|null|null", share.GetProperty("key").GetString() + "|"
                + Fields(share, "gross", "refunds", "net", "orders", "lines", "cancelledLines", "units", "averageOrder", "customers", "perCustomer"));
        }

        await client.AskAsync("/analytics/revenue?breakdown=$device", 400);
        await client.AskAsync("/analytics/revenue?breakdown=country&filter=country exists", 400);
    }

    [Fact]
    public async Task A_filter_that_pins_the_name_reads_no_other_events()
    {
        using var client = _host.Client();
        await _host.Database.RunAsync("""
            insert into analytics.event_counts (tenant_id, resolution, start, name, events)
            select 'acme', resolution, '2024-01-01', 'many', 5000001 from unnest(array['hour', 'day', 'month']) as resolution
            """);
        await client.AskAsync("/analytics/users?filter=country exists", 400);
        foreach (var question in new[] { "users?", "events?", "retention?event=many&returnEvent=sign-up&" })
            await client.AskAsync($"/analytics/{question}filter=@event in ('sign-up', 'page-view') and (country exists or @user exists)");
        await client.AskAsync("/analytics/users?filter=@event = 'sign-up' or country exists", 400);
        await client.AskAsync("/analytics/users?filter=not @event = 'sign-up'", 400);
    }

    [Fact]
    public async Task A_clock_that_says_1970_does_not_make_a_question_unanswerable()
    {
        using var client = _host.Client();
        await _host.Database.AddRawAsync([new("page-view", new(1970, 1, 2, 0, 0, 0, DateTimeKind.Utc), "old"), new("page-view", new(2024, 6, 1, 0, 30, 0, DateTimeKind.Utc), "new")]);
        foreach (var (question, interval, from) in new[]
        {
            ("users?", "day", "1997-01-15"), ("events?", "day", "1997-01-15"), ("events?breakdown=country&", "day", "1997-01-15"), ("events?", "week", "1970-01-02"),
            ("funnels?steps=page-view,sign-up&", "day", "1997-01-15"), ("paths?event=page-view&", "day", "1997-01-15"), ("retention?periods=60&", "day", "2019-11-10"),
        })
            Assert.Equal((question, from), (question, (await client.AskAsync($"/analytics/{question}interval={interval}")).GetProperty("from").GetString()![..10]));
        Assert.Equal(10_000, (await client.AskAsync("/analytics/events?interval=hour")).GetProperty("series").GetArrayLength());
        await client.AskAsync("/analytics/events?interval=hour&from=1970-01-01", 400);
    }

    [Fact]
    public async Task Only_so_many_large_scans_run_at_a_time()
    {
        using var gate = new ScanGate(1, TimeSpan.Zero);
        var first = await gate.EnterAsync(ScanGate.Large, CancellationToken.None);
        Assert.Null(await gate.EnterAsync(ScanGate.Large - 1, CancellationToken.None));
        var refused = await Assert.ThrowsAsync<ProblemException>(() => gate.EnterAsync(ScanGate.Large, CancellationToken.None));
        Assert.Equal((503, true), (refused.Problem.Status, refused.Problem.RetryAfter > 0));
        first!.Dispose();
        first.Dispose();
        // The turn of a question ends with it.
        await _host.Database.RunAsync("insert into analytics.event_counts (tenant_id, resolution, start, name, events) values ('acme', 'hour', '2024-05-01', 'many', 200000)");
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "tester");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        var range = new TimeRange(new(2024, 5, 1, 0, 0, 0, DateTimeKind.Utc), new(2024, 5, 1, 1, 0, 0, DateTimeKind.Utc));
        using (await work.ToScanAsync(range, null, CancellationToken.None, gate))
            await Assert.ThrowsAsync<ProblemException>(() => work.ToScanAsync(range, null, CancellationToken.None, gate));
        (await work.ToScanAsync(range, null, CancellationToken.None, gate)).Dispose();
    }

    [Fact]
    public async Task Without_a_range_it_is_all_there_is()
    {
        using var client = _host.Client();
        var all = await _host.Database.ScalarAsync<long>("select count(*) from analytics.events where tenant_id = 'acme'");
        Assert.Equal(all, (await client.AskAsync("/analytics/events")).GetProperty("totals").GetProperty("events").GetInt64());
        Assert.Equal(all, (await client.AskAsync("/analytics/events?breakdown=country")).GetProperty("totals").GetProperty("events").GetInt64());
        Assert.Equal(
            await _host.Database.ScalarAsync<long>($"select count(distinct {Person}) from analytics.events where tenant_id = 'acme' and name = 'sign-up'"),
            (await client.AskAsync("/analytics/funnels?steps=sign-up,never")).GetProperty("steps")[0].GetProperty("visitors").GetInt64());
        using var stranger = _host.Client(organisation: "stranger");
        Assert.Equal("""{"interval":"day","from":null,"to":null,"totals":{"events":0},"series":[],"top":[]}""", (await stranger.AskAsync("/analytics/events")).GetRawText());
        Assert.Equal(
            """{"interval":"day","from":null,"to":null,"totals":{"events":0,"visitors":0},"series":[]}""",
            (await stranger.AskAsync("/analytics/events?filter=a%20exists&event=x")).GetRawText());
        foreach (var range in new[] { "", "&from=2024-01-01&to=2024-01-02" })
            Assert.Equal(
                """[{"event":"a","visitors":0,"fromFirst":null,"fromPrevious":null,"secondsFromFirst":null,"secondsFromPrevious":null},{"event":"b, c","visitors":0,"fromFirst":null,"fromPrevious":null,"secondsFromFirst":null,"secondsFromPrevious":null}]""",
                (await stranger.AskAsync($"/analytics/funnels?steps=a,%22b, c%22{range}")).GetProperty("steps").GetRawText());
    }

    [Fact]
    public async Task More_events_than_can_be_read_are_refused()
    {
        using var client = _host.Client();
        await _host.Database.RunAsync("""
            insert into analytics.event_counts (tenant_id, resolution, start, name, events)
            select 'acme', resolution, '2024-01-01', name, events from unnest(array['hour', 'day', 'month']) as resolution, (values ('many', 5000000), ('order-line', 1)) as counts (name, events)
            on conflict (tenant_id, resolution, start, name) do update set events = 1
            """);
        await client.AskAsync("/analytics/events?event=many&filter=a%20exists");
        Assert.Equal("from", await RefusedAsync("/analytics/events?filter=a%20exists"));
        Assert.Equal("from", await RefusedAsync("/analytics/funnels?steps=many,order-line"));
        await client.AskAsync("/analytics/funnels?steps=many,never");
        // The window reaches into it.
        Assert.Equal("from", await RefusedAsync("/analytics/funnels?steps=order-line,many&from=2023-12-20&to=2023-12-31"));
        await client.AskAsync("/analytics/funnels?steps=order-line,many&from=2023-12-20&to=2023-12-31&window=12h");
        await client.AskAsync("/analytics/events");

        async Task<string> RefusedAsync(string path) => (await client.AskAsync(path, 400)).GetProperty("errors").EnumerateObject().Single().Name;
    }

    [Fact]
    public async Task A_question_that_makes_no_sense_names_the_parameter()
    {
        (string Path, string Parameter)[] cases =
        [
            ("events?limit=0", "limit"),
            ("events?filter=", "filter"),
            ("events?filter=a%20%3D", "filter"),
            ("events?breakdown=", "breakdown"),
            ("events?breakdown=@name", "breakdown"),
            ("events?from=2024-01-01T00:30Z", "from"),
            ("events?event=a%00", "event"),
            ("revenue?by=country&breakdown=country", "breakdown"),
            ("revenue?filter=a", "filter"),
            ("funnels", "steps"),
            ("funnels?steps=a", "steps"),
            ("funnels?steps=a,", "steps"),
            ("funnels?steps=a,,b", "steps"),
            ("funnels?steps=a,%22b", "steps"),
            ("funnels?steps=a,%22b%22c%22", "steps"),
            ("funnels?steps=a,%22%22", "steps"),
            ("funnels?steps=a,b,c,d,e,f,g,h,i,j,k", "steps"),
            ("funnels?steps=a,b&window=91d", "window"),
            ("funnels?steps=a,b&window=0d", "window"),
            ("funnels?steps=a,b&window=1s", "window"),
            ("funnels?steps=a,b&window=-1d", "window"),
            ("funnels?steps=a,b&window=9999999d", "window"),
            ("funnels?steps=a,b&interval=year", "interval"),
            ("funnels?steps=a,b[x", "steps"),
            ("funnels?steps=a,b[x]", "steps"),
            ("funnels?steps=a,b[x exists]c", "steps"),
            ("funnels?steps=a,b[]", "steps"),
            ("funnels?steps=a,[x exists]", "steps"),
            ("paths?event=a&interval=year", "interval"),
            ("paths?event=a&breakdown=@x", "breakdown"),
            ("live?breakdown=@x", "breakdown"),
            ("live?filter=a", "filter"),
            ("retention?cohort=x", "cohort"),
            ("funnels?steps=a,b&from=2024-01-02&to=2024-01-01", "to"),
        ];
        using var client = _host.Client();
        foreach (var (path, parameter) in cases)
            Assert.Equal((path, parameter), (path, (await client.AskAsync("/analytics/" + path, 400)).GetProperty("errors").EnumerateObject().Single().Name));
    }

    [Fact]
    public void Names_of_steps_may_have_commas_and_quotes() =>
        Assert.Equal(["a b", "c, \"d\"", "e\"f"], FunnelStepQuery.Parse(" a b ,\"c, \"\"d\"\"\",e\"f").Select(s => s.Event));

    [Fact]
    public void A_step_may_have_a_filter_with_whatever_text() => Assert.Equal(
        [("page", "$path = '/a]b,[''\"'"), ("a[b", "\"x]\"\"'\" exists"), ("c", null), ("c", " y = 1 ")],
        FunnelStepQuery.Parse("page[$path = '/a]b,[''\"'], \"a[b\" [\"x]\"\"'\" exists] ,c,c[ y = 1 ]").Select(s => (s.Event, s.Filter)));

    private static IEnumerable<(string Organisation, string Interval, string Range)> Questions() =>
        from organisation in Organisations
        from question in new[] { ("day", Ranges[0]), ("hour", Ranges[1]), ("month", Ranges[1]), ("week", Ranges[2]) }
        select (organisation, question.Item1, question.Item2);

    private static string Raw(string organisation, string range) =>
        $"select * from analytics.events where tenant_id = '{organisation}' and occurred_at >= '{range.Split('/')[0]}' and occurred_at < '{range.Split('/')[1]}'";

    private static string Start(string interval) => $"""to_char(date_trunc('{interval}', occurred_at, 'UTC') at time zone 'UTC', 'YYYY-MM-DD"T"HH24')""";

    private static string Query(string range, params (string Name, string? Value)[] parameters) =>
        $"?from={range.Split('/')[0]}&to={range.Split('/')[1]}" + string.Concat(parameters.Where(p => p.Value is not null).Select(p => $"&{p.Name}={Uri.EscapeDataString(p.Value!)}"));

    private static DateTime Time(string range, int end) => DateTimeOffset.Parse(range.Split('/')[end], CultureInfo.InvariantCulture).UtcDateTime;

    /// <summary>That a value is this one, or none.</summary>
    private static string Is(string property, JsonElement value) => value.GetString() is { } text ? $"({property}) = '{text}'" : $"({property}) is null";

    private static string Fields(JsonElement of, params string[] fields) => string.Join('|', fields.Select(f => Plain(of.GetProperty(f).GetRawText())));

    private static string Plain(string fields) => string.Join('|', fields.Split('|').Select(f =>
        decimal.TryParse(f, NumberStyles.Number, CultureInfo.InvariantCulture, out var d) ? d.ToString("0.######", CultureInfo.InvariantCulture) : f));

    /// <summary>Steps as the SQL tells them.</summary>
    private static string Told(JsonElement steps)
    {
        var all = steps.EnumerateArray().ToList();
        Assert.All(all.Skip(1).Zip(all), pair =>
        {
            var (visitors, before, first) = (pair.First.GetProperty("visitors").GetInt64(), pair.Second.GetProperty("visitors").GetInt64(), all[0].GetProperty("visitors").GetInt64());
            Assert.Equal(before == 0 ? null : (double)visitors / before, pair.First.GetProperty("fromPrevious").Deserialize<double?>());
            Assert.Equal(first == 0 ? null : (double)visitors / first, pair.First.GetProperty("fromFirst").Deserialize<double?>());
        });
        IEnumerable<string> times = [Seconds(all[1], "secondsFromPrevious"), .. all.Skip(2).SelectMany(s => new[] { Seconds(s, "secondsFromPrevious"), Seconds(s, "secondsFromFirst") })];
        return string.Join('|', all.Select(s => s.GetProperty("visitors").GetRawText()).Concat(times.Where(t => t.Length > 0)));

        static string Seconds(JsonElement step, string field) => step.GetProperty(field) is { ValueKind: JsonValueKind.Object } time
            ? $"{Rounded(time.GetProperty("median"))}|{Rounded(time.GetProperty("mean"))}"
            : "";

        static string Rounded(JsonElement number) => Math.Round(number.GetDecimal(), 4, MidpointRounding.AwayFromZero).ToString("0.0000", CultureInfo.InvariantCulture);
    }

    /// <summary>Two organisations over the turn of a year: several names, known and unknown visitors, some at the very same moment, nobody at all.</summary>
    private async Task AddRandomAsync(Random random, int events)
    {
        var start = new DateTime(2023, 12, 20, 0, 0, 0, DateTimeKind.Utc);
        var all = Enumerable.Range(0, events).Select(i =>
        {
            var time = start.AddMilliseconds(random.Next(random.Next(1, 28 * 24 * 3600)) * 1000L);
            time = random.Next(3) == 0 ? Interval.Floor(new[] { "hour", "day", "week", "month" }[random.Next(4)], time.AddDays(3)) : time;
            var name = new[] { "page-view", "page-view", "sign-up", "order-line" }[random.Next(4)];
            var properties = new JsonObject();
            if (random.Next(4) > 0)
                properties["country"] = random.Next(6) == 0 ? null : new[] { "GB", "DE", "FR", "GB" }[random.Next(4)];
            if (random.Next(3) > 0)
                properties["$device"] = new[] { "mobile", "desktop", "tablet" }[random.Next(3)];
            if (name == "order-line")
            {
                properties["orderId"] = "o" + random.Next(events / 12);
                properties["productId"] = "p" + random.Next(20);
                properties["quantity"] = random.Next(-4, 25);
                properties["unitPrice"] = random.Next(0, 5000) / 100m;
                properties["currency"] = "GBP";
                properties["cancelled"] = random.Next(6) == 0;
            }

            return new RawEvent(
                name, time, random.Next(3) > 0 ? "u" + random.Next(60) : null, random.Next(5) > 0 ? "u" + random.Next(40) : null, properties, Organisations[random.Next(2)]);
        }).ToList();
        await _host.Database.AddRawAsync(all);
    }
}
