using Agency.Testing;
using Npgsql;

namespace Agency.Platform.Tests;

public sealed class DatabaseTests
{
    [Fact]
    public async Task Every_session_is_in_utc_whatever_the_database_is_set_to()
    {
        await using var test = await TestDatabase.CreateAsync();
        await test.RunAsync($"alter database {new NpgsqlConnectionStringBuilder(test.Settings.Admin).Database} set timezone to 'Europe/Berlin'");
        await using var database = new Database(test.Settings);
        await using var owner = NpgsqlDataSource.Create(test.Settings.Admin);
        foreach (var source in (NpgsqlDataSource[])[database.App, database.System, owner])
        {
            // Twice, since the second use of a connection is that of the pool.
            for (var use = 0; use < 2; use++)
            {
                await using var command = source.CreateCommand("select current_setting('timezone') || ' ' || '2026-07-01T00:00:00Z'::timestamptz::date");
                Assert.Equal("UTC 2026-07-01", await command.ExecuteScalarAsync());
            }
        }

        await using var session = database.NewSystemSession(keepAliveSeconds: 10);
        await session.OpenAsync();
        await using var asked = new NpgsqlCommand("show timezone", session);
        Assert.Equal("UTC", await asked.ExecuteScalarAsync());
    }
}
