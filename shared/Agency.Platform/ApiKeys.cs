using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Npgsql;

namespace Agency.Platform;

/// <summary>
/// A machine's credential, <c>ak_{prefix}_{secret}</c>: 16 and 64 hexadecimal digits. The prefix finds the key and may be shown; the secret
/// has 256 random bits, so that a plain SHA-256 of it is as hard to turn around as a slow hash, which passwords need, and a thousand times quicker.
/// </summary>
public static class ApiKey
{
    /// <summary>The entity tag's version of every key: it is made and revoked, never changed.</summary>
    public const long OnlyVersion = 1;

    private const string Start = "ak_";
    private const string SubjectStart = "api-key:";
    private const int PrefixLength = 16;
    private const int Length = 3 + PrefixLength + 1 + 64;

    public static string New() => $"{Start}{RandomNumberGenerator.GetHexString(PrefixLength, lowercase: true)}_{RandomNumberGenerator.GetHexString(64, lowercase: true)}";

    /// <summary>Whether a credential is meant as an API key; no token looks like one.</summary>
    public static bool IsOne(string credential) => credential.StartsWith(Start, StringComparison.Ordinal);

    /// <summary>Null when it is not of the form of a key.</summary>
    public static string? Prefix(string key) =>
        key.Length == Length && key[Start.Length + PrefixLength] == '_' ? key.Substring(Start.Length, PrefixLength) : null;

    /// <summary>What a caller with this key is called.</summary>
    public static string Subject(Guid id) => SubjectStart + id;

    /// <summary>The key that a caller has come with; null for a user.</summary>
    public static Guid? IdOf(string subject) =>
        subject.StartsWith(SubjectStart, StringComparison.Ordinal) && Guid.TryParseExact(subject.AsSpan(SubjectStart.Length), "D", out var id) ? id : null;

    public static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}

/// <summary>
/// Tells whose an API key is. What the database says of a prefix is remembered for 30 seconds, also that it says nothing. So a
/// revoked key is refused at once by the process that revoked it, and by the others after that time at the latest.
/// </summary>
public sealed class ApiKeys(Database database, TimeProvider clock)
{
    /// <summary>How long another process may still accept a revoked key.</summary>
    private static readonly TimeSpan Remembered = TimeSpan.FromSeconds(30);

    /// <summary>How exactly it is known when a key was last used.</summary>
    private static readonly TimeSpan UseGranularity = TimeSpan.FromMinutes(10);

    /// <summary>Prefixes in each table. Full, it is emptied; those that are nobody's have their own, so that guesses do not push out keys in use.</summary>
    private const int Capacity = 10_000;

    private readonly ConcurrentDictionary<string, Known> _keys = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, DateTimeOffset> _nobodys = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();
    private long _revocations;

    /// <summary>Null when it is no key, or one that has expired or been revoked.</summary>
    public async ValueTask<Identity?> FindAsync(string key, CancellationToken cancel)
    {
        if (ApiKey.Prefix(key) is not { } prefix)
            return null;
        var now = clock.GetUtcNow();
        if (!_keys.TryGetValue(prefix, out var known) || now - known.ReadAt > Remembered)
        {
            if (_nobodys.TryGetValue(prefix, out var lookedFor) && now - lookedFor <= Remembered)
                return null;
            known = await ReadAsync(prefix, cancel);
        }

        if (known is null || !CryptographicOperations.FixedTimeEquals(ApiKey.Hash(key), known.Hash) || known.ExpiresAt <= now)
            return null;
        if (known.IsUseWorthNoting(now))
            await NoteUseAsync(known.Id, cancel);
        return known.Identity;
    }

    /// <summary>Forgets a key that has been revoked. A reading that has begun before is not kept.</summary>
    public void Forget(string prefix)
    {
        lock (_gate)
        {
            _revocations++;
            _keys.TryRemove(prefix, out _);
        }
    }

