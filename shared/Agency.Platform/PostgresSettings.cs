using System.Security.Cryptography;
using System.Text;
using Npgsql;

namespace Agency.Platform;

/// <summary>
/// The three ways into one database. <see cref="Admin"/> owns the tables and migrates them. <see cref="App"/> is what handlers
/// use: row-level security binds it. <see cref="System"/> is for plumbing that must see all organisations. All have UTC as the time zone of their
/// sessions, so that no date in SQL depends on what the server is set to.
/// </summary>
public sealed record PostgresSettings(string Admin, string App, string System)
{
    public string Admin { get; } = InUtc(Admin);

    public string App { get; } = InUtc(App);

    public string System { get; } = InUtc(System);

    /// <summary>
    /// Derives the two roles from the owner's connection string. Their passwords are keyed hashes of the owner's, so that every
    /// process that may migrate knows them and none has to be stored.
    /// </summary>
    /// <exception cref="ArgumentException">The text is not a connection string, or names no database.</exception>
    public static PostgresSettings From(string adminConnectionString)
    {
        var admin = new NpgsqlConnectionStringBuilder(adminConnectionString);
        if (string.IsNullOrEmpty(admin.Database))
            throw new ArgumentException("The PostgreSQL connection string names no database.", nameof(adminConnectionString));
        return new(admin.ConnectionString, Role("app").ConnectionString, Role("system").ConnectionString);

        NpgsqlConnectionStringBuilder Role(string suffix)
        {
            var role = new NpgsqlConnectionStringBuilder(adminConnectionString) { Username = $"{admin.Database}_{suffix}" };
            var key = Encoding.UTF8.GetBytes(admin.Password ?? "");
            role.Password = Convert.ToHexStringLower(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes($"agency role {role.Username}")));
            return role;
        }
    }

    /// <summary>Empty stays empty: a process that does not migrate knows no owner.</summary>
    private static string InUtc(string connectionString) =>
        connectionString.Length == 0 ? "" : new NpgsqlConnectionStringBuilder(connectionString) { Timezone = "UTC" }.ConnectionString;
}
