using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Agency.Performance;

/// <summary>
/// The bare twin: Kestrel and Npgsql and nothing else, no organisations, no tokens. It reads the same row and writes the same JSON.
/// </summary>
internal static class Twin
{
    public static async Task RunAsync(int port, string connectionString)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.AddServerHeader = false).UseUrls($"http://127.0.0.1:{port}");
        var app = builder.Build();
        await using var database = NpgsqlDataSource.Create(
            new NpgsqlConnectionStringBuilder(connectionString) { NoResetOnClose = true, MaxAutoPrepare = 20, AutoPrepareMinUsages = 2 });
        app.MapGet("/users/{id:guid}", async (Guid id, HttpContext http) =>
        {
            await using var command = database.CreateCommand(
                "select id, email, name, country, tags, external_id, referred_by, version, created_at, updated_at from users.users where id = $1");
            command.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = id });
            await using var reader = await command.ExecuteReaderAsync(http.RequestAborted);
            if (!await reader.ReadAsync(http.RequestAborted))
            {
                http.Response.StatusCode = 404;
                return;
            }

            var body = JsonSerializer.SerializeToUtf8Bytes(
                new TwinUser(
                    reader.GetGuid(0), reader.GetString(1), reader.GetString(2), reader.IsDBNull(3) ? null : reader.GetString(3),
                    reader.GetFieldValue<string[]>(4), reader.IsDBNull(5) ? null : reader.GetString(5),
                    reader.IsDBNull(6) ? null : reader.GetGuid(6), reader.GetInt64(7),
                    reader.GetFieldValue<DateTimeOffset>(8), reader.GetFieldValue<DateTimeOffset>(9)),
                TwinJson.Default.TwinUser);
            http.Response.ContentType = "application/json";
            http.Response.ContentLength = body.Length;
            await http.Response.Body.WriteAsync(body);
        });
        await app.RunAsync();
    }
}

internal sealed record TwinUser(
    Guid Id, string Email, string Name, string? Country, string[] Tags, string? ExternalId, Guid? ReferredBy,
    long Version, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(TwinUser))]
internal sealed partial class TwinJson : JsonSerializerContext;
