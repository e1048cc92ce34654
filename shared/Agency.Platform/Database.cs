using Npgsql;

namespace Agency.Platform;

/// <summary>The two connection pools of a process: one bound by row-level security, one for plumbing.</summary>
public sealed class Database : IAsyncDisposable
{
    private readonly string _system;

    /// <param name="settings">Where the database is.</param>
    public Database(PostgresSettings settings)
    {
        App = Pool(settings.App);
        System = Pool(settings.System);
        _system = settings.System;
    }

    /// <summary>What handlers use. A query on it sees the rows of the organisation that its transaction has set, else none.</summary>
    public NpgsqlDataSource App { get; }

    /// <summary>What log readers, saga workers and dead letters use: every organisation's rows.</summary>
    public NpgsqlDataSource System { get; }

    /// <summary>
    /// A connection of <see cref="System"/>'s role that is not of its pool and not open yet: for what lives as long as its session does, such as
    /// locks and notifications.
    /// </summary>
    /// <param name="keepAliveSeconds">So often it is seen whether the server is still there.</param>
    public NpgsqlConnection NewSystemSession(int keepAliveSeconds) =>
        new(new NpgsqlConnectionStringBuilder(_system) { Pooling = false, KeepAlive = keepAliveSeconds }.ConnectionString);

    public async ValueTask DisposeAsync()
    {
        await App.DisposeAsync();
        await System.DisposeAsync();
    }

    private static NpgsqlDataSource Pool(string connectionString)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString)
        {
            // The state a transaction sets ends with it, so a connection needs no reset between uses.
            NoResetOnClose = true,
            MaxAutoPrepare = 200,
            AutoPrepareMinUsages = 2,
            ApplicationName = "agency",
        };
        return NpgsqlDataSource.Create(settings);
    }
}
