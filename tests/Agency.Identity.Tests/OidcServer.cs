using System.Globalization;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Identity.Tests;

/// <summary>An OpenID Connect issuer on this machine, which can be slow, stop, start again, and change its keys.</summary>
public sealed class OidcServer : IAsyncDisposable
{
    private readonly List<SecurityKey> _published = [];
    private WebApplication? _app;
    private int _fetches;

    private OidcServer()
    {
    }

    public string Address { get; private set; } = "http://127.0.0.1:0";

    /// <summary>What it says that it is; its address unless a test says otherwise.</summary>
    public string? Name { get; set; }

    /// <summary>How often its keys were asked for.</summary>
    public int Fetches => Volatile.Read(ref _fetches);

    /// <summary>Before each answer.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>Keys to publish beside its own, as JSON.</summary>
    public string MoreKeys { get; set; } = "";

    /// <summary>The key it signs with now.</summary>
    public SecurityKey Key { get; private set; } = null!;

    public static async Task<OidcServer> StartAsync(string algorithm = SecurityAlgorithms.EcdsaSha256)
    {
        var server = new OidcServer();
        server.Rotate(algorithm);
        await server.StartAgainAsync();
        return server;
    }

    /// <summary>Signs with a new key from now on. The old ones stay published.</summary>
    public void Rotate(string algorithm = SecurityAlgorithms.EcdsaSha256, int rsaBits = 2048)
    {
        var kid = Guid.NewGuid().ToString("N");
        Key = algorithm.StartsWith("RS", StringComparison.Ordinal)
            ? new RsaSecurityKey(RSA.Create(rsaBits)) { KeyId = kid }
            : new ECDsaSecurityKey(ECDsa.Create(ECCurve.NamedCurves.nistP256)) { KeyId = kid };
        lock (_published)
            _published.Add(Key);
    }

    public void Withdraw(SecurityKey key)
    {
        lock (_published)
            _published.Remove(key);
    }

    public async Task StopAsync()
    {
        await _app!.DisposeAsync();
        _app = null;
    }

    public async Task StartAgainAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(Address);
        _app = builder.Build();
        _app.MapGet("/.well-known/openid-configuration", async (HttpContext http) =>
        {
            Interlocked.Increment(ref _fetches);
            await Task.Delay(Delay, http.RequestAborted);
            return Results.Text($$"""{"issuer":"{{Name ?? Address}}","jwks_uri":"{{Address}}/jwks"}""", "application/json");
        });
        _app.MapGet("/jwks", () => Results.Text($$"""{"keys":[{{string.Join(',', Keys())}}]}""", "application/json"));
        await _app.StartAsync();
        Address = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
    }

    /// <summary>A good token for the audience <c>api</c> and the organisation <c>acme</c>, apart from what the test changes.</summary>
    public string Token(Action<SecurityTokenDescriptor>? change = null, params (string Name, object? Value)[] claims)
    {
        var token = new SecurityTokenDescriptor
        {
            Issuer = Address,
            Audience = "api",
            NotBefore = DateTime.UtcNow.AddMinutes(-1),
            Expires = DateTime.UtcNow.AddHours(8),
            Claims = new Dictionary<string, object> { ["sub"] = "user_1", ["org_id"] = "acme", ["scope"] = "platform:read", ["jti"] = Guid.NewGuid().ToString() },
            SigningCredentials = new(Key, Key is RsaSecurityKey ? SecurityAlgorithms.RsaSha256 : SecurityAlgorithms.EcdsaSha256),
        };
        foreach (var (name, value) in claims)
            _ = value is null ? token.Claims.Remove(name) : token.Claims.TryAdd(name, value) || (token.Claims[name] = value) is not null;
        change?.Invoke(token);
        return new JsonWebTokenHandler { SetDefaultTimesOnTokenCreation = false }.CreateToken(token);
    }

    public async ValueTask DisposeAsync()
    {
        if (_app is not null)
            await _app.DisposeAsync();
    }

    private IEnumerable<string> Keys()
    {
        lock (_published)
            return [.. _published.Select(Json), .. MoreKeys.Length > 0 ? [MoreKeys] : Array.Empty<string>()];
    }

    private static string Json(SecurityKey key)
    {
        var jwk = JsonWebKeyConverter.ConvertFromSecurityKey(key);
        return key is RsaSecurityKey
            ? string.Create(CultureInfo.InvariantCulture, $$"""{"kty":"RSA","use":"sig","kid":"{{key.KeyId}}","n":"{{jwk.N}}","e":"{{jwk.E}}"}""")
            : $$"""{"kty":"EC","crv":"P-256","use":"sig","kid":"{{key.KeyId}}","x":"{{jwk.X}}","y":"{{jwk.Y}}"}""";
    }
}

/// <summary>A clock that goes when told to.</summary>
public sealed class TestClock : TimeProvider
{
    private long _ticks = DateTimeOffset.UtcNow.UtcTicks;

    public override DateTimeOffset GetUtcNow() => new(Interlocked.Read(ref _ticks), TimeSpan.Zero);

    public void Advance(TimeSpan by) => Interlocked.Add(ref _ticks, by.Ticks);
}

/// <summary>Keeps what is logged, at every level.</summary>
public sealed class LogLines : ILoggerProvider, ILoggerFactory
{
    private readonly System.Collections.Concurrent.ConcurrentQueue<string> _lines = new();

    public IReadOnlyCollection<string> Lines => _lines;

    public ILogger CreateLogger(string categoryName) => new Lines_(this);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

    public void Dispose()
    {
        // It holds nothing but memory.
    }

    private sealed class Lines_(LogLines all) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            all._lines.Enqueue($"{logLevel} {formatter(state, exception)} {exception}");
    }
}
