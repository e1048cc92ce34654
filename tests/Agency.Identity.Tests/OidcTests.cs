using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Agency.Platform;
using Agency.PlatformFunctions;
using Agency.Testing;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Identity.Tests;

public sealed class OidcTests : IAsyncLifetime
{
    private readonly TestClock _clock = new();
    private readonly LogLines _log = new();
    private OidcServer _server = null!;
    private AuthOptions _options = null!;
    private OidcKeys _keys = null!;
    private TokenValidator _validator = null!;

    public async Task InitializeAsync()
    {
        _server = await OidcServer.StartAsync();
        Configure(options => options);
    }

    public async Task DisposeAsync()
    {
        _keys.Dispose();
        await _server.DisposeAsync();
        _log.Dispose();
    }

    [Theory]
    [InlineData(SecurityAlgorithms.EcdsaSha256)]
    [InlineData(SecurityAlgorithms.RsaSha256)]
    public async Task A_token_of_the_issuer_is_accepted(string algorithm)
    {
        _server.Rotate(algorithm);
        var identity = await ValidateAsync(_server.Token());
        Assert.Equal(("acme", "user_1"), (identity?.Tenant, identity?.Subject));
        Assert.Equal(["platform:read"], identity!.Scopes);
    }

    public static TheoryData<string> BadTokens => new(
        "garbage", "two parts", "expired", "not yet", "without expiry", "other issuer", "local issuer", "other audience", "no audience", "no organisation",
        "blank organisation", "organisation that is a number", "no subject", "other key of the same id", "unsigned", "unsigned, algorithm in capitals",
        "hmac with the public key", "hmac with the public key as PEM", "stronger algorithm", "algorithm of another kind of key", "changed payload",
        "critical extension", "no key id of several");

    [Theory]
    [MemberData(nameof(BadTokens))]
    public async Task A_token_that_is_not_good_is_refused(string kind)
    {
        _server.Rotate();
        Assert.NotNull(await ValidateAsync(_server.Token()));
        Assert.Null(await ValidateAsync(Bad(kind)));
    }

    public static TheoryData<string> OddClaims => new(
        """{"exp":253402300799}""", """{"exp":253402300800}""", """{"exp":-1}""", """{"exp":-62135596801}""", """{"exp":9223372036854775807}""", """{"exp":1e300}""",
        """{"exp":1.5}""", """{"exp":"4102444800"}""", """{"exp":"soon"}""", """{"exp":null}""", """{"exp":[4102444800]}""", """{"exp":{}}""", """{"exp":true}""",
        """{"nbf":253402300799}""", """{"nbf":9223372036854775807}""", """{"nbf":-9223372036854775808}""", """{"nbf":1e300}""", """{"nbf":"now"}""", """{"nbf":[]}""",
        """{"iat":1e300}""", """{"iat":9223372036854775807}""", """{"iat":"now"}""", """{"iat":{}}""",
        """{"iss":7}""", """{"iss":["a"]}""", """{"iss":null}""", """{"aud":7}""", """{"aud":[null,{}]}""", """{"sub":{"a":1}}""", """{"sub":"\ud800"}""",
        """{"org_id":"\udfff"}""", """{"scope":"\ud800"}""", """{"scope":{}}""", """{"roles":[7,null,"\ud800"]}""", """{"o":"\ud800"}""", """{"o":[]}""");

    [Theory]
    [MemberData(nameof(OddClaims))]
    public async Task Claims_of_any_kind_never_break_the_reading(string odd)
    {
        var claims = new JsonObject
        {
            ["iss"] = _server.Address,
            ["aud"] = "api",
            ["sub"] = "user_1",
            ["org_id"] = "acme",
            ["exp"] = DateTimeOffset.UtcNow.AddHours(1).ToUnixTimeSeconds(),
        };
        // Put together as text, since a text that is no Unicode cannot be written any other way.
        var name = odd.Split('"')[1];
        claims.Remove(name);
        var payload = $"{claims.ToJsonString()[..^1]},{odd[1..]}";
        // Without a signature, which anybody can send, and with one.
        Assert.Null(await ValidateAsync($"{Header("ES256", _server.Key.KeyId)}.{Base64UrlEncoder.Encode(payload)}."));
        var signed = $"{Header("ES256", _server.Key.KeyId)}.{Base64UrlEncoder.Encode(payload)}";
        var signature = ((ECDsaSecurityKey)_server.Key).ECDsa.SignData(Encoding.ASCII.GetBytes(signed), HashAlgorithmName.SHA256);
        await ValidateAsync($"{signed}.{Base64UrlEncoder.Encode(signature)}");
    }

