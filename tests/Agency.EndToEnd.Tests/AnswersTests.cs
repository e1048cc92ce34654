using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Agency.Analytics;
using Agency.Testing;
using Npgsql;

namespace Agency.EndToEnd.Tests;

/// <summary>
/// Every question about events that came in through the API, against SQL over the raw events. Of the generated ones there are as many as
/// AGENCY_TEST_EVENTS says; with 10,000,000 it takes a quarter of an hour.
/// </summary>
public sealed class AnswersTests(Platform platform) : IClassFixture<Platform>, IAsyncLifetime
{
    // The same in a query and in SQL.
    private const string Filter = "country = 'GB' and quantity > 1";
    private static readonly TimeSpan Patience = TimeSpan.FromHours(1);

    // Exact; see the comparison for the two signs.
    private const string Money = """
        coalesce(sum(amount) filter (where amount > 0), 0), coalesce(-sum(amount) filter (where amount < 0), 0), coalesce(sum(amount), 0), count(*), count(*) filter (where cancelled), coalesce(sum(quantity), 0)
        """;

    private static readonly string[] MoneyFields = ["gross", "refunds", "net", "lines", "cancelledLines", "units"];

    // What identify and alias have told and no purge has made forgotten since.
    private readonly Dictionary<(string Id, bool Anonymous), string> _joined = [];

    private NpgsqlDataSource _raw = null!;

