using System.Globalization;
using System.Text.Json;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Analytics.Tests;

/// <summary>The answers of the rollups against the same questions put to the raw events in SQL.</summary>
public sealed class RollupTests : IAsyncLifetime
{
    private static readonly string[] Organisations = ["acme", "beta", "gamma"];

    private TestHost _host = null!;

    public async Task InitializeAsync() => _host = await AnalyticsHost.StartAsync(consuming: false);

    public async Task DisposeAsync() => await _host.DisposeAsync();

    [Fact]
    public async Task Rollups_equal_the_raw_events_in_whatever_order_and_batches_they_come()
    {
        await TrackRandomAsync(seed: 1, events: 3000);
        var records = (await _host.LogAsync()).ToArray();
        new Random(2).Shuffle(records);
        foreach (var batch in InBatches(records, new Random(3)))
            await _host.DeliverAsync(batch);
        await AssertAnswersEqualRawEventsAsync();
    }

    [Fact]
    public async Task Records_delivered_twice_change_nothing()
    {
        await TrackRandomAsync(seed: 4, events: 1000);
        var records = (await _host.LogAsync()).ToArray();
        var random = new Random(5);
        // Batches of old and new records, some with a record twice.
        KafkaRecord[] twice = [.. records, .. records];
        random.Shuffle(twice);
        foreach (var batch in InBatches(twice, random))
            await _host.DeliverAsync(batch);
        var once = await TablesAsync();
        random.Shuffle(records);
        foreach (var batch in InBatches(records, random))
            await _host.DeliverAsync(batch);
        Assert.Equal(once, await TablesAsync());
        await AssertAnswersEqualRawEventsAsync();
    }

    [Fact]
    public async Task Consumers_of_the_same_rows_do_not_disturb_each_other()
    {
        // As with a log of several partitions: two batches of one organisation at once.
        await TrackRandomAsync(seed: 6, events: 3000);
        var records = (await _host.LogAsync()).ToArray();
        new Random(7).Shuffle(records);
        await Parallel.ForEachAsync(InBatches(records, new Random(8)), new ParallelOptions { MaxDegreeOfParallelism = 6 },
            async (batch, _) => await _host.DeliverAsync(batch));
        Assert.Empty(await _host.Database.QueryAsync<string>("select error from platform.parked"));
        await AssertAnswersEqualRawEventsAsync();
    }

    [Fact]
    public async Task An_event_of_the_past_moves_a_user_from_returning_to_new()
    {
        using var client = _host.Client();
        await client.TrackAsync(AnalyticsHost.Page("1", "u", "2011-03-10T10:00:00Z"), AnalyticsHost.Page("2", "v", "2011-03-10T11:00:00Z"));
        await DeliverAllAsync();
        Assert.Equal([("2011-03-10", 2, 2, 0)], await UsersAsync(client, "interval=day"));
        await client.TrackAsync(AnalyticsHost.Page("3", "u", "2011-03-08T23:59:59.999999Z"));
        await DeliverAllAsync();
        Assert.Equal([("2011-03-08", 1, 1, 0), ("2011-03-09", 0, 0, 0), ("2011-03-10", 2, 1, 1)], await UsersAsync(client, "interval=day"));
    }

    [Fact]
    public async Task An_order_counts_once_in_the_hour_of_its_first_line_that_is_not_cancelled()
    {
        using var client = _host.Client();
        await client.TrackAsync(
            AnalyticsHost.Line("1", "o", "p", 1, 1, "2011-03-01T00:10:00Z"), AnalyticsHost.Line("2", "o", "q", 1, 1, "2011-03-01T01:10:00Z"),
            AnalyticsHost.Line("3", "o", "q", -1, 1, "2011-02-27T01:10:00Z", cancelled: true));
        await DeliverAllAsync();
        Assert.Equal("2011-03:1", await OrdersAsync("interval=month"));
        Assert.Equal("2011-03-01T00:1", await OrdersAsync("interval=hour&from=2011-03-01"));
        await client.TrackAsync(AnalyticsHost.Line("4", "o", "r", 1, 1, "2011-02-28T23:50:00Z"));
        await DeliverAllAsync();
        Assert.Equal("2011-02:1", await OrdersAsync("interval=month"));
        Assert.Equal("2011-02-28T23:1", await OrdersAsync("interval=hour&from=2011-02-28"));

        async Task<string> OrdersAsync(string query) => string.Join(' ', (await client.AskAsync("/analytics/revenue?" + query)).GetProperty("series").EnumerateArray()
            .Where(p => p.GetProperty("orders").GetInt64() != 0)
            .Select(p => $"{p.GetProperty("start").GetString()![..(query.Contains("hour", StringComparison.Ordinal) ? 13 : 7)]}:{p.GetProperty("orders")}"));
    }

