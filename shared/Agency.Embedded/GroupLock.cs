using System.Data;
using Agency.Platform;
using Npgsql;

namespace Agency.Embedded;

/// <summary>
/// Keeps each consumer group to one reader in the whole database. The locks hang on one connection of this process, so that they
/// end with the process, however it ends, and another takes over at once.
/// </summary>
public sealed class GroupLock(Database database) : IAsyncDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);
    private NpgsqlConnection? _connection;
    private CancellationTokenSource _held = new();

    /// <summary>A token that is cancelled when the lock may be lost, or null when another process has the group.</summary>
    public async Task<CancellationToken?> TryTakeAsync(string group, string topic, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel);
        try
        {
            // The session was ended, and with it went the locks of all groups: each takes its own again on a new one.
            if (_connection is { State: not ConnectionState.Open })
                await DropAsync();
            if (_connection is null)
            {
                _connection = database.NewSystemSession(keepAliveSeconds: 10);
                _held = new();
                var held = _held;
                // Raised by the keep-alive as well: a lock whose connection is gone is no lock.
                _connection.StateChange += (_, change) =>
                {
                    if (change.CurrentState != ConnectionState.Open)
                        held.Cancel();
                };
                await _connection.OpenAsync(cancel);
            }

            await using var command = new NpgsqlCommand("select pg_try_advisory_lock(hashtextextended($1, 1))", _connection);
            command.Parameters.Add(new() { Value = $"group {group} {topic}" });
            return (bool)(await command.ExecuteScalarAsync(cancel))! ? _held.Token : null;
        }
        catch (Exception failure) when (failure is NpgsqlException or InvalidOperationException)
        {
            // Also of a session that ends between the look at it and its use.
            await DropAsync();
            throw;
        }
        finally
        {
            _gate.Release();
        }
    }

    public async Task ReleaseAsync(string group, string topic)
    {
        await _gate.WaitAsync();
        try
        {
            if (_connection is not { State: ConnectionState.Open })
                return;
            await using var command = new NpgsqlCommand("select pg_advisory_unlock(hashtextextended($1, 1))", _connection);
            command.Parameters.Add(new() { Value = $"group {group} {topic}" });
            await command.ExecuteNonQueryAsync();
        }
        catch (Exception failure) when (failure is NpgsqlException or InvalidOperationException)
        {
            await DropAsync();
        }
        finally
        {
            _gate.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await DropAsync();
        _held.Dispose();
        _gate.Dispose();
    }

    private async Task DropAsync()
    {
        await _held.CancelAsync();
        if (_connection is { } connection)
        {
            _connection = null;
            await connection.DisposeAsync();
        }
    }
}