    [Fact]
    public async Task Headers_of_any_kind_never_break_the_reading()
    {
        var payload = _server.Token().Split('.')[1];
        foreach (var header in (string[])["{}", "[]", "null", "7", """{"alg":7}""", """{"alg":null}""", """{"alg":["ES256"]}""", """{"alg":"ES256","kid":7}""", """{"alg":"ES256","kid":["a"]}""", """{"alg":"ES256","typ":7,"crit":7}""", """{"alg":"ES256","x5t":7,"zip":"DEF"}"""])
            Assert.Null(await ValidateAsync($"{Base64UrlEncoder.Encode(header)}.{payload}.AAAA"));
    }

    [Fact]
    public async Task A_token_may_be_good_to_the_end_of_time() =>
        Assert.NotNull(await ValidateAsync(_server.Token(t => t.Expires = new DateTime(9999, 12, 31, 23, 59, 59, DateTimeKind.Utc))));

    [Fact]
    public async Task Thirty_seconds_of_difference_between_clocks_do_not_matter()
    {
        Assert.NotNull(await ValidateAsync(_server.Token(t => t.Expires = _clock.GetUtcNow().UtcDateTime.AddSeconds(-20))));
        Assert.NotNull(await ValidateAsync(_server.Token(t => t.NotBefore = _clock.GetUtcNow().UtcDateTime.AddSeconds(20))));
        Assert.Null(await ValidateAsync(_server.Token(t => t.Expires = _clock.GetUtcNow().UtcDateTime.AddSeconds(-40))));
        Assert.Null(await ValidateAsync(_server.Token(t => t.NotBefore = _clock.GetUtcNow().UtcDateTime.AddSeconds(40))));
    }

    [Fact]
    public async Task A_remembered_token_is_refused_once_it_has_expired()
    {
        var token = _server.Token(t => t.Expires = _clock.GetUtcNow().UtcDateTime.AddMinutes(1));
        Assert.NotNull(await ValidateAsync(token));
        _clock.Advance(TimeSpan.FromSeconds(95));
        Assert.Null(await ValidateAsync(token));
    }