    [Fact]
    public async Task Weeks_start_on_Monday_and_empty_intervals_are_there()
    {
        using var client = _host.Client();
        await client.TrackAsync(
            AnalyticsHost.Line("1", "a", "p", 1, 10, "2010-12-31T23:59:59Z", "u"), AnalyticsHost.Line("2", "b", "p", 1, 1.5m, "2011-01-02T23:59:59Z", "u"),
            AnalyticsHost.Line("3", "c", "p", -2, 0.25m, "2011-01-17T00:00:00Z", "u"));
        await DeliverAllAsync();
        var weeks = (await client.AskAsync("/analytics/revenue?interval=week")).GetProperty("series").EnumerateArray()
            .Select(p => $"{p.GetProperty("start").GetString()![..10]} {p.GetProperty("gross").GetRawText()} {p.GetProperty("refunds").GetRawText()} {p.GetProperty("net").GetRawText()}");
        Assert.Equal(["2010-12-27 11.5 0 11.5", "2011-01-03 0 0 0", "2011-01-10 0 0 0", "2011-01-17 0 0.50 -0.50"], weeks);
        Assert.Equal([("2010-12-27", 1, 1, 0), ("2011-01-03", 0, 0, 0), ("2011-01-10", 0, 0, 0), ("2011-01-17", 1, 0, 1)], await UsersAsync(client, "interval=week"));
        Assert.Equal([("2010-12-01", 1, 1, 0), ("2011-01-01", 1, 0, 1)], await UsersAsync(client, "interval=month"));
    }

    [Fact]
    public async Task The_top_are_ordered_by_gross_then_by_key()
    {
        using var client = _host.Client();
        await client.TrackAsync(new[] { ("b", 2), ("a", 2), ("c", 3), ("B", 2), ("d", 1) }.Select((p, i) =>
            AnalyticsHost.Line($"{i}", "o", p.Item1, p.Item2, 1, "2011-01-01T00:00:00Z", country: p.Item2 == 2 ? null : "DE")));
        await DeliverAllAsync();
        Assert.Equal("c B a b", await KeysAsync("by=product&limit=4"));
        Assert.Equal(" DE", await KeysAsync("by=country"));
        Assert.False((await client.AskAsync("/analytics/revenue")).TryGetProperty("breakdown", out _));

        async Task<string> KeysAsync(string query) => string.Join(' ', (await client.AskAsync("/analytics/revenue?" + query)).GetProperty("breakdown").EnumerateArray()
            .Select(b => b.GetProperty("key").GetString()));
    }

    [Fact]
    public async Task Money_of_two_currencies_is_never_added_up()
    {
        using var client = _host.Client();
        await client.TrackAsync(AnalyticsHost.Line("1", "o", "p", 1, 10, "2011-01-01T00:00:00Z"), AnalyticsHost.Line("2", "o", "p", 1, 7, "2011-01-02T00:00:00Z", currency: "EUR"));
        await DeliverAllAsync();
        var refused = await client.AskAsync("/analytics/revenue", 400);
        Assert.Contains("EUR, GBP", refused.GetProperty("errors").GetProperty("currency")[0].GetString(), StringComparison.Ordinal);
        var euros = await client.AskAsync("/analytics/revenue?currency=EUR&by=product");
        Assert.Equal("7 EUR 1 1", $"{euros.GetProperty("totals").GetProperty("net")} {euros.GetProperty("currency").GetString()} {euros.GetProperty("series").GetArrayLength()} {euros.GetProperty("breakdown").GetArrayLength()}");
        Assert.Empty((await client.AskAsync("/analytics/revenue?currency=USD")).GetProperty("series").EnumerateArray());
    }

