using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Agency.Platform;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Conformance.Tests;

/// <summary>The cases of one operation, by the promise they are about.</summary>
internal static class Cases
{
    private const int AtOnce = 20;
    private static readonly string[] Methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    private static readonly string[] OddTimes =
    [
        "\"exp\":253402300799", "\"exp\":253402300800", "\"exp\":-1", "\"exp\":1e300", "\"exp\":1.5", "\"exp\":\"4102444800\"", "\"exp\":4102444800,\"nbf\":1e300",
        "\"exp\":4102444800,\"nbf\":253402300799", "\"exp\":4102444800,\"iat\":9223372036854775807",
    ];

    public static IEnumerable<Case> Valid(Operation o, World _)
    {
        yield return Of("valid", world => world.ValidAsync(o, fresh: true));
        if (o.Body is not null)
            yield return Of("valid, with the optional fields", world => world.ValidAsync(o, fresh: true, optional: true));
        if (o.Scope is not null)
            yield return Of("valid, with a token like the bad ones but good", async world => await world.ValidAsync(o, fresh: true) with { Authorization = $"Bearer {Token(world, _ => { })}" });
        if (o.MaxItems > 0)
            yield return Of("valid, several at once", async world => await world.ValidAsync(o, fresh: true) with
            {
                Body = World.Json(new JsonArray(world.ValidBody(o), world.ValidBody(o))),
            });
        Case Of(string name, Func<World, Task<Sent>> make) => new(o, name, make, [.. o.Successes.Where(s => s != 207)]) { ChangesNothing = false };
    }

