using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>
/// One POST's <c>Idempotency-Key</c>. It is claimed, and its answer stored, in the transaction of the command itself: after a crash
/// either both are there or neither. Kept 24 hours for each organisation and caller.
/// </summary>
internal sealed class IdempotencyKey
{
    private readonly string _key;
    private readonly string _caller;
    private readonly byte[] _fingerprint;

    private IdempotencyKey(string key, string caller, byte[] fingerprint)
    {
        _key = key;
        _caller = caller;
        _fingerprint = fingerprint;
    }

    /// <summary>Null when the request is no POST or has no key.</summary>
    /// <exception cref="ProblemException">400: the key is empty, too long or not printable ASCII.</exception>
    public static IdempotencyKey? From(HttpRequest http, Caller caller)
    {
        if (!HttpMethods.IsPost(http.Method) || !http.Headers.TryGetValue("Idempotency-Key", out var header))
            return null;
        var key = header.ToString();
        if (key.Length is 0 or > 255 || header.Count != 1 || key.AsSpan().ContainsAnyExceptInRange(' ', '~'))
            throw new ProblemException(Problem.Of(400, "bad-header", "Idempotency-Key is malformed", "A key is 1 to 255 printable ASCII characters."));
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{http.Method} {http.Path}{http.QueryString}\n"));
        hash.AppendData(Exchange.Of(http.HttpContext).Body.Span);
        return new(key, caller.Subject, hash.GetHashAndReset());
    }

    /// <summary>Null when the key is now ours; else the stored answer.</summary>
    public async Task<Answer?> ClaimAsync(UnitOfWork work, CancellationToken cancel)
    {
        // Without the lock the insert would wait for the first request; 409 at once is what a client can act on.
        var claimed = await work.ExecuteAsync(
            $"""
            insert into platform.idempotency (tenant_id, caller, key, fingerprint)
            select current_setting('agency.tenant'), {_caller}, {_key}, {_fingerprint}
            where pg_try_advisory_xact_lock(hashtextextended(current_setting('agency.tenant') || {_caller} || {_key}, 0))
            on conflict (tenant_id, caller, key) do update
            set fingerprint = excluded.fingerprint, created_at = now()
            where idempotency.created_at < now() - interval '24 hours'
            """,
            cancel);
        if (claimed == 1)
            return null;
        var stored = await work.QueryFirstAsync(
            $"""
            select fingerprint, status, content_type, location, etag, body
            from platform.idempotency
            where caller = {_caller} and key = {_key} and created_at >= now() - interval '24 hours'
            """,
            row => (
                Fingerprint: row.GetFieldValue<byte[]>(0),
                Answer: new Answer(row.GetInt32(1), row.GetFieldValue<byte[]>(5), row.GetString(2))
                {
                    Location = row.IsDBNull(3) ? null : row.GetString(3),
                    ETag = row.IsDBNull(4) ? null : row.GetString(4),
                    Replayed = true,
                }),
            cancel);
        if (stored.Answer is null)
        {
            var problem = Problem.Of(409, "idempotency-in-flight", "The first request with this key is still running",
                "Try again in a moment to get its answer.");
            throw new ProblemException(problem with { RetryAfter = 1 });
        }

        if (!stored.Fingerprint.AsSpan().SequenceEqual(_fingerprint))
            throw new ProblemException(Problem.Of(422, "idempotency-key-reused", "The key belongs to another request",
                "An Idempotency-Key stands for one request; this one differs from the first that came with the key."));
        return stored.Answer;
    }

    public Task StoreAsync(UnitOfWork work, Answer answer, CancellationToken cancel) => work.ExecuteAsync(
        $"""
        update platform.idempotency
        set status = {answer.Status}, content_type = {answer.ContentType}, location = {answer.Location}, etag = {answer.ETag},
            body = {(answer.Stored ?? answer.Body).ToArray()}
        where caller = {_caller} and key = {_key}
        """,
        cancel);
}
