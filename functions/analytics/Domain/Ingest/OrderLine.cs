using System.Text.Json;

namespace Agency.Analytics;

/// <summary>The properties of an <c>order-line</c> event, from which revenue is computed.</summary>
/// <param name="Quantity">Pieces; negative for a refund.</param>
/// <param name="UnitPrice">In <paramref name="Currency"/>.</param>
/// <param name="Currency">ISO 4217.</param>
/// <param name="Country">ISO 3166 alpha-2, or null when unknown.</param>
/// <param name="Cancelled">True when the line belongs to a cancelled order.</param>
/// <param name="Campaign">The property <c>$utm_campaign</c>, or null when no campaign brought it.</param>
public readonly record struct OrderLine(
    string OrderId, string ProductId, int Quantity, decimal UnitPrice, string Currency, string? Country, bool Cancelled, string? Campaign)
{
    public const string EventName = "order-line";

    // These limits keep the sum of any batch of batches within the 28 digits of a decimal, and so exact.
    private const int MaxQuantity = 10_000_000;
    private const decimal MaxUnitPrice = 1_000_000_000;
    private const int Decimals = 6;
    private const int MaxPriceText = 28;

    public decimal Amount => Quantity * UnitPrice;

    /// <summary>Reads a JSON object that is already known to be well-formed.</summary>
    /// <returns>What is wrong with it, or null.</returns>
    public static string? TryRead(ReadOnlySpan<byte> properties, out OrderLine line)
    {
        var json = new Utf8JsonReader(properties);
        string? orderId = null, productId = null, currency = null, country = null, campaign = null, error = null;
        int? quantity = null;
        decimal? unitPrice = null;
        var cancelled = false;
        json.Read();
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            if (json.ValueTextEquals("orderId"u8))
                EventReader.Text(ref json, "properties.orderId", ref orderId, ref error);
            else if (json.ValueTextEquals("productId"u8))
                EventReader.Text(ref json, "properties.productId", ref productId, ref error);
            else if (json.ValueTextEquals("quantity"u8))
                quantity = Quantities(ref json, ref error);
            else if (json.ValueTextEquals("unitPrice"u8))
                unitPrice = Price(ref json, ref error);
            else if (json.ValueTextEquals("currency"u8))
                currency = Code(ref json, 3, "properties.currency must be an ISO 4217 code such as GBP", ref error);
            else if (json.ValueTextEquals("country"u8))
                country = Code(ref json, 2, "properties.country must be an ISO 3166 alpha-2 code such as GB, or null", ref error);
            else if (json.ValueTextEquals("cancelled"u8))
                cancelled = Flag(ref json, ref error);
            else if (json.ValueTextEquals("$utm_campaign"u8))
                EventReader.Text(ref json, "properties.$utm_campaign", ref campaign, ref error);
            else
                json.Skip();
        }

        error ??= orderId is null ? "properties.orderId is missing"
            : productId is null ? "properties.productId is missing"
            : quantity is null ? "properties.quantity is missing"
            : unitPrice is null ? "properties.unitPrice is missing"
            : currency is null ? "properties.currency is missing"
            : null;
        line = error is null ? new(orderId!, productId!, quantity!.Value, unitPrice!.Value, currency!, country, cancelled, campaign) : default;
        return error;
    }

    private static int? Quantities(ref Utf8JsonReader json, ref string? error)
    {
        json.Read();
        if (json.TokenType == JsonTokenType.Number && json.TryGetInt32(out var number) && number is >= -MaxQuantity and <= MaxQuantity)
            return number;
        error ??= $"properties.quantity must be a whole number from {-MaxQuantity} to {MaxQuantity}";
        json.Skip();
        return null;
    }

    private static decimal? Price(ref Utf8JsonReader json, ref string? error)
    {
        json.Read();
        // A longer text, or one with an exponent, could lose digits on its way into a decimal.
        if (json.TokenType == JsonTokenType.Number && json.ValueSpan.Length <= MaxPriceText && !json.ValueSpan.ContainsAny((byte)'e', (byte)'E')
            && json.TryGetDecimal(out var number)
            && number is >= -MaxUnitPrice and <= MaxUnitPrice && decimal.Round(number, Decimals) == number)
            return decimal.Round(number, Decimals);
        error ??= $"properties.unitPrice must be a number from {-MaxUnitPrice} to {MaxUnitPrice} with at most {Decimals} decimals";
        json.Skip();
        return null;
    }

    private static string? Code(ref Utf8JsonReader json, int length, string otherwise, ref string? error)
    {
        json.Read();
        if (json.TokenType == JsonTokenType.Null)
            return null;
        if (json.TokenType == JsonTokenType.String && json.ValueSpan.Length == length && !json.ValueSpan.ContainsAnyExceptInRange((byte)'A', (byte)'Z'))
            return json.GetString();
        error ??= otherwise;
        json.Skip();
        return null;
    }

    private static bool Flag(ref Utf8JsonReader json, ref string? error)
    {
        json.Read();
        if (json.TokenType is not (JsonTokenType.True or JsonTokenType.False))
            error ??= "properties.cancelled must be true or false";
        json.Skip();
        return json.TokenType == JsonTokenType.True;
    }
}
