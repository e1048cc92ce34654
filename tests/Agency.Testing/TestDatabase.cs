using System.Collections.Concurrent;
using System.Globalization;
using System.Reflection;
using Agency.Platform;
using Npgsql;

namespace Agency.Testing;

/// <summary>
/// A database of one test's own on a real server, made from a template that is migrated once for each set of assemblies and run.
/// </summary>
public sealed class TestDatabase : IAsyncDisposable
{
    private static readonly ConcurrentDictionary<string, Lazy<Task<string>>> Templates = new();
    private static readonly SemaphoreSlim Cloning = new(1, 1);
    private static int _count;

    private TestDatabase(PostgresSettings settings) => Settings = settings;

    public PostgresSettings Settings { get; }

    /// <summary>The server of this test run.</summary>
    /// <exception cref="InvalidOperationException">It is not set: the tests run through <c>./agency test</c>.</exception>
    public static string Server { get; } = Rename(
        Environment.GetEnvironmentVariable("AGENCY_TEST_POSTGRES") ?? throw new InvalidOperationException(
            "The tests need a PostgreSQL server. Run ./agency test, or set AGENCY_TEST_POSTGRES to the connection string of a server's owner."),
        // The database that every server has; the one that the string names may not exist yet.
        "postgres");

    /// <param name="withEmbeddedSql">The assemblies whose migrations the test needs; the platform's and the engines' are always there.</param>
    public static async Task<TestDatabase> CreateAsync(params IReadOnlyList<Assembly> withEmbeddedSql)
    {
        var assemblies = withEmbeddedSql.Append(typeof(Embedded.EmbeddedEventLog).Assembly).Distinct().ToList();
        var key = string.Join(',', assemblies.Select(a => a.GetName().Name).Order(StringComparer.Ordinal));
        var template = await Templates.GetOrAdd(key, _ => new(() => MigrateTemplateAsync(assemblies))).Value;
        var name = string.Create(CultureInfo.InvariantCulture, $"t{Environment.ProcessId}_{Interlocked.Increment(ref _count)}_{Guid.NewGuid().ToString("N")[..6]}");
        // PostgreSQL copies a template for one client at a time.
        await Cloning.WaitAsync();
        try
        {
            await ExecuteAsync($"create database {name} template {template}");
        }
        finally
        {
            Cloning.Release();
        }

        // The clone's grants name the roles of its template.
        var settings = PostgresSettings.From(On(template));
        return new(new(On(name), Rename(settings.App, name), Rename(settings.System, name)));
    }

    public async Task<List<T>> QueryAsync<T>(string sql)
    {
        await using var source = NpgsqlDataSource.Create(Settings.Admin);
        await using var command = source.CreateCommand(sql);
        await using var reader = await command.ExecuteReaderAsync();
        var values = new List<T>();
        while (await reader.ReadAsync())
            values.Add(await reader.GetFieldValueAsync<T>(0));
        return values;
    }

    public async Task<T> ScalarAsync<T>(string sql) => (await QueryAsync<T>(sql)).Single();

    public async Task RunAsync(string sql)
    {
        await using var source = NpgsqlDataSource.Create(Settings.Admin);
        await using var command = source.CreateCommand(sql);
        await command.ExecuteNonQueryAsync();
    }

    public async ValueTask DisposeAsync()
    {
        NpgsqlConnection.ClearAllPools();
        await ExecuteAsync($"drop database if exists {new NpgsqlConnectionStringBuilder(Settings.Admin).Database} with (force)");
    }

    private static async Task<string> MigrateTemplateAsync(List<Assembly> assemblies)
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"template_{Environment.ProcessId}_{Guid.NewGuid().ToString("N")[..6]}");
        await Migrator.RunAsync(PostgresSettings.From(On(name)), assemblies, null, CancellationToken.None);
        return name;
    }

    private static async Task ExecuteAsync(string sql)
    {
        await using var source = NpgsqlDataSource.Create(On("postgres"));
        await using var command = source.CreateCommand(sql);
        await command.ExecuteNonQueryAsync();
    }

    private static string On(string database) => Rename(Server, database);

    private static string Rename(string connectionString, string database) =>
        new NpgsqlConnectionStringBuilder(connectionString) { Database = database, MaxPoolSize = 20 }.ConnectionString;
}
