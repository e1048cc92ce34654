using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace Agency.Cli.Tests;

[Collection(Surroundings.Name)]
public sealed class ImporterTests : IAsyncLifetime
{
    private const string Header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
    private readonly TestHome _home = new();
    private readonly Captured _terminal = new();
    private ScriptedApi _api = null!;

    public async Task InitializeAsync() => _api = await ScriptedApi.StartAsync(_home.Port);

    public async Task DisposeAsync()
    {
        await _api.DisposeAsync();
        await _home.DisposeAsync();
    }

    [Fact]
    public async Task Customers_become_users_and_lines_events()
    {
        var file = Write(Line("1", "17850.0", "EIRE"), Line("1", "17850.0", "France"), Line("2", "", "Unspecified"));
        Assert.Equal(0, await ImportAsync(file));
        var user = Assert.Single(_api.Users).Value;
        Assert.Equal("customer-17850@online-retail.example", user.GetProperty("email").GetString());
        Assert.Equal("IE", user.GetProperty("country").GetString());
        Assert.Equal("Customer 17850", user.GetProperty("name").GetString());
        Assert.Equal("online-retail", user.GetProperty("tags")[0].GetString());

        Assert.Equal(3, _api.Events.Count);
        var known = _api.Events.Values.First(e => e.GetProperty("userId").GetString() is not null);
        Assert.Equal(("order-line", "17850"), (known.GetProperty("event").GetString(), known.GetProperty("userId").GetString()));
        Assert.Equal(new DateTimeOffset(2010, 12, 1, 8, 26, 0, TimeSpan.Zero), known.GetProperty("time").GetDateTimeOffset());
        var line = known.GetProperty("properties");
        Assert.Equal((6, 2.55m), (line.GetProperty("quantity").GetInt32(), line.GetProperty("unitPrice").GetDecimal()));
        Assert.Equal(("1", "85123A", "GBP"), (line.GetProperty("orderId").GetString(), line.GetProperty("productId").GetString(), line.GetProperty("currency").GetString()));
        var anonymous = Assert.Single(_api.Events.Values, e => e.GetProperty("userId").GetString() is null);
        Assert.Equal("2", anonymous.GetProperty("anonymousId").GetString());
        Assert.Null(anonymous.GetProperty("properties").GetProperty("country").GetString());
    }

    [Fact]
    public async Task A_second_import_changes_nothing()
    {
        var file = Write([.. Enumerable.Range(0, 1200).Select(i => Line($"{i / 10}", $"{17850 + i % 40}.0", "France"))]);
        Assert.Equal(0, await ImportAsync(file));
        Assert.Equal((40, 1200), (_api.Users.Count, _api.Events.Count));
        var again = new Captured();
        Assert.Equal(0, await Importer.RunAsync(_home.Workspace, file, again.Terminal, TimeSpan.FromSeconds(1), CancellationToken.None));
        Assert.Equal((40, 1200), (_api.Users.Count, _api.Events.Count));
        Assert.Equal("40", Cell(again, "users already there"));
        Assert.Equal("1,200", Cell(again, "lines already there"));
        Assert.Equal("0", Cell(again, "lines accepted"));
    }

    [Fact]
    public async Task Bad_rows_are_told_by_line_and_the_rest_is_sent()
    {
        var file = Write(Line("1", "1", "France"), "2,nothing\n", Line("3", "1", "France").Replace(",6,", ",six,", StringComparison.Ordinal), Line("4", "1", "France"));
        Assert.Equal(3, await ImportAsync(file));
        Assert.Equal(2, _api.Events.Count);
        Assert.Contains("line 3: it has 2 fields, not 8", _terminal.Error, StringComparison.Ordinal);
        Assert.Contains("line 4: Quantity 'six' is not a whole number", _terminal.Error, StringComparison.Ordinal);
        Assert.Equal("2", Cell(_terminal, "lines refused"));
    }