    [Fact]
    public async Task The_first_token_of_a_new_key_is_accepted()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        var old = _server.Token();
        _server.Rotate();
        Assert.NotNull(await ValidateAsync(_server.Token()));
        Assert.NotNull(await ValidateAsync(old));
        Assert.Equal(2, _server.Fetches);
    }

    [Fact]
    public async Task Two_hundred_tokens_of_a_new_key_at_once_cause_one_fetch_and_are_accepted()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        _server.Rotate();
        _server.Delay = TimeSpan.FromMilliseconds(200);
        var tokens = Enumerable.Range(0, 200).Select(_ => _server.Token()).ToList();
        var identities = await Task.WhenAll(tokens.Select(token => Task.Run(() => ValidateAsync(token).AsTask())));
        Assert.All(identities, Assert.NotNull);
        Assert.Equal(2, _server.Fetches);
    }

    [Fact]
    public async Task Two_hundred_tokens_of_unknown_keys_at_once_cause_one_fetch_and_are_refused()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        var tokens = Enumerable.Range(0, 200).Select(_ => Forged()).ToList();
        var identities = await Task.WhenAll(tokens.Select(token => Task.Run(() => ValidateAsync(token).AsTask())));
        Assert.All(identities, Assert.Null);
        Assert.Equal(2, _server.Fetches);
    }

    [Fact]
    public async Task Unknown_keys_are_asked_for_once_in_the_cooldown()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        for (var n = 0; n < 10; n++)
        {
            Assert.Null(await ValidateAsync(Forged()));
            _clock.Advance(TimeSpan.FromSeconds(2));
        }

        Assert.Equal(2, _server.Fetches);
        _clock.Advance(TimeSpan.FromSeconds(11));
        Assert.Null(await ValidateAsync(Forged()));
        Assert.Equal(3, _server.Fetches);
    }

    [Fact]
    public async Task What_can_never_be_good_does_not_cause_a_fetch()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var unknown = new SigningCredentials(new ECDsaSecurityKey(other) { KeyId = "unknown" }, SecurityAlgorithms.EcdsaSha256);
        Assert.Null(await ValidateAsync(_server.Token(t => (t.Issuer, t.SigningCredentials) = ("https://elsewhere.example", unknown))));
        Assert.Null(await ValidateAsync(_server.Token(t => (t.Expires, t.SigningCredentials) = (DateTime.UtcNow.AddMinutes(-9), unknown))));
        Assert.Null(await ValidateAsync(Bad("unsigned")));
        Assert.Equal(1, _server.Fetches);
    }

    [Fact]
    public async Task Known_keys_do_not_wait_for_a_slow_issuer()
    {
        Configure(options => options with { FetchTimeout = TimeSpan.FromSeconds(8) });
        Assert.NotNull(await ValidateAsync(_server.Token()));
        _server.Delay = TimeSpan.FromSeconds(30);
        var waiting = ValidateAsync(Forged()).AsTask();
        for (var n = 0; n < 20; n++)
            Assert.NotNull(await ValidateAsync(_server.Token()));
        // Half of the lifetime later it asks again in the background, behind the same slow fetch.
        _clock.Advance(_options.KeyLifetime * 0.7);
        Assert.NotNull(await ValidateAsync(_server.Token()));
        Assert.False(waiting.IsCompleted);
        Assert.Null(await waiting);
    }

    [Fact]
    public async Task No_request_hangs_on_an_issuer_that_never_answers()
    {
        Configure(options => options with { FetchTimeout = TimeSpan.FromSeconds(3) });
        _server.Delay = TimeSpan.FromMinutes(5);
        await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => Task.Run(() => UnavailableAsync(_server.Token()))))
            .WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(1, _server.Fetches);
        Assert.Contains(_log.Lines, line => line.Contains("did not answer within 3 s", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_client_that_goes_away_does_not_take_the_fetch_with_it()
    {
        _server.Delay = TimeSpan.FromMilliseconds(500);
        using var gone = new CancellationTokenSource(50);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _validator.ValidateAsync(_server.Token(), gone.Token).AsTask());
        Assert.NotNull(await ValidateAsync(_server.Token()));
        Assert.Equal(1, _server.Fetches);
    }

    [Fact]
    public async Task Known_keys_outlive_the_issuer_and_the_log_says_why_others_are_refused()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        await _server.StopAsync();
        _clock.Advance(_options.KeyLifetime * 3);
        Assert.NotNull(await ValidateAsync(_server.Token()));
        Assert.Null(await ValidateAsync(Forged()));
        Assert.Contains(_log.Lines, line => line.StartsWith("Warning", StringComparison.Ordinal)
            && line.Contains($"The signing keys of {_server.Address} could not be fetched", StringComparison.Ordinal)
            && line.Contains("The 1 known keys stay in use", StringComparison.Ordinal));
        _clock.Advance(_options.KeyGrace);
        await UnavailableAsync(_server.Token(t => t.Expires = _clock.GetUtcNow().UtcDateTime.AddHours(1)));
    }

    [Fact]
    public async Task Once_one_has_waited_for_an_issuer_that_hangs_nobody_else_does()
    {
        Configure(options => options with { FetchTimeout = TimeSpan.FromSeconds(2) });
        var token = _server.Token();
        Assert.NotNull(await ValidateAsync(token));
        _server.Delay = TimeSpan.FromMinutes(5);
        _clock.Advance(_options.KeyLifetime);
        Assert.NotNull(await ValidateAsync(token));
        for (var fetches = 3; fetches < 6; fetches++)
        {
            _clock.Advance(_options.KeyRefreshCooldown);
            // The issuer is asked again, but the answer is there at once.
            var answer = _validator.ValidateAsync(token, CancellationToken.None);
            Assert.True(answer.IsCompleted);
            Assert.NotNull(await answer);
            await HttpTesting.EventuallyAsync(() => Task.FromResult(_server.Fetches), now => now == fetches);
            await HttpTesting.EventuallyAsync(() => Task.FromResult(_log.Lines.Count(line => line.Contains("could not be fetched", StringComparison.Ordinal))), failed => failed == fetches - 1);
        }
    }

    [Fact]
    public async Task A_failure_of_long_ago_does_not_keep_a_withdrawn_key()
    {
        var (token, key) = (_server.Token(), _server.Key);
        Assert.NotNull(await ValidateAsync(token));
        await _server.StopAsync();
        _clock.Advance(_options.KeyLifetime);
        Assert.NotNull(await ValidateAsync(token));
        _server.Rotate();
        _server.Withdraw(key);
        await _server.StartAgainAsync();
        // Nobody has come by meanwhile.
        _clock.Advance(_options.KeyLifetime);
        Assert.Null(await ValidateAsync(token));
    }

    [Fact]
    public async Task An_issuer_that_is_down_at_first_is_used_once_it_is_up()
    {
        var token = _server.Token();
        await _server.StopAsync();
        await UnavailableAsync(token);
        // What can never be good is refused without any keys.
        Assert.Null(await ValidateAsync(Bad("garbage")));
        Assert.Null(await ValidateAsync(Bad("other issuer")));
        await _server.StartAgainAsync();
        await UnavailableAsync(token);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.NotNull(await ValidateAsync(token));
    }

    [Fact]
    public async Task Attempts_grow_apart_while_the_issuer_fails()
    {
        _server.Name = "https://elsewhere.example";
        for (var second = 0; second < 120; second++)
        {
            await UnavailableAsync(_server.Token());
            _clock.Advance(TimeSpan.FromSeconds(1));
        }

        // After 0, 1, 3, 7, 15, 31 seconds, and from then on each cooldown of 30.
        Assert.InRange(_server.Fetches, 8, 9);
        Assert.Contains(_log.Lines, line => line.Contains("it says that it is 'https://elsewhere.example'", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_tokens_of_a_withdrawn_key_are_refused_after_the_lifetime_of_keys()
    {
        var withdrawn = _server.Key;
        var (seen, unseen) = (_server.Token(), _server.Token());
        Assert.NotNull(await ValidateAsync(seen));
        _server.Rotate();
        _server.Withdraw(withdrawn);
        _clock.Advance(_options.KeyLifetime * 0.4);
        Assert.NotNull(await ValidateAsync(seen));
        Assert.Equal(1, _server.Fetches);
        // Nobody has come by meanwhile: the keys are too old, so the first one waits for them.
        _clock.Advance(_options.KeyLifetime * 0.6);
        Assert.Null(await ValidateAsync(seen));
        Assert.Null(await ValidateAsync(unseen));
        Assert.NotNull(await ValidateAsync(_server.Token()));
    }

    [Fact]
    public async Task In_use_keys_are_asked_for_again_in_the_background()
    {
        var token = _server.Token();
        Assert.NotNull(await ValidateAsync(token));
        _clock.Advance(_options.KeyLifetime * 0.6);
        Assert.NotNull(await ValidateAsync(token));
        await HttpTesting.EventuallyAsync(() => Task.FromResult(_server.Fetches), fetches => fetches == 2);
    }

    [Fact]
    public async Task An_empty_key_set_does_not_replace_the_known_one()
    {
        Assert.NotNull(await ValidateAsync(_server.Token()));
        var token = _server.Token();
        _server.Withdraw(_server.Key);
        Assert.Null(await ValidateAsync(Forged()));
        Assert.NotNull(await ValidateAsync(token));
    }

    [Fact]
    public async Task Short_rsa_keys_and_shared_secrets_are_not_used()
    {
        _server.Rotate(SecurityAlgorithms.RsaSha256, rsaBits: 1024);
        var secret = RandomNumberGenerator.GetBytes(32);
        _server.MoreKeys = $$"""{"kty":"oct","kid":"shared","k":"{{Base64UrlEncoder.Encode(secret)}}"}""";
        Assert.Null(await ValidateAsync(_server.Token()));
        Assert.Null(await ValidateAsync(_server.Token(t => t.SigningCredentials = new(new SymmetricSecurityKey(secret) { KeyId = "shared" }, SecurityAlgorithms.HmacSha256))));
    }

    [Fact]
    public async Task A_token_without_a_key_id_is_the_only_keys() =>
        Assert.NotNull(await ValidateAsync(_server.Token(t => t.SigningCredentials = new(new ECDsaSecurityKey(((ECDsaSecurityKey)_server.Key).ECDsa), SecurityAlgorithms.EcdsaSha256))));

    [Fact]
    public async Task Clerks_tokens_name_organisation_role_and_permissions_in_the_old_way()
    {
        ConfigureForClerk();
        var identity = await ValidateAsync(_server.Token(
            t => t.Audience = null, ("azp", "https://app.example"), ("org_id", "org_1"), ("org_role", "org:admin"), ("org_permissions", new[] { "org:events:write" }), ("scope", null)));
        Assert.Equal("org_1", identity?.Tenant);
        Assert.Equal(["events:write", "users:read", "users:write"], identity!.Scopes.Order());
    }

    [Fact]
    public async Task Clerks_tokens_name_organisation_role_and_permissions_in_the_new_way()
    {
        ConfigureForClerk();
        var o = new Dictionary<string, object> { ["id"] = "org_2", ["rol"] = "member", ["slg"] = "two", ["per"] = "read,write", ["fpm"] = "3,2" };
        var identity = await ValidateAsync(_server.Token(
            t => t.Audience = null, ("azp", "https://app.example"), ("org_id", null), ("scope", null), ("v", 2), ("fea", "o:analytics,u:profile,o:events"), ("o", o)));
        Assert.Equal("org_2", identity?.Tenant);
        Assert.Equal(["analytics:read", "analytics:write", "events:write", "users:read"], identity!.Scopes.Order());
    }

    [Theory]
    [InlineData("https://evil.example")]
    [InlineData(null)]
    public async Task A_token_for_another_application_is_refused(string? party)
    {
        ConfigureForClerk();
        Assert.NotNull(await ValidateAsync(_server.Token(t => t.Audience = null, ("azp", "https://app.example"))));
        Assert.Null(await ValidateAsync(_server.Token(t => t.Audience = null, ("azp", party))));
    }

    [Fact]
    public async Task Claims_can_have_other_names_also_names_with_dots()
    {
        Configure(options => options with { SubjectClaim = "https://example.com/id", OrganisationClaims = ["app.team.id"], ScopeClaims = ["rights"] });
        var app = new Dictionary<string, object> { ["team"] = new Dictionary<string, object> { ["id"] = "team-7" } };
        var identity = await ValidateAsync(_server.Token(null, ("https://example.com/id", "me"), ("app", app), ("rights", new[] { "users:read" })));
        Assert.Equal(("team-7", "me"), (identity?.Tenant, identity?.Subject));
        Assert.Equal(["users:read"], identity!.Scopes);
    }

    [Fact]
    public async Task Configuration_switches_a_whole_process_to_the_issuer()
    {
        await using var host = await TestHost.StartAsync(
            [typeof(ListDeadLetters).Assembly], settings: [("Auth:Issuer", _server.Address), ("Auth:Audience", "api"), ("Auth:Roles:operator", "platform:read platform:write")]);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(host, _server.Token()));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(host, _server.Token(null, ("scope", null), ("roles", new[] { "operator" }))));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(host, _server.Token(null, ("scope", null), ("roles", new[] { "visitor" }))));
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(host, host.Token("platform:read")));
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(host, Forged()));
    }

    [Fact]
    public async Task A_client_whose_token_cannot_be_checked_is_told_to_come_back()
    {
        var token = _server.Token();
        await _server.StopAsync();
        await using var host = await TestHost.StartAsync([typeof(ListDeadLetters).Assembly], settings: [("Auth:Issuer", _server.Address), ("Auth:Audience", "api")]);
        using var client = host.Client(null);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        var answer = await client.GetAsync(new Uri("/dead-letters", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
        Assert.InRange(answer.Headers.RetryAfter!.Delta!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(30));
        Assert.Equal("urn:agency:problem:issuer-unavailable", (await answer.JsonAsync()).GetProperty("type").GetString());
    }

    [Fact]
    public async Task Roles_of_our_own_tokens_stand_for_scopes_too()
    {
        await using var host = await TestHost.StartAsync([typeof(ListDeadLetters).Assembly], settings: [("Auth:Roles:operator", "platform:read")]);
        var issuer = (LocalIssuer)host.Services.GetService(typeof(LocalIssuer))!;
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(host, issuer.Issue("acme", "me", [], TimeSpan.FromHours(1), "operator")));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(host, issuer.Issue("acme", "me", [], TimeSpan.FromHours(1), "visitor")));
    }

    private async Task UnavailableAsync(string token) =>
        Assert.Equal(503, (await Assert.ThrowsAsync<ProblemException>(() => ValidateAsync(token).AsTask())).Problem.Status);

    private static async Task<HttpStatusCode> StatusAsync(TestHost host, string token)
    {
        using var client = host.Client(null);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return (await client.GetAsync(new Uri("/dead-letters", UriKind.Relative))).StatusCode;
    }

    private void Configure(Func<AuthOptions, AuthOptions> change)
    {
        _keys?.Dispose();
        _options = change(new AuthOptions { Issuer = _server.Address, Audiences = ["api"], FetchTimeout = TimeSpan.FromSeconds(30) });
        _keys = new OidcKeys(_options, _clock, _log.CreateLogger<OidcKeys>());
        _validator = new TokenValidator(_options, null, _keys, _clock, _log.CreateLogger<TokenValidator>());
    }

    private void ConfigureForClerk() => Configure(options => options with
    {
        Audiences = [],
        AuthorizedParties = ["https://app.example"],
        Roles = new Dictionary<string, IReadOnlyList<string>> { ["admin"] = ["users:read", "users:write"], ["member"] = ["users:read"] },
    });

    private ValueTask<Agency.Platform.Identity?> ValidateAsync(string token) => _validator.ValidateAsync(token, CancellationToken.None);

    /// <summary>As good as somebody else can make it.</summary>
    private string Forged()
    {
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return _server.Token(t => t.SigningCredentials = new(new ECDsaSecurityKey(other) { KeyId = Guid.NewGuid().ToString("N") }, SecurityAlgorithms.EcdsaSha256));
    }

    private string Bad(string kind)
    {
        var key = (ECDsaSecurityKey)_server.Key;
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var larger = ECDsa.Create(ECCurve.NamedCurves.nistP384);
        using var rsa = RSA.Create(2048);
        var good = _server.Token().Split('.');
        return kind switch
        {
            "garbage" => "a.b.c",
            "two parts" => $"{good[0]}.{good[1]}",
            "expired" => _server.Token(t => t.Expires = DateTime.UtcNow.AddMinutes(-5)),
            "not yet" => _server.Token(t => t.NotBefore = DateTime.UtcNow.AddMinutes(5)),
            "without expiry" => _server.Token(t => t.Expires = null),
            "other issuer" => _server.Token(t => t.Issuer = "https://elsewhere.example"),
            "local issuer" => _server.Token(t => t.Issuer = LocalIssuer.Name),
            "other audience" => _server.Token(t => t.Audience = "elsewhere"),
            "no audience" => _server.Token(t => t.Audience = null),
            "no organisation" => _server.Token(null, ("org_id", null)),
            "blank organisation" => _server.Token(null, ("org_id", " ")),
            "organisation that is a number" => _server.Token(null, ("org_id", 7)),
            "no subject" => _server.Token(null, ("sub", null)),
            "other key of the same id" => _server.Token(t => t.SigningCredentials = new(new ECDsaSecurityKey(other) { KeyId = key.KeyId }, SecurityAlgorithms.EcdsaSha256)),
            "unsigned" => $"{Header("none", key.KeyId)}.{good[1]}.",
            "unsigned, algorithm in capitals" => $"{Header("NONE", key.KeyId)}.{good[1]}.",
            "hmac with the public key" => Hmac(key.KeyId, good[1], key.ECDsa.ExportSubjectPublicKeyInfo()),
            "hmac with the public key as PEM" => Hmac(key.KeyId, good[1], Encoding.ASCII.GetBytes(key.ECDsa.ExportSubjectPublicKeyInfoPem())),
            "stronger algorithm" => _server.Token(t => t.SigningCredentials = new(new ECDsaSecurityKey(larger) { KeyId = key.KeyId }, SecurityAlgorithms.EcdsaSha384)),
            "algorithm of another kind of key" => _server.Token(t => t.SigningCredentials = new(new RsaSecurityKey(rsa) { KeyId = key.KeyId }, SecurityAlgorithms.RsaSha256)),
            "changed payload" => $"{good[0]}.{Base64UrlEncoder.Encode(Base64UrlEncoder.Decode(good[1]).Replace("acme", "evil", StringComparison.Ordinal))}.{good[2]}",
            "critical extension" => _server.Token(t => t.AdditionalHeaderClaims = new Dictionary<string, object> { ["crit"] = new[] { "exp" } }),
            "no key id of several" => _server.Token(t => t.SigningCredentials = new(new ECDsaSecurityKey(key.ECDsa), SecurityAlgorithms.EcdsaSha256)),
            _ => throw new ArgumentException(kind),
        };
    }

    private static string Header(string algorithm, string kid) => Base64UrlEncoder.Encode($$"""{"alg":"{{algorithm}}","typ":"JWT","kid":"{{kid}}"}""");

    private static string Hmac(string kid, string payload, byte[] secret)
    {
        var signed = $"{Header("HS256", kid)}.{payload}";
        return $"{signed}.{Base64UrlEncoder.Encode(HMACSHA256.HashData(secret, Encoding.ASCII.GetBytes(signed)))}";
    }
}