    /// <summary>The organisation is not known before the key is, so this, and only this by its exact prefix, looks across all of them.</summary>
    private async Task<Known?> ReadAsync(string prefix, CancellationToken cancel)
    {
        var before = Interlocked.Read(ref _revocations);
        await using var command = database.System.CreateCommand(
            "select id, tenant_id, secret_hash, scopes, expires_at, last_used_at from platform.api_keys where prefix = $1");
        command.Parameters.Add(new NpgsqlParameter<string>("", prefix));
        await using var row = await command.ExecuteReaderAsync(cancel);
        var now = clock.GetUtcNow();
        if (!await row.ReadAsync(cancel))
        {
            Keep(_nobodys, prefix, now);
            return null;
        }

        var id = row.GetGuid(0);
        var identity = new Identity(row.GetString(1), ApiKey.Subject(id), row.GetFieldValue<string[]>(3).ToHashSet(StringComparer.Ordinal));
        var known = new Known(id, identity, row.GetFieldValue<byte[]>(2), Time(row, 4), now, Time(row, 5));
        lock (_gate)
            if (before == _revocations)
                Keep(_keys, prefix, known);
        return known;
    }

    private async Task NoteUseAsync(Guid id, CancellationToken cancel)
    {
        await using var command = database.System.CreateCommand("update platform.api_keys set last_used_at = now() where id = $1");
        command.Parameters.Add(new NpgsqlParameter<Guid>("", id));
        await command.ExecuteNonQueryAsync(cancel);
    }

    private static void Keep<T>(ConcurrentDictionary<string, T> table, string prefix, T value)
    {
        if (table.Count >= Capacity)
            table.Clear();
        table[prefix] = value;
    }

    private static DateTimeOffset? Time(NpgsqlDataReader row, int column) => row.IsDBNull(column) ? null : row.GetFieldValue<DateTimeOffset>(column);

    private sealed class Known(Guid id, Identity identity, byte[] hash, DateTimeOffset? expiresAt, DateTimeOffset readAt, DateTimeOffset? lastUsedAt)
    {
        private long _usedTicks = lastUsedAt?.UtcTicks ?? 0;

        public Guid Id => id;

        public Identity Identity => identity;

        public byte[] Hash => hash;

        public DateTimeOffset? ExpiresAt => expiresAt;

        public DateTimeOffset ReadAt => readAt;

        /// <summary>True for one of those who ask at the same time.</summary>
        public bool IsUseWorthNoting(DateTimeOffset now)
        {
            var used = Interlocked.Read(ref _usedTicks);
            return now.UtcTicks - used > UseGranularity.Ticks && Interlocked.CompareExchange(ref _usedTicks, now.UtcTicks, used) == used;
        }
    }
}

/// <summary>An API key as it is shown: without its secret.</summary>
/// <param name="Prefix">What the key starts with, after <c>ak_</c>.</param>
/// <param name="CreatedBy">The subject who made it.</param>
/// <param name="ExpiresAt">Null when it does not expire.</param>
/// <param name="LastUsedAt">To about ten minutes; null when it has not been used.</param>
public sealed record ApiKeyDto(
    Guid Id, string Name, string Prefix, IReadOnlyList<string> Scopes, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset? ExpiresAt, DateTimeOffset? LastUsedAt)
{
    /// <summary>Always 1, since a key is made and revoked, never changed. The entity tag.</summary>
    [System.Diagnostics.CodeAnalysis.SuppressMessage("Performance", "CA1822:Mark members as static", Justification = "Part of the JSON.")]
    public long Version => ApiKey.OnlyVersion;

    /// <summary>The columns that <see cref="From"/> reads, in its order.</summary>
    public static Sql Columns => $"id, name, prefix, scopes, created_by, created_at, expires_at, last_used_at";

    public static ApiKeyDto From(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetFieldValue<string[]>(3), row.GetString(4), row.GetFieldValue<DateTimeOffset>(5),
        row.IsDBNull(6) ? null : row.GetFieldValue<DateTimeOffset>(6), row.IsDBNull(7) ? null : row.GetFieldValue<DateTimeOffset>(7));
}