    public static IEnumerable<Case> Unauthenticated(Operation o, World world)
    {
        if (o.Scope is null)
        {
            if (o.SignedAs is { } prefix)
            {
                foreach (var (name, headers) in BadSignatures(prefix))
                    yield return new(o, name, async w => await w.ValidAsync(o) with { Headers = headers }, 401) { IsSigned = false };
                yield return new(o, "a signature of another body", async w => World.Sign(o, await w.ValidAsync(o)) with { Body = "{}"u8.ToArray() }, 401) { IsSigned = false };
            }

            yield return new(o, "open to all, whatever the token", async w => await w.ValidAsync(o) with { Authorization = "Bearer nonsense" }, [.. o.Statuses.Where(s => s < 500)])
            {
                ChangesNothing = false,
            };
            yield break;
        }

        var good = world.Bearer()["Bearer ".Length..];
        var parts = good.Split('.');
        (string Name, string? Authorization)[] wrong =
        [
            ("no token", null),
            ("empty", ""),
            ("scheme alone", "Bearer"),
            ("scheme and blank", "Bearer "),
            ("nonsense", "Bearer nonsense"),
            ("three dots", "Bearer a.b.c"),
            ("other scheme", $"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes("admin:admin"))}"),
            ("no scheme", good),
            ("signature cut", $"Bearer {parts[0]}.{parts[1]}."),
            ("signature changed", $"Bearer {parts[0]}.{parts[1]}.{(parts[2][0] == 'A' ? 'B' : 'A')}{parts[2][1..]}"),
            ("claims changed", $"Bearer {parts[0]}.{Encode("""{"iss":"urn:agency:local","aud":"agency","sub":"root","org_id":"acme","scope":"users:read","exp":9999999999}""")}.{parts[2]}"),
            ("algorithm none", $"Bearer {Encode("""{"alg":"none","typ":"JWT"}""")}.{parts[1]}."),
            ("symmetric algorithm", $"Bearer {Encode("""{"alg":"HS256","typ":"JWT"}""")}.{parts[1]}.{parts[2]}"),
            .. OddTimes.Select(time => ($"unsigned, {time}", $"Bearer {Encode("""{"alg":"ES256","typ":"JWT"}""")}.{Encode($$"""{"iss":"urn:agency:local","aud":"agency","sub":"root","org_id":"acme",{{time}}}""")}.")),
            ("two tokens", $"Bearer {good} {good}"),
            ("very long", "Bearer " + new string('a', 12_000)),
            ("API key that nobody has", $"Bearer {ApiKey.New()}"),
            ("API key cut", $"Bearer {ApiKey.New()[..^1]}"),
            .. BadTokens(world).Select(token => (token.Name, (string?)$"Bearer {token.Token}")),
        ];
        foreach (var (name, authorization) in wrong)
            yield return new(o, name, async w => await w.ValidAsync(o) with { Authorization = authorization }, 401);
    }

    public static IEnumerable<Case> Unauthorized(Operation o, World world)
    {
        if (o.Scope is null)
            yield break;
        (string Name, string Scopes)[] wrong =
        [
            ("no scope", ""),
            ("all other scopes", string.Join(' ', world.Scopes.Split(' ').Where(s => s != o.Scope))),
            ("scope in upper case", o.Scope.ToUpperInvariant()),
            ("part of the scope", o.Scope[..^1]),
            ("more than the scope", o.Scope + "x"),
            ("wildcard", "* *:*"),
        ];
        foreach (var (name, scopes) in wrong)
            yield return new(o, name, async w => await w.ValidAsync(o) with { Authorization = w.Bearer(scopes) }, 403);
    }

    public static IEnumerable<Case> OtherOrganisation(Operation o, World _)
    {
        if (o.Scope is null)
            yield break;
        if (o.Path.Count == 0)
        {
            if (Isolation.Concerns(o))
                yield return new(o, "what another organisation has is not in the answer", w => Task.FromResult(w.Isolation.Question(o, w.Stranger)), o.Successes)
                {
                    Also = (w, _, answer) => w.Isolation.WrongAsync(o, answer),
                };
            yield break;
        }

        yield return new(o, "another organisation's id", async w => await w.ValidAsync(o) with { Authorization = w.Stranger }, 404);
        if (o.NeedsIfMatch)
            yield return new(o, "another organisation's id, any version", async w => await w.ValidAsync(o) with { Authorization = w.Stranger, Headers = [("If-Match", "*")] }, 404);
        yield return new(o, "an id that nothing has", async w => await w.ValidAsync(o) is var valid
            ? valid with { Path = World.Unknown(o) + (valid.Path.Contains('?', StringComparison.Ordinal) ? valid.Path[valid.Path.IndexOf('?', StringComparison.Ordinal)..] : "") } : valid, 404);
    }

    public static IEnumerable<Case> Routing(Operation o, World world)
    {
        var here = world.Document.Operations.Where(other => other.Template == o.Template).ToList();
        if (here[0] == o)
        {
            var allowed = here.Select(other => other.Method.Method).ToHashSet();
            if (allowed.Contains("GET"))
                allowed.Add("HEAD");
            foreach (var method in Methods.Where(m => !allowed.Contains(m)))
                yield return new(o, $"{method} is not taken here", async w => new(new(method), await w.ThingAsync(o.Template)) { Authorization = w.Bearer() }, 405)
                {
                    IsUnrouted = true,
                    Also = (_, _, answer) => Task.FromResult(Allowed(answer).SetEquals(allowed) ? null : $"Allow says {answer.Header("Allow")}"),
                };
            yield return new(o, "no route has this path", async w => new(HttpMethod.Get, await w.ThingAsync(o.Template) + "/no/such/part") { Authorization = w.Bearer() }, 404) { IsUnrouted = true };
        }

        if (o.Method == HttpMethod.Get)
            yield return new(o, "HEAD is a GET without the body", async w => await w.ValidAsync(o) with { Method = HttpMethod.Head }, o.Successes)
            {
                // A problem has no body then, and so cannot be held to what one must be.
                IsBodiless = true,
                ComparesMoments = true,
                Also = async (w, sent, answer) => await w.SendAsync(sent with { Method = HttpMethod.Get }) is var get && get.Status != answer.Status ? $"GET answers {get.Status}"
                    : answer.Body.Length > 0 ? "there is a body"
                    : get.MediaType != answer.MediaType || get.Header("ETag") != answer.Header("ETag") ? "the headers differ from those of GET" : null,
            };

        foreach (var parameter in o.Path)
        {
            foreach (var (name, text) in Nasty.Injections.Concat(Nasty.Characters).Append(("very long", new string('x', 2000))))
                yield return new(o, $"{parameter.Name} is {name}", async w => (await w.ValidAsync(o)) with { Path = PathWith(w, o, parameter, text) }, 404) { IsUnrouted = true };
        }
    }

    public static IEnumerable<Case> Query(Operation o, World world)
    {
        yield return With("unknown parameter", "nosuchparameter=1", "nosuchparameter");
        yield return With("unknown parameter without a value", "nosuchparameter", "nosuchparameter");
        foreach (var (name, text) in Nasty.Injections.Take(4))
            yield return With($"unknown parameter named {name}", Uri.EscapeDataString(text) + "=1", null);
        foreach (var p in o.Query)
        {
            yield return With($"{p.Name} twice", $"{p.Name}={Good(p)}&{p.Name}={Good(p)}", p.Name);
            yield return With($"{p.Name} with NUL", $"{p.Name}=a%00b", p.Name);
            yield return With($"{p.Name} too long", $"{p.Name}={new string('9', 2000)}", p.Name);
            foreach (var (why, value) in world.Schema.Invalid(p.Schema).Where(v => Matters(p, v.Why)))
                yield return With($"{p.Name} is {why}", $"{p.Name}={Uri.EscapeDataString(value?.ToString() ?? "")}", p.Name);
            if (p.Name == "cursor")
            {
                foreach (var (why, cursor) in new[] { ("not base64", "!!!"), ("base64 of nonsense", "bm9uc2Vuc2U"), ("base64 of no text", "_w"), ("SQL", "JzsgZHJvcCB0YWJsZSB1c2VyczsgLS0"), ("NUL", "AA") })
                    yield return With($"cursor is {why}", $"cursor={cursor}", "cursor");
                continue;
            }

            if (JsonSchema.Types(p.Schema) is ["string"])
                foreach (var (name, text) in Nasty.Injections.Concat(Nasty.Characters))
                    yield return new(o, $"{p.Name} is {name}", w => PathAsync(w, $"{p.Name}={Uri.EscapeDataString(text)}"), [400, .. o.Successes]) { ChangesNothing = o.Method == HttpMethod.Get };
            else
                foreach (var (name, text) in Nasty.Injections)
                    yield return With($"{p.Name} is {name}", $"{p.Name}={Uri.EscapeDataString(text)}", p.Name);
            yield return new(o, $"{p.Name} is not UTF-8", w => PathAsync(w, $"{p.Name}=%ff%fe%ed%a0%80"), [400, .. o.Successes]) { ChangesNothing = o.Method == HttpMethod.Get };
            yield return new(o, $"{p.Name} is fine", w => PathAsync(w, $"{p.Name}={Good(p)}"), o.Successes) { ChangesNothing = o.Method == HttpMethod.Get };
        }

        string Good(Parameter p) => Uri.EscapeDataString(p.Name == "cursor" ? "" : world.Schema.Valid(p.Schema)!.ToString());

        // Text is what every parameter is sent as.
        static bool Matters(Parameter p, string why) => p.Name != "cursor" && why is not ("integer" or "boolean" or "array" or "object" or "null" or "number as text" or "empty" or "string")
            || (why == "string" && JsonSchema.Types(p.Schema) is ["integer"] or ["boolean"]);

        Case With(string name, string query, string? field) => new(o, name, w => PathAsync(w, query), 400)
        {
            Also = (_, _, answer) => Task.FromResult(field is null || answer.Json!["errors"]?[field] is not null ? null : $"the problem does not name {field}: {answer.Text}"),
        };

        async Task<Sent> PathAsync(World w, string query)
        {
            var valid = await w.ValidAsync(o);
            var kept = valid.Path.Split('?') is [_, var required] ? required.Split('&').Where(r => r.Split('=')[0] != query.Split('=')[0]) : [];
            return valid with { Path = $"{valid.Path.Split('?')[0]}?{string.Join('&', kept.Append(query))}" };
        }
    }

    public static IEnumerable<Case> Preconditions(Operation o, World _)
    {
        if (!o.NeedsIfMatch)
            yield break;
        yield return With("no If-Match", null, 428);
        yield return With("empty If-Match", "", 428);
        // What an organisation has one of has version 0 until it is changed for the first time.
        if (o.Path.Count > 0)
            yield return With("stale \"0\"", "\"0\"", 412);
        foreach (var stale in new[] { "\"999999\"", "\"-1\"", "\"abc\"", "\"99999999999999999999\"", "\"\"", "\" 1\"", "\"1' or '1'='1\"", "W/\"1\"", "W/\"999999\", \"-1\"" })
            yield return With($"stale {stale}", stale, 412);
        foreach (var malformed in new[] { "1", "abc", "\"1", "1\"", "\"1\" \"2\"", "\"1\", *", "'1'", "**", "\"1\" x" })
            yield return With($"malformed {malformed}", malformed, 400);

        Case With(string name, string? header, int status) => new(o, name, async w => await w.ValidAsync(o) with { Headers = header is null ? [] : [("If-Match", header)] }, status);
    }

    public static IEnumerable<Case> ConditionalReads(Operation o, World _)
    {
        if (!o.TakesIfNoneMatch || o.Scope is null)
            yield break;
        (string Name, Func<string, string> Header, bool Matches)[] headers =
        [
            ("the tag", tag => tag, true), ("the tag, weak", tag => "W/" + tag, true), ("one of several", tag => $"\"a\", {tag}", true), ("any", _ => "*", true),
            ("another tag", _ => "\"another\"", false), ("nonsense", _ => "nonsense", false),
        ];
        foreach (var (name, header, matches) in headers)
            yield return new(o, $"If-None-Match with {name}", async w =>
            {
                var valid = await w.ValidAsync(o);
                return valid with { Headers = [("If-None-Match", header((await w.SendAsync(valid)).Header("ETag") ?? "\"none\""))] };
            }, matches ? 304 : 200)
            {
                ComparesMoments = matches,
            };
    }

    public static IEnumerable<Case> Bodies(Operation o, World world)
    {
        if (o.Body is null)
        {
            // It is let be, but has a limit; that of a GET or DELETE has no meaning.
            if (o.Method == HttpMethod.Post || o.Method == HttpMethod.Put)
                foreach (var chunked in new[] { false, true })
                    yield return new(o, $"a body that it does not take, and too large{(chunked ? ", without a length" : "")}", async w =>
                        await w.ValidAsync(o) with { Body = new byte[Agency.Platform.RequestBody.DefaultLimit + 1], MediaType = "text/plain", IsChunked = chunked }, 413);
            yield break;
        }

        foreach (var (name, body) in Nasty.NotJson)
            yield return new(o, $"not JSON: {name}", async w => await w.ValidAsync(o) with { Body = body, IsChunked = name == "blank" }, 400);
        if (o.IsBodyRequired)
            yield return new(o, "not JSON: empty", async w => await w.ValidAsync(o) with { Body = [] }, 400);
        foreach (var media in new[] { null, "", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "application", "text/json", "*/*" })
            yield return new(o, $"media type {media ?? "missing"}", async w => await w.ValidAsync(o, fresh: false) is { Body: not null } valid ? valid with { MediaType = media } : throw new InvalidOperationException("There is no body."), 415);
        foreach (var media in new[] { "application/json; charset=utf-8", "Application/JSON" })
            yield return new(o, $"media type {media}", async w => await w.ValidAsync(o, fresh: true) with { MediaType = media }, o.Successes) { ChangesNothing = false };
        foreach (var chunked in new[] { false, true })
        {
            yield return new(o, "one byte too large" + (chunked ? ", without a length" : ""), async w => await w.ValidAsync(o) is var valid ? valid with { Body = Padded(valid.Body!, o.MaxBytes + 1), IsChunked = chunked } : valid, 413);
            yield return new(o, "as large as may be" + (chunked ? ", without a length" : ""), async w => await w.ValidAsync(o, fresh: true) is var valid ? valid with { Body = Padded(valid.Body!, o.MaxBytes), IsChunked = chunked } : valid, o.Successes)
            {
                ChangesNothing = false,
            };
        }

        // Any JSON may be taken where nothing is said of it; what is taken must then also be worked off.
        if (JsonSchema.Types(o.Body).Length == 0)
        {
            foreach (var (name, json) in Nasty.Json)
                yield return new(o, $"any JSON: {name}", async w => await w.ValidAsync(o, fresh: true) with { Body = json }, [400, .. o.Successes]) { ChangesNothing = false };
            yield break;
        }

        foreach (var (name, json) in new[] { ("null", "null"), ("a string", "\"text\""), ("a number", "12"), ("true", "true"), ("an empty array", "[]"), ("an array in an array", "[[]]") })
            yield return new(o, $"the body is {name}", async w => await w.ValidAsync(o) with { Body = Encoding.UTF8.GetBytes(json) }, o.IsPartial && json == "[[]]" ? 207 : 400);
        if (o.MaxItems > 0)
            yield return new(o, "too many items", async w => await w.ValidAsync(o) with { Body = World.Json(new JsonArray([.. Enumerable.Range(0, o.MaxItems + 1).Select(_ => w.ValidBody(o))])) }, 400);
        yield return Changed("a field more", "noSuchField", body => body.Add("noSuchField", 1));
        yield return Changed("a prototype", "__proto__", body => body.Add("__proto__", new JsonObject()));
        yield return new(o, "a field twice", async w =>
        {
            var body = (JsonObject)w.ValidBody(o);
            var (name, value) = body.First();
            return await w.ValidAsync(o) with { Body = Encoding.UTF8.GetBytes($"{{\"{name}\":{value?.ToJsonString() ?? "null"},{body.ToJsonString()[1..]}") };
        }, o.IsPartial ? 207 : 400);
        foreach (var name in JsonSchema.Required(o.Body))
            yield return Changed($"without {name}", name, body => body.Remove(name));
        foreach (var (name, schema) in (JsonObject)o.Body["properties"]!)
        {
            foreach (var (why, value) in world.Schema.Invalid(schema!))
                yield return Changed($"{name} is {why}", name, body => body[name] = value?.DeepClone());
            var resolved = ApiDocument.Resolve(world.Document.Root, schema!);
            if (JsonSchema.Types(resolved).Contains("object") && resolved["properties"] is JsonObject inner)
                foreach (var (field, fieldSchema) in inner)
                    foreach (var (why, value) in world.Schema.Invalid(fieldSchema!).Take(4))
                        yield return Changed($"{name}.{field} is {why}", name, body =>
                        {
                            body[name] = world.Schema.Valid(schema!, optional: true);
                            body[name]![field] = value?.DeepClone();
                        });
            if (!JsonSchema.Types(resolved).Contains("string"))
                continue;
            foreach (var (why, literal) in Nasty.Refused)
                yield return Raw($"{name} is {why}", name, literal, o.IsPartial ? [207] : [400]);
            foreach (var (why, text) in Nasty.Injections.Concat(Nasty.Characters))
                yield return Kept($"{name} is {why}", name, text);
        }

        Case Changed(string name, string field, Action<JsonObject> change) => new(o, name, async w =>
        {
            var body = (JsonObject)w.ValidBody(o);
            body.Remove(field);
            change(body);
            return await w.ValidAsync(o) with { Body = World.Json(body) };
        }, o.IsPartial ? 207 : 400)
        {
            Also = (_, _, answer) => Task.FromResult(
                answer.Status == 207 ? ((int?)answer.Json!["rejected"] is > 0 ? null : "no item is rejected")
                : answer.Json!["errors"] is JsonObject { Count: > 0 } ? null : $"the problem names no field: {answer.Text}"),
        };

        Case Raw(string name, string field, string literal, int[] expected) => new(o, name, async w =>
        {
            var body = (JsonObject)w.ValidBody(o);
            body.Remove(field);
            var rest = body.ToJsonString()[1..];
            return await w.ValidAsync(o) with { Body = Encoding.UTF8.GetBytes($"{{\"{field}\":{literal}{(rest == "}" ? "" : ",")}{rest}") };
        }, expected);

        Case Kept(string name, string field, string text) => Raw(name, field, JsonSerializer.Serialize(text), [.. o.Statuses.Where(s => s is 200 or 201 or 202 or 204 or 207 or 400 or 404 or 409)]) with
        {
            ChangesNothing = false,
            Also = (_, _, answer) => Task.FromResult(
                answer.Status is 200 or 201 && answer.Json is JsonObject fields && fields[field] is JsonValue kept && kept.TryGetValue<string>(out var now) && !string.Equals(now, text.Trim(), StringComparison.OrdinalIgnoreCase)
                    ? $"it was kept as {now}" : null),
        };
    }

    public static IEnumerable<Case> Idempotency(Operation o, World _)
    {
        if (!o.TakesIdempotencyKey)
            yield break;
        foreach (var (name, key) in new[] { ("empty", ""), ("256 characters", new string('k', 256)), ("not ASCII", "cl\u00e9"), ("a tab", "a\tb") })
            yield return new(o, $"the key is {name}", async w => await w.ValidAsync(o) is var valid ? valid with { Headers = [.. valid.Headers, ("Idempotency-Key", key)] } : valid, 400);
        yield return new(o, "repeated with its key", async w => await FirstAsync(w), o.Successes)
        {
            Also = async (w, sent, answer) => answer.Header("Idempotency-Replayed") != "true" ? "it was not replayed"
                : (await w.SendAsync(sent)) is var third && third.Text != answer.Text ? $"the answers differ: {third.Text}" : null,
            ChangesNothing = false,
        };
        yield return new(o, "another body with the key", async w =>
        {
            var first = await FirstAsync(w);
            return first with { Body = Padded(first.Body ?? [], (first.Body?.Length ?? 0) + 1) };
        }, 422)
        { ChangesNothing = false };
        if (o.Path.Count > 0)
            yield return new(o, "another path with the key", async w =>
                await FirstAsync(w) with { Path = await w.ThingAsync(o.Template, fresh: true) }, 422)
            { ChangesNothing = false };
        yield return new(o, $"{AtOnce} at once with one key", AtOnceAsync, o.Successes)
        {
            Also = (_, _, answer) => Task.FromResult(answer.Header("Idempotency-Replayed") == "true" ? null : "it was not replayed"),
            ChangesNothing = false,
        };
        yield return new(o, "another caller with the key", async w => await FirstAsync(w) with { Authorization = w.Bearer(subject: "somebody-else") }, [.. o.Successes, .. o.Statuses.Where(s => s is 404 or 409)])
        {
            Also = (_, _, answer) => Task.FromResult(answer.Header("Idempotency-Replayed") is null ? null : "it got another caller's answer"),
            ChangesNothing = false,
        };

        async Task<Sent> WithKeyAsync(World w) => await w.ValidAsync(o, fresh: true) is var valid
            ? valid with { Headers = [.. valid.Headers, ("Idempotency-Key", Guid.NewGuid().ToString())] } : valid;

        // The same request, sent many times already: one of them was done, and the others got its answer or were told that it is still being done.
        async Task<Sent> AtOnceAsync(World w)
        {
            var one = await WithKeyAsync(w);
            var before = await w.CommandsAsync(o);
            var answers = await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(_ => w.SendAsync(one)));
            var done = answers.Where(a => a.Status != 409).ToList();
            var wrong = answers.Select(a => Promises.Broken(w, o, a)).FirstOrDefault(b => b is not null)
                ?? (done.Count == 0 ? answers[0].Text : null)
                ?? (done.Find(a => !o.Successes.Contains(a.Status)) is { } failed ? $"{failed.Status} {failed.Text}" : null)
                ?? (done.FindAll(a => a.Header("Idempotency-Replayed") is null) is var first && first.Count != 1 ? $"{first.Count} are no replays" : null)
                ?? (done.Select(a => (a.Status, Told(a, done))).Distinct().Count() != 1 ? $"the answers differ: {string.Join(" | ", done.Select(a => a.Text).Distinct())}" : null)
                ?? (await w.CommandsAsync(o) is var after && after != before + 1 ? $"the command was done {after - before} times" : null);
            return wrong is null ? one : throw new InvalidOperationException($"Of {AtOnce} requests at once: {wrong}");
        }

        // Without what only the first is told, because it is stored nowhere.
        static string Told(Received answer, List<Received> all) => answer.Json is JsonObject fields
            ? new JsonObject(fields.Where(f => all.TrueForAll(other => other.Json?[f.Key] is not null)).Select(f => KeyValuePair.Create(f.Key, f.Value?.DeepClone()))).ToJsonString()
            : answer.Text;

        // The same request, sent once already.
        async Task<Sent> FirstAsync(World w)
        {
            var first = await WithKeyAsync(w);
            var answer = await w.SendAsync(first);
            return o.Statuses.Contains(answer.Status) && answer.Status < 500 ? first : throw new InvalidOperationException($"The first request failed: {answer.Status} {answer.Text}");
        }
    }

    /// <summary>Signed well, by the issuer's own key but for the last two, and each wrong in one thing.</summary>
    private static IEnumerable<(string Name, string Token)> BadTokens(World world)
    {
        var now = DateTime.UtcNow;
        var key = IssuerKey(world);
        yield return ("expired", Token(token => token.Expires = now.AddHours(-1)));
        yield return ("without an end", Token(token => token.Expires = null));
        yield return ("not valid yet", Token(token => token.NotBefore = now.AddMinutes(30)));
        yield return ("for another audience", Token(token => token.Audience = "another"));
        yield return ("for no audience", Token(token => token.Audience = null));
        yield return ("of another issuer", Token(token => token.Issuer = "https://issuer.example.com"));
        yield return ("of no issuer", Token(token => token.Issuer = null));
        yield return ("of nobody", Token(token => token.Claims.Remove("sub")));
        yield return ("of no organisation", Token(token => token.Claims.Remove("org_id")));
        yield return ("of an unknown key id", Token(token => token.SigningCredentials = Credentials(new ECDsaSecurityKey(key.ECDsa) { KeyId = "unknown" })));
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        yield return ("of another key under the id of ours", Token(token => token.SigningCredentials = Credentials(new ECDsaSecurityKey(other) { KeyId = key.KeyId })));

        string Token(Action<SecurityTokenDescriptor> change) => Cases.Token(world, change);
    }

    private static string Token(World world, Action<SecurityTokenDescriptor> change)
    {
        var now = DateTime.UtcNow;
        var token = new SecurityTokenDescriptor
        {
            Issuer = LocalIssuer.Name,
            Audience = LocalIssuer.Audience,
            IssuedAt = now.AddHours(-2),
            NotBefore = now.AddHours(-2),
            Expires = now.AddHours(1),
            Claims = new Dictionary<string, object> { ["sub"] = "tester", ["org_id"] = World.Home, ["scope"] = world.Scopes },
            SigningCredentials = Credentials(IssuerKey(world)),
        };
        change(token);
        return new JsonWebTokenHandler { SetDefaultTimesOnTokenCreation = false }.CreateToken(token);
    }

    private static ECDsaSecurityKey IssuerKey(World world) => world.Host.Services.GetRequiredService<LocalIssuer>().Key;

    // Kept for a key's id, a signer would be used for another key of the same.
    private static SigningCredentials Credentials(SecurityKey key) => new(key, SecurityAlgorithms.EcdsaSha256) { CryptoProviderFactory = new() { CacheSignatureProviders = false } };

    private static IEnumerable<(string Name, (string, string)[] Headers)> BadSignatures(string prefix)
    {
        var now = WebhookSignature.Timestamp(DateTimeOffset.UtcNow);
        yield return ("no signature", []);
        yield return ("signature only", [($"{prefix}-signature", "v1,AAAA")]);
        yield return ("a signature that fits nothing", [($"{prefix}-id", "a"), ($"{prefix}-timestamp", now), ($"{prefix}-signature", "v1," + Convert.ToBase64String(new byte[32]))]);
        yield return ("a signature that is not base64", [($"{prefix}-id", "a"), ($"{prefix}-timestamp", now), ($"{prefix}-signature", "v1,!!!")]);
        yield return ("an empty signature", [($"{prefix}-id", "a"), ($"{prefix}-timestamp", now), ($"{prefix}-signature", "v1,")]);
        yield return ("a signature of no version", [($"{prefix}-id", "a"), ($"{prefix}-timestamp", now), ($"{prefix}-signature", "AAAA")]);
        yield return ("a timestamp of text", [($"{prefix}-id", "a"), ($"{prefix}-timestamp", "now"), ($"{prefix}-signature", "v1,AAAA")]);
        yield return ("a timestamp of long ago", [($"{prefix}-id", "a"), ($"{prefix}-timestamp", "1"), ($"{prefix}-signature", "v1,AAAA")]);
    }

    private static byte[] Padded(byte[] body, int length) => [.. body, .. Enumerable.Repeat((byte)' ', length - body.Length)];

    private static string PathWith(World world, Operation o, Parameter parameter, string text) => o.Path.Aggregate(o.Template, (path, p) =>
        path.Replace($"{{{p.Name}}}", p == parameter ? Uri.EscapeDataString(text) : World.UnknownId(p), StringComparison.Ordinal));

    private static HashSet<string> Allowed(Received answer) => [.. (answer.Header("Allow") ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)];

    private static string Encode(string json) => Base64UrlEncoder.Encode(json);
}
