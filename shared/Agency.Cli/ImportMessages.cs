using System.Text.Json.Serialization;

namespace Agency.Cli;

/// <summary>An invoice line as <c>POST /events</c> takes it.</summary>
internal sealed record OrderLineEvent(string MessageId, string Event, string? UserId, string? AnonymousId, DateTimeOffset Time, OrderLineProperties Properties)
{
    public static OrderLineEvent Of(InvoiceLine line) => new(
        line.MessageId,
        "order-line",
        line.Customer,
        // The invoice's number keeps the basket of a buyer without a name together.
        line.Customer is null ? line.Invoice : null,
        line.Time,
        new(line.Invoice, line.StockCode, line.Description, line.Quantity, line.UnitPrice, "GBP", line.Country, line.IsCancelled));
}

/// <param name="Quantity">Pieces; negative for a refund.</param>
/// <param name="UnitPrice">In <paramref name="Currency"/>, an ISO 4217 code.</param>
/// <param name="Country">ISO 3166 alpha-2, or null.</param>
internal sealed record OrderLineProperties(
    string OrderId, string ProductId, string Product, int Quantity, decimal UnitPrice, string Currency, string? Country, bool Cancelled);

/// <summary>A customer as <c>POST /users</c> takes it.</summary>
internal sealed record NewUser(string Email, string Name, string? Country, IReadOnlyList<string> Tags, string ExternalId)
{
    public static NewUser Of(string customer, string? country) =>
        new($"customer-{customer}@online-retail.example", $"Customer {customer}", country, ["online-retail"], customer);
}

/// <summary>What <c>POST /events</c> answers: counts, and each item that was not simply accepted.</summary>
internal sealed record EventsAnswer(int Accepted, int Duplicates, int Rejected, IReadOnlyList<EventAnswer>? Items);

internal sealed record EventAnswer(int Index, string Status, string? Error);

/// <summary>An RFC 9457 answer.</summary>
internal sealed record ProblemAnswer(string? Type, string? Title, string? Detail, IReadOnlyDictionary<string, string[]>? Errors)
{
    public override string ToString() => string.Join(": ", new[]
    {
        Title,
        Detail,
        Errors is null ? null : string.Join("; ", Errors.Select(error => $"{error.Key} {string.Join(", ", error.Value)}")),
    }.Where(part => !string.IsNullOrEmpty(part)));
}

[JsonSourceGenerationOptions(System.Text.Json.JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(IReadOnlyList<OrderLineEvent>))]
[JsonSerializable(typeof(NewUser))]
[JsonSerializable(typeof(EventsAnswer))]
[JsonSerializable(typeof(ProblemAnswer))]
internal sealed partial class ImportJson : JsonSerializerContext;