    [Fact]
    public async Task An_organisation_without_events_has_empty_answers()
    {
        await TrackRandomAsync(seed: 9, events: 100);
        await DeliverAllAsync();
        using var stranger = _host.Client(organisation: "stranger");
        Assert.Equal(
            """{"interval":"day","from":null,"to":null,"currency":null,"totals":{"gross":0,"refunds":0,"net":0,"orders":0,"lines":0,"cancelledLines":0,"units":0,"averageOrder":null,"customers":0,"perCustomer":null},"series":[],"breakdown":[]}""",
            (await stranger.AskAsync("/analytics/revenue?by=country")).GetRawText());
        Assert.Equal(
            """{"interval":"day","from":null,"to":null,"totals":{"active":0,"new":0,"returning":0,"anonymous":0,"visitors":0,"newVisitors":0,"returningVisitors":0,"events":0,"sessions":0,"bounces":0,"sessionSeconds":null},"series":[]}""",
            (await stranger.AskAsync("/analytics/users")).GetRawText());
        Assert.Equal(2, (await stranger.AskAsync("/analytics/users?from=2011-01-01&to=2011-01-03")).GetProperty("series").GetArrayLength());
        Assert.Equal(2, (await stranger.AskAsync("/analytics/revenue?from=2011-01-01&to=2011-01-03&by=product")).GetProperty("series").GetArrayLength());
    }

    [Fact]
    public async Task Rows_of_another_organisation_cannot_be_seen_even_without_a_filter()
    {
        await TrackRandomAsync(seed: 10, events: 200);
        await DeliverAllAsync();
        await using var source = Npgsql.NpgsqlDataSource.Create(_host.Database.Settings.App);
        foreach (var table in new[] { "events", "message_ids", "event_counts", "revenue", "orders", "sessions", "visits", "uniques" })
        {
            await using var batch = source.CreateBatch();
            batch.BatchCommands.Add(new("select set_config('agency.tenant', 'beta', true)"));
            batch.BatchCommands.Add(new($"select array_agg(distinct tenant_id) from analytics.{table}"));
            await using var reader = await batch.ExecuteReaderAsync();
            await reader.NextResultAsync();
            await reader.ReadAsync();
            Assert.Equal(["beta"], await reader.GetFieldValueAsync<string[]>(0));
        }
    }

    [Fact]
    public async Task A_question_that_makes_no_sense_names_the_parameter()
    {
        using var client = _host.Client();
        await client.TrackAsync(AnalyticsHost.Line("1", "a", "p", 1, 10, "2011-01-01T00:00:00Z"), AnalyticsHost.Line("2", "a", "p", 1, 10, "2011-01-03T00:00:00Z"));
        await DeliverAllAsync();
        string[] both =
        [
            "interval=year", "interval=hour&from=1990-01-01", "from=2011-01-01T00:30:00Z", "to=2011-01-01T00:30:00%2B00:00", "to=2011-01-02&from=2011-01-02",
            "from=0001-01-01", "from=yesterday", "filter=x",
        ];
        foreach (var query in both)
            foreach (var route in new[] { "revenue", "users" })
                Assert.Equal(query.Split('=')[0], await RefusedAsync($"/analytics/{route}?{query}"));
        foreach (var query in new[] { "by=customer", "limit=0", "limit=ten", "from=2011-01-01T01:00Z&by=product", "to=2011-01-02T01:00Z&by=country", "currency=POUNDS" })
            Assert.Equal(query.Split('=')[0], await RefusedAsync($"/analytics/revenue?{query}"));

        async Task<string> RefusedAsync(string path) => (await client.AskAsync(path, 400)).GetProperty("errors").EnumerateObject().Single().Name;
    }

