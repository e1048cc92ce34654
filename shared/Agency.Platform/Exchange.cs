using Microsoft.AspNetCore.Http;

namespace Agency.Platform;

/// <summary>What the conventions need to know of one request and have no other place for.</summary>
internal sealed class Exchange
{
    /// <summary>The function's name; empty for what no function answers.</summary>
    public string Function { get; init; } = "";

    /// <summary>Bytes of body the route takes.</summary>
    public int MaxBody { get; init; } = RequestBody.DefaultLimit;

    /// <summary>The body, once read.</summary>
    public ReadOnlyMemory<byte> Body { get; set; }

    public static Exchange Of(HttpContext http) => http.Features.Get<Exchange>() ?? Set(http, new());

    public static Exchange Set(HttpContext http, Exchange exchange)
    {
        http.Features.Set(exchange);
        return exchange;
    }
}
