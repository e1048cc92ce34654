using Microsoft.Extensions.Configuration;

namespace Agency.Platform;

/// <summary>What Clerk's webhooks are taken by.</summary>
/// <param name="Signature">Verifies them; null when none are taken.</param>
/// <param name="Organisation">
/// The organisation that every user of the Clerk instance belongs to. Null: users belong to the organisations that Clerk has them in.
/// </param>
public sealed record ClerkOptions(WebhookSignature? Signature, string? Organisation)
{
    /// <summary>Reads <c>Clerk:WebhookSecrets</c> (several, while they are being changed, with semicolons or spaces between) and <c>Clerk:Organisation</c>.</summary>
    /// <exception cref="InvalidOperationException">A secret is malformed. The message does not hold it.</exception>
    public static ClerkOptions From(IConfiguration settings)
    {
        var listed = settings.GetSection("Clerk:WebhookSecrets").GetChildren().Select(secret => secret.Value ?? "");
        var secrets = listed.Prepend(settings["Clerk:WebhookSecrets"] ?? "")
            .SelectMany(text => text.Split([';', ' '], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)).ToList();
        try
        {
            return new(secrets.Count == 0 ? null : new(secrets), settings["Clerk:Organisation"] is { Length: > 0 } organisation ? organisation : null);
        }
        catch (FormatException malformed)
        {
            throw new InvalidOperationException($"Clerk:WebhookSecrets is wrong. {malformed.Message} Copy it from the endpoint's page in Clerk's dashboard.", malformed);
        }
    }
}