    private static IEnumerable<KafkaRecord[]> InBatches(KafkaRecord[] records, Random random)
    {
        for (var i = 0; i < records.Length;)
        {
            var size = Math.Min(random.Next(1, 12), records.Length - i);
            yield return records[i..(i + size)];
            i += size;
        }
    }

    private async Task DeliverAllAsync() => await _host.DeliverAsync([.. await _host.LogAsync()]);

    private static async Task<List<(string, long, long, long)>> UsersAsync(HttpClient client, string query) =>
    [
        .. (await client.AskAsync("/analytics/users?" + query)).GetProperty("series").EnumerateArray().Select(p => (
            p.GetProperty("start").GetString()![..10], p.GetProperty("active").GetInt64(), p.GetProperty("new").GetInt64(), p.GetProperty("returning").GetInt64())),
    ];

    /// <summary>Three organisations over the turn of a year, in no order of time: sales, refunds, cancellations, page views, known and unknown visitors.</summary>
    private async Task TrackRandomAsync(int seed, int events)
    {
        var random = new Random(seed);
        var start = new DateTime(2010, 11, 20, 0, 0, 0, DateTimeKind.Utc);
        var before = start;
        var all = Enumerable.Range(0, events).Select(i =>
        {
            // Some soon after the one before, so that there are sessions; some on the boundary of an hour, day, week or month.
            var time = random.Next(3) > 0 && i > 0 ? before.AddMinutes(random.Next(-40, 40)) : start.AddSeconds(random.Next(80 * 24 * 3600));
            before = time;
            time = random.Next(5) == 0 ? Interval.Floor(new[] { "hour", "day", "week", "month" }[random.Next(4)], time.AddDays(35)) : time;
            var text = time.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture);
            var user = random.Next(3) > 0 ? "u" + random.Next(40) : null;
            var anonymous = random.Next(2) > 0 ? "u" + random.Next(20) : null;
            var e = random.Next(4) == 0
                ? AnalyticsHost.Page($"{i}", user, text, anonymous)
                : AnalyticsHost.Line($"{i}", "o" + random.Next(events / 8), "p" + random.Next(25), random.Next(-4, 12), random.Next(0, 5000) / 100m, text, user,
                    new[] { "GB", "DE", "FR", null }[random.Next(4)], random.Next(8) == 0, anonymous: anonymous, campaign: new[] { "spring", "sale", null }[random.Next(3)]);
            return (Organisation: Organisations[random.Next(random.Next(1, 4))], Event: e);
        }).ToList();
        foreach (var organisation in all.GroupBy(e => e.Organisation))
        {
            using var client = _host.Client(organisation: organisation.Key);
            foreach (var batch in organisation.Chunk(20))
                await client.TrackAsync(batch.Select(e => e.Event));
        }
    }

    private Task<List<string>> TablesAsync() => _host.Database.QueryAsync<string>("""
        select 'revenue ' || r::text from analytics.revenue r union all select 'counts ' || c::text from analytics.event_counts c
        union all select 'orders ' || o::text from analytics.orders o union all select 'sessions ' || s::text from analytics.sessions s
        union all select 'visits ' || v::text from analytics.visits v
        union all select 'uniques ' || concat_ws(',', tenant_id, kind, resolution, start, members, sketch) from analytics.uniques order by 1
        """);

    private async Task AssertAnswersEqualRawEventsAsync()
    {
        string[] ranges = ["2010-11-01T00:00Z/2011-03-01T00:00Z", "2010-12-31T00:00Z/2011-01-03T00:00Z", "2010-12-14T05:00Z/2011-01-30T19:00Z", "2010-12-14T05:00Z/2010-12-14T07:00Z"];
        foreach (var organisation in Organisations)
        {
            using var client = _host.Client(organisation: organisation);
            foreach (var interval in new[] { "hour", "day", "week", "month" })
            {
                foreach (var range in ranges)
                {
                    var (from, to) = (range.Split('/')[0], range.Split('/')[1]);
                    var query = $"interval={interval}&from={from}&to={to}";
                    var raw = $"""
                        select *, (properties ->> 'quantity')::numeric * (properties ->> 'unitPrice')::numeric as amount, (properties ->> 'cancelled')::boolean as cancelled,
                          min(occurred_at) over (partition by user_id, case when user_id is null then anonymous_id end) as first_seen,
                          min(occurred_at) filter (where name = 'order-line' and not (properties ->> 'cancelled')::boolean) over (partition by properties ->> 'orderId') as ordered_at
                        from analytics.events where tenant_id = '{organisation}'
                        """;
                    var within = $"occurred_at >= '{from}' and occurred_at < '{to}'";
                    var lines = $"""
                        coalesce(sum(amount) filter (where amount > 0), 0), coalesce(-sum(amount) filter (where amount < 0), 0), coalesce(sum(amount), 0),
                        count(*), count(*) filter (where cancelled), sum((properties ->> 'quantity')::int)
                        """;

                    var revenue = await client.AskAsync($"/analytics/revenue?{query}");
                    var expected = await _host.Database.QueryAsync<string>($"""
                        select concat_ws('|', to_char(date_trunc('{interval}', occurred_at, 'UTC') at time zone 'UTC', 'YYYY-MM-DD HH24'), {lines},
                          count(distinct properties ->> 'orderId') filter (where date_trunc('hour', ordered_at) = date_trunc('hour', occurred_at)),
                          count(distinct coalesce('u' || user_id, 'a' || anonymous_id)))
                        from ({raw}) as e where name = 'order-line' and {within} group by date_trunc('{interval}', occurred_at, 'UTC') order by 1
                        """);
                    Assert.Equal(expected.Select(Plain), Points(revenue, "gross", "refunds", "net", "lines", "cancelledLines", "units", "orders", "customers"));
                    Assert.Equal(
                        await _host.Database.ScalarAsync<long>($"select count(distinct properties ->> 'orderId') from ({raw}) as e where ordered_at >= '{from}' and ordered_at < '{to}'"),
                        revenue.GetProperty("totals").GetProperty("orders").GetInt64());

                    Assert.Equal(
                        await _host.Database.ScalarAsync<string>($"""
                            select concat_ws('|', count(distinct coalesce('u' || user_id, 'a' || anonymous_id)), round(sum(amount) / nullif(count(distinct coalesce('u' || user_id, 'a' || anonymous_id)), 0), 4))
                            from ({raw}) as e where name = 'order-line' and {within}
                            """) is var made ? Plain(made) : "",
                        string.Join('|', new[] { "customers", "perCustomer" }.Select(f => revenue.GetProperty("totals").GetProperty(f)).Where(v => v.ValueKind != JsonValueKind.Null).Select(Number)));

                    var users = await client.AskAsync($"/analytics/users?{query}");
                    string Counts(string start) => $"""
                        count(distinct user_id), count(distinct user_id) filter (where first_seen >= {start} and first_seen >= '{from}'),
                        count(distinct anonymous_id) filter (where user_id is null), count(*), count(distinct coalesce('u' || user_id, 'a' || anonymous_id)),
                        count(distinct coalesce('u' || user_id, 'a' || anonymous_id)) filter (where first_seen >= {start} and first_seen >= '{from}')
                        """;
                    expected = await _host.Database.QueryAsync<string>($"""
                        select concat_ws('|', to_char(date_trunc('{interval}', occurred_at, 'UTC') at time zone 'UTC', 'YYYY-MM-DD HH24'),
                          {Counts($"date_trunc('{interval}', occurred_at, 'UTC')")})
                        from ({raw}) as e where {within} group by date_trunc('{interval}', occurred_at, 'UTC') order by 1
                        """);
                    Assert.Equal(expected, Points(users, "active", "new", "anonymous", "events", "visitors", "newVisitors"));
                    Assert.Equal(
                        await _host.Database.ScalarAsync<string>($"select concat_ws('|', {Counts($"'{from}'")}) from ({raw}) as e where {within}"),
                        string.Join('|', new[] { "active", "new", "anonymous", "events", "visitors", "newVisitors" }.Select(f => users.GetProperty("totals").GetProperty(f).GetRawText())));
                    Assert.All(users.GetProperty("series").EnumerateArray().Append(users.GetProperty("totals")),
                        p => Assert.Equal(
                            (p.GetProperty("active").GetInt64(), p.GetProperty("visitors").GetInt64()),
                            (p.GetProperty("new").GetInt64() + p.GetProperty("returning").GetInt64(), p.GetProperty("newVisitors").GetInt64() + p.GetProperty("returningVisitors").GetInt64())));

                    expected = await _host.Database.QueryAsync<string>($"""
                        with marked as (
                          select who, occurred_at, occurred_at - lag(occurred_at) over (partition by who order by occurred_at) < interval '30 minutes' as goes_on
                          from (select coalesce('u' || user_id, 'a' || anonymous_id) as who, occurred_at from analytics.events where tenant_id = '{organisation}') as e
                          where who is not null
                        ), numbered as (
                          select who, occurred_at, count(*) filter (where goes_on is not true) over (partition by who order by occurred_at rows unbounded preceding) as n from marked
                        ), sessions as (
                          select min(occurred_at) as start, max(occurred_at) - min(occurred_at) as length, count(*) as events from numbered group by who, n
                        )
                        select concat_ws('|', to_char(date_trunc('{interval}', start, 'UTC') at time zone 'UTC', 'YYYY-MM-DD HH24'),
                          count(*), count(*) filter (where events = 1), round(extract(epoch from avg(length))::numeric, 3))
                        from sessions where start >= '{from}' and start < '{to}' group by date_trunc('{interval}', start, 'UTC') order by 1
                        """);
                    Assert.Equal(expected.Select(Plain), Points(users, "sessions", "bounces", "sessionSeconds"));

                    if (from.Contains("T00", StringComparison.Ordinal))
                        foreach (var by in new[] { "country", "product", "campaign" })
                        {
                            string[] fields = ["gross", "refunds", "net", "lines", "cancelledLines", "units"];
                            var shares = (await client.AskAsync($"/analytics/revenue?{query}&by={by}&limit=20")).GetProperty("breakdown").EnumerateArray().ToList();
                            var top = shares.Select(b => string.Join('|', fields.Select(f => Number(b.GetProperty(f))).Prepend(b.GetProperty("key").GetString() ?? "")));
                            var key = by switch
                            {
                                "country" => "coalesce(properties ->> 'country', '')",
                                "product" => "(properties ->> 'productId')",
                                _ => "coalesce(properties ->> '$utm_campaign', '')",
                            };
                            expected = await _host.Database.QueryAsync<string>($"""
                                select concat_ws('|', {key}, {lines}) from ({raw}) as e where name = 'order-line' and {within}
                                group by {key} order by coalesce(sum(amount) filter (where amount > 0), 0) desc, {key} collate "C" limit 20
                                """);
                            Assert.Equal(expected.Select(Plain), top);
                            Assert.All(shares, share => Assert.Equal(JsonValueKind.Null, share.GetProperty("series").ValueKind));
                        }
                }
            }
        }
    }

    /// <summary>The points in which anything happened.</summary>
    private static List<string> Points(JsonElement answer, params string[] fields) =>
    [
        .. answer.GetProperty("series").EnumerateArray()
            .Select(p => (Start: p.GetProperty("start").GetString()!, Values: fields.Select(f => Number(p.GetProperty(f))).ToList()))
            .Where(p => p.Values.Exists(v => v is not ("0" or "null")))
            .Select(p => p.Start[..13].Replace('T', ' ') + "|" + string.Join('|', p.Values)),
    ];

    /// <summary>A number without the zeros that only its scale has.</summary>
    private static string Number(JsonElement number) => Plain(number.GetRawText());

    private static string Plain(string fields) => string.Join('|', fields.Split('|').Select((f, i) =>
        decimal.TryParse(f, NumberStyles.Number, CultureInfo.InvariantCulture, out var d) ? d.ToString("0.######", CultureInfo.InvariantCulture) : f));
}