    public async Task InitializeAsync()
    {
        await platform.StayUpAsync();
        _raw = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(platform.Settings.Admin) { CommandTimeout = (int)Patience.TotalSeconds, MaxPoolSize = 2 });
    }

    public async Task DisposeAsync() => await _raw.DisposeAsync();

    [Fact]
    public async Task Answers_equal_the_raw_events_of_a_generated_set()
    {
        var count = long.Parse(Environment.GetEnvironmentVariable("AGENCY_TEST_EVENTS") is { Length: > 0 } set ? set : "20000", CultureInfo.InvariantCulture);
        using (var generating = platform.Start(platform.Token("made-up"), "generate", "events", "--seed", "7", "--count", count.ToString(CultureInfo.InvariantCulture)))
            Assert.True((await generating.EndAsync(Patience)).ExitCode == 0, generating.Error);
        await CheckAsync("made-up", count, ["page-view", "product-view", "add-to-cart", "checkout"]);
    }

    [RealFileFact]
    public async Task Answers_equal_the_raw_events_of_the_real_file()
    {
        var ran = await platform.RunAsync(platform.Token("shop"), "import", OnlineRetailFile.RealFile!);
        Assert.True(ran.ExitCode == 0, ran.Error);
        var lines = OnlineRetailFile.Parse(await File.ReadAllTextAsync(OnlineRetailFile.RealFile!));
        await CheckAsync("shop", lines.Count, ["order-line", "order-line", "order-line"]);
    }

    /// <summary>Events that come late, persons who turn out to be one, purges and exclusions, one after the other and by chance.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Answers_equal_the_raw_events_of_a_history_that_changes(int seed)
    {
        var (random, organisation, kept) = (new Random(seed), $"changing-{seed}", new List<Sent>());
        var start = new DateTime(2024, 2, 20, 0, 0, 0, DateTimeKind.Utc);
        using var client = platform.Client(organisation);
        for (var (round, number) = (0, 0); round < 5; round++)
        {
            var sent = Enumerable.Range(0, 300).Select(_ => new Sent(
                $"m{number}", random.Next(2) > 0 ? "page-view" : "order-line", random.Next(2) > 0 ? $"u{random.Next(20)}" : null, random.Next(3) > 0 ? $"a{random.Next(20)}" : null,
                start.AddSeconds(random.Next(20 * 24 * 3600)).AddMilliseconds(number++ % 1000))).ToList();
            var answer = await (await client.PostAsJsonAsync(new Uri("/events", UriKind.Relative), sent.Select(e => new
            {
                messageId = e.Id,
                @event = e.Name,
                userId = e.User,
                anonymousId = e.Anonymous,
                time = e.Time,
                properties = e.Name == "page-view" ? [] : new Dictionary<string, object?>
                {
                    ["orderId"] = $"o{random.Next(150)}",
                    ["productId"] = $"p{random.Next(5)}",
                    ["quantity"] = random.Next(-1, 5),
                    ["unitPrice"] = random.Next(1, 900) / 100m,
                    ["currency"] = "GBP",
                    ["country"] = random.Next(3) > 0 ? "GB" : "FR",
                    ["cancelled"] = random.Next(6) == 0,
                    ["$utm_campaign"] = random.Next(3) > 0 ? null : $"c{random.Next(3)}",
                },
            }))).JsonAsync();
            if (round > 2)
                sent.RemoveAll(e => PersonOf(e.User, false) == PersonOf("u3", false) || PersonOf(e.Anonymous, true) == PersonOf("u3", false));
            Assert.Equal(sent.Count, answer.GetProperty("accepted").GetInt32());
            kept.AddRange(sent);

            foreach (var _ in Enumerable.Range(0, 4))
                await JoinAsync(client, "identify", "anonymousId", $"a{random.Next(20)}", true, $"u{random.Next(20)}");
            // Always to a higher one, so that nobody becomes his own alias.
            var former = random.Next(19);
            await JoinAsync(client, "alias", "previousId", $"u{former}", false, $"u{random.Next(former + 1, 20)}");
            if (round == 2)
                await client.SendJsonAsync(HttpMethod.Put, "/analytics/config", """{"excludedUsers":["u3"]}""", ("If-Match", "\"0\""));

            var (from, user) = (start.AddSeconds(random.Next(20 * 24 * 3600)), $"u{random.Next(20)}");
            switch (round)
            {
                case 0 or 3:
                    await PurgeAsync(client, kept, $"userId={user}", (user, false), _ => true);
                    break;
                case 1:
                    await PurgeAsync(client, kept, $"from={from:O}&to={from.AddHours(5):O}", null, e => e.Time >= from && e.Time < from.AddHours(5));
                    break;
                case 2:
                    await PurgeAsync(client, kept, $"event=page-view&to={start.AddDays(2):O}", null, e => e.Name == "page-view" && e.Time < start.AddDays(2));
                    break;
                default:
                    var device = $"a{random.Next(20)}";
                    await PurgeAsync(client, kept, $"anonymousId={device}&event=order-line", (device, true), e => e.Name == "order-line");
                    break;
            }
        }

        Assert.Equal(
            kept.Select(e => $"{e.Id}|{e.User}|{e.Anonymous}").Order(StringComparer.Ordinal),
            await RawAsync($"select concat(message_id, '|', user_id, '|', anonymous_id) from analytics.events where tenant_id = '{organisation}' order by message_id || '|' collate \"C\""));
        Assert.NotEmpty(_joined);
        await CheckAsync(organisation, kept.Count, ["page-view", "order-line"]);
    }

    private async Task JoinAsync(HttpClient client, string path, string field, string id, bool anonymous, string user)
    {
        var answer = await client.SendJsonAsync(HttpMethod.Post, $"/{path}", $$"""{"{{field}}":"{{id}}","userId":"{{user}}"}""");
        var isOther = _joined.ContainsKey((id, anonymous));
        Assert.Equal(isOther && PersonOf(id, anonymous) != PersonOf(user, false) ? 409 : 204, (int)answer.StatusCode);
        if (!isOther)
            _joined.Add((id, anonymous), user);
    }

    private async Task PurgeAsync(HttpClient client, List<Sent> kept, string query, (string Id, bool Anonymous)? of, Predicate<Sent> chosen)
    {
        var asked = await client.DeleteAsync(new Uri("/analytics/data?" + query, UriKind.Relative));
        var report = await HttpTesting.EventuallyAsync(
            async () => await (await client.GetAsync(asked.Headers.Location)).JsonAsync(), r => r.GetProperty("status").GetString() == "done", TimeSpan.FromMinutes(1));
        var person = of is var (id, anonymous) ? PersonOf(id, anonymous) : null;
        Assert.Equal(
            kept.RemoveAll(e => chosen(e) && (person is null || (e.User is null ? PersonOf(e.Anonymous, true) : PersonOf(e.User, false)) == person)),
            report.GetProperty("events").GetInt32());
        if (person is null)
            return;
        for (var i = 0; i < kept.Count; i++)
            if (chosen(kept[i]) && kept[i] is { User: not null, Anonymous: { } device } && PersonOf(device, true) == person)
                kept[i] = kept[i] with { Anonymous = null };
        if (!query.Contains('&', StringComparison.Ordinal))
            foreach (var key in _joined.Keys.Where(k => PersonOf(k.Id, k.Anonymous) == person).ToList())
                _joined.Remove(key);
    }

    /// <summary>Who it is, as far as has been told.</summary>
    private string? PersonOf(string? id, bool anonymous) =>
        id is null ? null : _joined.TryGetValue((id, anonymous), out var user) ? PersonOf(user, false) : anonymous ? $"{id}, anonymous" : id;

    private async Task CheckAsync(string organisation, long count, string[] steps)
    {
        await platform.CaughtUpAsync();
        await CopyAsync(organisation);
        Assert.Equal([count.ToString(CultureInfo.InvariantCulture)], await RawAsync("select count(*)::text from checked.events"));
        using var client = platform.Client(organisation);
        client.Timeout = Patience;
        var days = (await RawAsync("select to_char(min(at), 'YYYY-MM-DD') || '|' || to_char(max(at) + interval '1 day', 'YYYY-MM-DD') from checked.events")).Single().Split('|')
            .Select(day => DateOnly.Parse(day, CultureInfo.InvariantCulture)).ToArray();
        var middle = days[0].AddDays((days[1].DayNumber - days[0].DayNumber) / 2);
        var part = new Asked(client, "day", middle.AddDays(-15), middle.AddDays(15));
        foreach (var asked in new[] { part, new(client, "month", days[0], days[1]), new(client, "week", days[0].AddDays(3), middle), new(client, "hour", middle.AddDays(-2), middle.AddDays(2)) })
        {
            await CheckUsersAsync(asked);
            await CheckRevenueAsync(asked);
            await CheckEventsAsync(asked);
        }

        // These read the events, and refuse more than five million of them.
        await CheckFilteredAsync(part);
        await CheckFunnelAsync(part, steps);
        await CheckRetentionAsync(part);
        await CheckPathsAsync(part, steps[0]);
        await CheckExportAsync(part);
    }

    private async Task CheckUsersAsync(Asked asked)
    {
        var answer = await asked.AskAsync("users");
        // As a difference of an estimate and a count, those who return are told exactly only where nothing is estimated.
        var isExact = (await RawAsync("select count(distinct user_id)::text from checked.events")).Single() is var users && long.Parse(users, CultureInfo.InvariantCulture) <= Sketch.MaxExact;
        string Counts(string start) => $"""
            '~' || count(distinct user_id), count(distinct user_id) filter (where {New(start)}), '~' || count(distinct anonymous_id) filter (where user_id is null), count(*),
            '~' || count(distinct who), count(distinct who) filter (where {New(start)})
            {(isExact ? $", count(distinct user_id) filter (where not ({New(start)}))" : "")}
            """;
        string New(string start) => $"first_seen >= {start} and first_seen >= '{asked.From:O}'";
        string[] fields = ["active", "new", "anonymous", "events", "visitors", "newVisitors", .. isExact ? ["returning"] : Array.Empty<string>()];
        await AssertAsync(
            $"select concat_ws('|', {asked.Start()}, {Counts($"date_trunc('{asked.Interval}', at)")}) from checked.events where {asked.Within()} group by date_trunc('{asked.Interval}', at) order by 1",
            Points(answer, "events", fields));
        await AssertAsync($"select concat_ws('|', {Counts($"'{asked.From:O}'")}) from checked.events where {asked.Within()}", [Fields(answer.GetProperty("totals"), fields)]);

        fields = ["sessions", "bounces", "sessionSeconds"];
        // As it is told: half a thousandth goes to the even one.
        const string sessions = "count(*), count(*) filter (where events = 1), round(extract(epoch from sum(length))::float8 / count(*) * 1000) / 1000";
        await AssertAsync(
            $"select concat_ws('|', {asked.Start()}, {sessions}) from checked.sessions where {asked.Within()} group by date_trunc('{asked.Interval}', at) order by 1",
            Points(answer, "sessions", fields));
        await AssertAsync($"select concat_ws('|', {sessions}) from checked.sessions where {asked.Within()}", [Fields(answer.GetProperty("totals"), fields)]);
    }

    private async Task CheckRevenueAsync(Asked asked)
    {
        var answer = await asked.AskAsync("revenue");
        // An order is of the hour of its first line that is not cancelled.
        const string orders = "count(distinct order_id) filter (where date_trunc('hour', ordered) = date_trunc('hour', at))";
        string[] fields = [.. MoneyFields, "orders"];
        await AssertAsync(
            $"select concat_ws('|', {asked.Start()}, {Money}, {orders}) from checked.events where name = 'order-line' and {asked.Within()} group by date_trunc('{asked.Interval}', at) order by 1",
            Points(answer, "lines", fields));
        await AssertAsync(
            $"select concat_ws('|', {Money}, {orders}, '~' || count(distinct who), round(sum(amount) filter (where amount > 0) / {orders}, 4)) from checked.events where name = 'order-line' and {asked.Within()}",
            [Fields(answer.GetProperty("totals"), [.. fields, "customers", "averageOrder"])]);
        foreach (var by in new[] { "country", "product", "campaign" })
            await AssertAsync(
                $"""
                select concat_ws('|', coalesce({by}, '(none)'), {Money}) from checked.events where name = 'order-line' and {asked.Within()}
                group by {by} order by coalesce(sum(amount) filter (where amount > 0), 0) desc, coalesce({by}, '') collate "C" limit 25
                """,
                Shares(await asked.AskAsync("revenue", ("by", by), ("limit", "25")), "breakdown", "key", MoneyFields));
    }

    private async Task CheckEventsAsync(Asked asked)
    {
        var answer = await asked.AskAsync("events");
        await AssertAsync(
            $"select concat_ws('|', {asked.Start()}, count(*)) from checked.events where {asked.Within()} group by date_trunc('{asked.Interval}', at) order by 1",
            Points(answer, "events", "events"));
        await AssertAsync($"select count(*)::text from checked.events where {asked.Within()}", [Fields(answer.GetProperty("totals"), "events")]);
        await AssertAsync(
            $"select concat_ws('|', name, count(*)) from checked.events where {asked.Within()} group by name order by count(*) desc, name collate \"C\"",
            Shares(answer, "top", "value", "events"));
        await AssertAsync(
            $"select concat_ws('|', {asked.Start()}, count(*)) from checked.events where name = 'order-line' and {asked.Within()} group by date_trunc('{asked.Interval}', at) order by 1",
            Points(await asked.AskAsync("events", ("event", "order-line")), "events", "events"));
    }

    private async Task CheckFilteredAsync(Asked asked)
    {
        const string chosen = $"name = 'order-line' and {Filter}";
        var users = await asked.AskAsync("users", ("filter", Filter), ("breakdown", "productId"));
        const string counts = "count(distinct user_id), count(distinct anonymous_id) filter (where user_id is null), count(*)";
        string[] fields = ["active", "anonymous", "events"];
        await AssertAsync(
            $"select concat_ws('|', {asked.Start()}, {counts}) from checked.events where {chosen} and {asked.Within()} group by date_trunc('{asked.Interval}', at) order by 1",
            Points(users, "events", fields));
        await AssertAsync(
            $"select concat_ws('|', product, {counts}) from checked.events where {chosen} and {asked.Within()} group by product order by count(distinct user_id) desc, count(*) desc, product collate \"C\" limit 10",
            Shares(users, "breakdown", "value", fields));

        await AssertAsync(
            $"select concat_ws('|', {Money}) from checked.events where {chosen} and {asked.Within()}",
            [Fields((await asked.AskAsync("revenue", ("filter", Filter))).GetProperty("totals"), MoneyFields)]);

        var events = await asked.AskAsync("events", ("filter", Filter), ("breakdown", "productId"), ("limit", "40"));
        await AssertAsync($"select concat_ws('|', count(*), count(distinct who)) from checked.events where {chosen} and {asked.Within()}", [Fields(events.GetProperty("totals"), "events", "visitors")]);
        await AssertAsync(
            $"select concat_ws('|', product, count(*), count(distinct who)) from checked.events where {chosen} and {asked.Within()} group by product order by count(*) desc, product collate \"C\" limit 40",
            Shares(events, "top", "value", "events", "visitors"));
    }

    private async Task CheckFunnelAsync(Asked asked, string[] steps)
    {
        // Every attempt; each step as early as it can be, by an event that is not used yet.
        var later = Enumerable.Range(1, steps.Length - 1).ToList();
        string Join(int n) => $"""
            left join lateral (
              select at as at{n}, id as id{n} from checked.events e
              where e.who = s0.who and e.name = '{steps[n]}' and e.id not in ({string.Join(", ", Enumerable.Range(0, n).Select(i => $"id{i}"))}) and e.at between at{n - 1} and at0 + interval '3 days'
              order by e.at limit 1) as s{n} on true
            """;
        string Times(int n) => $"""
            count(at{n}), '≈' || percentile_cont(0.5) within group (order by extract(epoch from at{n} - at0)), '≈' || avg(extract(epoch from at{n} - at0)), '≈' || percentile_cont(0.5) within group (order by extract(epoch from at{n} - at{n - 1}))
            """;
        var answer = await asked.AskAsync("funnels", ("interval", null), ("steps", string.Join(',', steps)), ("window", "3d"));
        await AssertAsync(
            $"""
            with attempts as (
              select *, {string.Join(" + ", later.Select(n => $"(at{n} is not null)::int"))} as depth
              from (select who, at as at0, id as id0 from checked.events where who is not null and name = '{steps[0]}' and {asked.Within()}) as s0
              {string.Join('\n', later.Select(Join))}
            ), best as (
              select distinct on (who) * from attempts order by who, depth desc, at0
            )
            select concat_ws('|', count(*), {string.Join(", ", later.Select(Times))}) from best
            """,
            [
                string.Join('|', answer.GetProperty("steps").EnumerateArray().Select((step, n) => n == 0 ? Fields(step, "visitors") : string.Join('|',
                    Fields(step, "visitors"), Fields(step.GetProperty("secondsFromFirst"), "median", "mean"), Fields(step.GetProperty("secondsFromPrevious"), "median")))),
            ]);
    }

    private async Task CheckRetentionAsync(Asked asked)
    {
        const int periods = 4;
        string Back(int n) => $"""
            case when start + interval '{n + 1} weeks' <= '{asked.To:O}' then (select count(*) from back where back.start = cohorts.start and back.week = cohorts.start + interval '{n} weeks')::text else 'null' end
            """;
        var answer = await asked.AskAsync("retention", ("interval", "week"), ("periods", $"{periods}"), ("cohort", "first-in-range"));
        await AssertAsync(
            $"""
            with began as (
              select who, min(at) as first, date_trunc('week', min(at)) as start from checked.events where who is not null and {asked.Within()} group by who
            ), back as (
              select distinct who, start, date_trunc('week', at) as week from began join checked.events e using (who) where e.at > first and e.at < '{asked.To:O}'
            ), cohorts as (
              select start, count(*) as visitors from began group by start
            )
            select concat_ws('|', to_char(start, 'YYYY-MM-DD'), visitors, {string.Join(", ", Enumerable.Range(0, periods).Select(Back))}) from cohorts order by start
            """,
            [
                .. answer.GetProperty("cohorts").EnumerateArray().Where(c => c.GetProperty("visitors").GetInt64() > 0).Select(c =>
                    $"{c.GetProperty("start").GetString()![..10]}|{c.GetProperty("visitors")}|{string.Join('|', c.GetProperty("returned").EnumerateArray().Select(r => r.GetRawText()))}"),
            ]);
    }

    private async Task CheckPathsAsync(Asked asked, string name)
    {
        var answer = await asked.AskAsync("paths", ("interval", null), ("event", name), ("depth", "2"), ("limit", "3"));
        await AssertAsync(
            $"""
            with marked as (
              select *, at - lag(at) over (partition by who order by at) >= interval '30 minutes' as is_new from checked.events where who is not null and {asked.Within()}
            ), sessions as (
              select *, count(*) filter (where is_new) over (partition by who order by at) as session from marked
            ), placed as (
              select who, name, lead(name) over session as one, lead(name, 2) over session as two, lead(name, 3) over session as three,
                row_number() over (partition by who, session, name order by at, id collate "C") as nth
              from sessions window session as (partition by who, session order by at, id collate "C")
            ), walks as (
              select * from placed where name = '{name}' and nth = 1
            ), ones as (
              select one, count(*) as n, count(distinct who) as visitors, count(*) filter (where two is null) as ended from walks where one is not null group by one order by n desc, one collate "C" limit 3
            ), twos as (
              select one, two, count(*) as n, count(distinct who) as visitors, count(*) filter (where three is null) as ended
              from walks join (select one from ones) as kept using (one) where two is not null group by one, two order by n desc, one collate "C", two collate "C" limit 3
            )
            select line from (
              select 0 as place, 0 as n, '' as path, concat_ws('|', count(*), count(distinct who)) as line from walks
              union all select 1, -n, one, concat_ws('|', one, n, visitors, ended) from ones
              union all select 2, -n, one || '>' || two, concat_ws('|', one || '>' || two, n, visitors, ended) from twos
            ) as lines order by place, n, path collate "C"
            """,
            [
                Fields(answer, "sessions", "visitors"),
                .. answer.GetProperty("paths").EnumerateArray().Select(p => $"{string.Join('>', p.GetProperty("steps").EnumerateArray().Select(s => s.GetString()))}|{Fields(p, "sessions", "visitors", "ended")}"),
            ]);
    }

    private async Task CheckExportAsync(Asked asked)
    {
        var ids = new List<string>();
        await using (var lines = await asked.Client.GetStreamAsync(new Uri(asked.Path("export", ("interval", null), ("format", "ndjson")), UriKind.Relative)))
        using (var reader = new StreamReader(lines))
            while (await reader.ReadLineAsync() is { } line)
                ids.Add(JsonDocument.Parse(line).RootElement.GetProperty("messageId").GetString()!);
        Assert.Equal(await RawAsync($"select id from checked.events where {asked.Within()} order by id collate \"C\""), ids.Order(StringComparer.Ordinal));
    }

    /// <summary>
    /// The organisation's raw events with their properties as columns, whom each is of as the ids tell it and what has been told of them, when
    /// each visitor was first there, when each order was made, and all sessions.
    /// </summary>
    private async Task CopyAsync(string organisation)
    {
        await using var command = _raw.CreateCommand($"""
            drop schema if exists checked cascade;
            create schema checked;
            create unlogged table checked.joined (id text, anonymous boolean, user_id text);
            {string.Concat(_joined.Select(j => $"insert into checked.joined values ('{j.Key.Id}', {j.Key.Anonymous}, '{j.Value}');"))}
            create unlogged table checked.persons as
            with recursive walk as (
              select * from checked.joined
              union all
              select walk.id, walk.anonymous, j.user_id from walk join checked.joined j on j.id = walk.user_id and not j.anonymous
            )
            select * from walk where not exists (select from checked.joined j where j.id = walk.user_id and not j.anonymous);
            create unlogged table checked.events as
            with named as (
              select e.*, case when e.user_id is null then device.user_id else coalesce(other.user_id, e.user_id) end as known_user
              from analytics.events e
              left join checked.persons device on device.anonymous and device.id = e.anonymous_id
              left join checked.persons other on not other.anonymous and other.id = e.user_id
              where tenant_id = '{organisation}'
            ), raw as materialized (
              select message_id as id, name, known_user as user_id, anonymous_id, coalesce('u' || known_user, 'a' || anonymous_id) as who, occurred_at at time zone 'UTC' as at,
                properties ->> 'orderId' as order_id, properties ->> 'productId' as product, properties ->> 'country' as country, properties ->> '$utm_campaign' as campaign,
                (properties ->> 'quantity')::int as quantity, (properties ->> 'quantity')::numeric * (properties ->> 'unitPrice')::numeric as amount, (properties ->> 'cancelled')::boolean as cancelled
              from named
            )
            select * from raw
            left join (select who, min(at) as first_seen from raw group by 1) as firsts using (who)
            left join (select order_id, min(at) as ordered from raw where not cancelled group by 1) as orders using (order_id);
            create index on checked.events (who, name, at);
            create unlogged table checked.sessions as
            select min(at) as at, max(at) - min(at) as length, count(*) as events
            from (
              select who, at, count(*) filter (where goes_on is not true) over (partition by who order by at rows unbounded preceding) as n
              from (select who, at, at - lag(at) over (partition by who order by at) < interval '30 minutes' as goes_on from checked.events where who is not null) as marked
            ) as numbered
            group by who, n;
            analyze checked.events;
            """);
        await command.ExecuteNonQueryAsync();
    }

    private async Task<List<string>> RawAsync(string sql)
    {
        await using var command = _raw.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var lines = new List<string>();
        while (await reader.ReadAsync())
            lines.Add(reader.GetString(0));
        return lines;
    }

    /// <summary>
    /// Line by line and field by field: a number with ~ is of different visitors, which where a sketch does not hold them all may be 1 % off;
    /// one with ≈ is no exact number on either side; everything else is the same.
    /// </summary>
    private async Task AssertAsync(string sql, List<string> told)
    {
        var expected = await RawAsync(sql);
        Assert.NotEmpty(expected);
        Assert.Equal(expected.Zip(told, Adopt).Concat(expected.Skip(told.Count)), told);

        static string Adopt(string expected, string told)
        {
            var fields = expected.Split('|').Zip(told.Split('|'), (e, t) => e[..Math.Min(1, e.Length)] switch
            {
                "~" => long.Parse(e[1..], CultureInfo.InvariantCulture) is var n && n > Sketch.MaxExact && Math.Abs(Number(t) - n) <= 0.01m * n ? t : e[1..],
                "≈" => Math.Abs(Number(t) - Number(e[1..])) <= 0.000_001m ? t : e[1..],
                _ => Plain(e),
            });
            return string.Join('|', fields.Concat(expected.Split('|').Skip(told.Split('|').Length)));
        }
    }

    private static List<string> Points(JsonElement answer, string when, params string[] fields) =>
    [
        .. answer.GetProperty("series").EnumerateArray().Where(p => p.GetProperty(when).GetInt64() > 0)
            .Select(p => $"{p.GetProperty("start").GetString()![..(answer.GetProperty("interval").GetString() == "hour" ? 13 : 10)]}|{Fields(p, fields)}"),
    ];

    private static List<string> Shares(JsonElement answer, string list, string key, params string[] fields) =>
        [.. answer.GetProperty(list).EnumerateArray().Select(s => $"{s.GetProperty(key).GetString() ?? "(none)"}|{Fields(s, fields)}")];

    private static string Fields(JsonElement of, params string[] fields) => string.Join('|', fields.Select(f => Plain(of.GetProperty(f).GetRawText())));

    /// <summary>A number without the zeros that only its scale has.</summary>
    private static string Plain(string field) =>
        decimal.TryParse(field, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number.ToString("0.############", CultureInfo.InvariantCulture) : field;

    private static decimal Number(string field) => decimal.Parse(field, NumberStyles.Float, CultureInfo.InvariantCulture);

    /// <summary>A range of days, and the interval in which it is asked for.</summary>
    private sealed record Asked(HttpClient Client, string Interval, DateOnly From, DateOnly To)
    {
        /// <summary>The same in SQL.</summary>
        public string Within() => $"at >= '{From:O}' and at < '{To:O}'";

        public string Start() => $"to_char(date_trunc('{Interval}', at), 'YYYY-MM-DD{(Interval == "hour" ? "\"T\"HH24" : "")}')";

        /// <param name="parameters">Instead of the usual ones of the same name, or in addition; a null takes one away.</param>
        public string Path(string question, params (string Name, string? Value)[] parameters) => $"/analytics/{question}?" + string.Join('&',
            new (string Name, string? Value)[] { ("from", $"{From:O}"), ("to", $"{To:O}"), ("interval", Interval) }.Where(p => parameters.All(q => q.Name != p.Name)).Concat(parameters)
                .Where(p => p.Value is not null).Select(p => $"{p.Name}={Uri.EscapeDataString(p.Value!)}"));

        public Task<JsonElement> AskAsync(string question, params (string Name, string? Value)[] parameters) => Client.GetFromJsonAsync<JsonElement>(Path(question, parameters));
    }

    /// <summary>An event as it was sent.</summary>
    private sealed record Sent(string Id, string Name, string? User, string? Anonymous, DateTime Time);
}