    [Fact]
    public async Task Many_bad_rows_are_not_all_printed()
    {
        Assert.Equal(3, await ImportAsync(Write([.. Enumerable.Repeat("x\n", 150)])));
        Assert.Contains("... and 50 more", _terminal.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_server_refuses_is_told_by_line()
    {
        _api.Script = async (http, body) =>
        {
            if (http.Request.Path == "/users")
                await ScriptedApi.ProblemAsync(http, 400, "validation", "The request is not valid", "See errors.");
            else
                await http.Response.WriteAsJsonAsync(new
                {
                    accepted = 1,
                    duplicates = 0,
                    rejected = 1,
                    items = new[] { new { index = 1, messageId = "m", status = "rejected", error = "too old" } },
                });
            return true;
        };
        Assert.Equal(3, await ImportAsync(Write(Line("1", "", "France"), Line("2", "7", "France"))));
        Assert.Contains("line 3: too old", _terminal.Error, StringComparison.Ordinal);
        Assert.Contains("line 3: user 7: The request is not valid: See errors.", _terminal.Error, StringComparison.Ordinal);
        Assert.Equal("1", Cell(_terminal, "users refused"));
        Assert.Equal("1", Cell(_terminal, "lines refused"));
    }

    [Fact]
    public async Task A_refused_batch_refuses_each_of_its_lines()
    {
        _api.Script = async (http, _) =>
        {
            if (http.Request.Path == "/users")
                return false;
            http.Response.StatusCode = 413;
            await http.Response.WriteAsync("no json");
            return true;
        };
        Assert.Equal(3, await ImportAsync(Write(Line("1", "", "France"), Line("2", "7", "France"))));
        Assert.Contains("line 2: 413", _terminal.Error, StringComparison.Ordinal);
        Assert.Contains("line 3: 413", _terminal.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Outages_are_waited_out()
    {
        var calls = 0;
        _api.Script = async (http, _) =>
        {
            switch (Interlocked.Increment(ref calls))
            {
                case 1:
                    http.Response.StatusCode = 503;
                    return true;
                case 2:
                    http.Response.Headers.RetryAfter = "0";
                    http.Response.StatusCode = 429;
                    return true;
                case 3:
                    http.Abort();
                    return true;
                case 4:
                    await ScriptedApi.ProblemAsync(http, 409, "idempotency-in-flight", "In flight", "Wait.");
                    return true;
                default:
                    return false;
            }
        };
        Assert.Equal(0, await ImportAsync(Write(Line("1", "7", "France"))));
        Assert.Equal((1, 1), (_api.Users.Count, _api.Events.Count));
    }

    [Fact]
    public async Task A_server_that_stays_away_ends_the_import_with_what_was_sent()
    {
        _api.Script = (http, body) =>
        {
            var isOutage = http.Request.Path == "/events" && body[0].GetProperty("properties").GetProperty("orderId").GetString() == "late";
            if (isOutage)
                http.Response.StatusCode = 503;
            return Task.FromResult(isOutage);
        };
        var file = Write([.. Enumerable.Repeat(Line("1", "", "France"), 500), Line("late", "", "France")]);
        var failure = await Assert.ThrowsAsync<CommandException>(() => ImportAsync(file, TimeSpan.FromSeconds(1)));
        Assert.Contains("stopped after 500 lines", failure.Message, StringComparison.Ordinal);
        Assert.Contains("Run it again", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_refused_token_is_told_at_once()
    {
        Environment.SetEnvironmentVariable("AGENCY_TOKEN", "stale");
        _api.Script = async (http, _) =>
        {
            await ScriptedApi.ProblemAsync(http, 401, "unauthorized", "The token is not valid", "It has expired.");
            return true;
        };
        var failure = await Assert.ThrowsAsync<CommandException>(() => ImportAsync(Write(Line("1", "7", "France"))));
        Assert.Contains("It has expired", failure.Message, StringComparison.Ordinal);
        Assert.Equal("Bearer stale", Assert.Single(_api.Tokens));
    }

    [Fact]
    public async Task An_interrupted_import_says_how_far_it_came()
    {
        using var stop = new CancellationTokenSource();
        _api.Script = async (_, _) =>
        {
            await stop.CancelAsync();
            return false;
        };
        var failure = await Assert.ThrowsAsync<CommandException>(() => Importer.RunAsync(
            _home.Workspace, Write(Line("1", "7", "France")), _terminal.Terminal, TimeSpan.FromSeconds(1), stop.Token));
        Assert.Contains("it was interrupted", failure.Message, StringComparison.Ordinal);
    }

    private static string Line(string invoice, string customer, string country) =>
        $"{invoice},85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,{customer},{country}\n";

    private static string Cell(Captured terminal, string name) =>
        terminal.OutputLines.Single(line => line.Contains(name + " ", StringComparison.Ordinal)).Split('│')[2].Trim();

    private FileInfo Write(params string[] lines)
    {
        var file = Path.Combine(_home.Folder, string.Create(CultureInfo.InvariantCulture, $"{Guid.NewGuid():N}.csv"));
        File.WriteAllText(file, Header + string.Concat(lines), Encoding.UTF8);
        return new(file);
    }

    /// <param name="patience">Long unless the test is about giving up: how the waits add up is chance.</param>
    private Task<int> ImportAsync(FileInfo file, TimeSpan? patience = null) =>
        Importer.RunAsync(_home.Workspace, file, _terminal.Terminal, patience ?? TimeSpan.FromMinutes(1), CancellationToken.None);
}
