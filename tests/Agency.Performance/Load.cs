using System.Buffers.Text;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Agency.Performance;

/// <summary>What a round of load saw.</summary>
/// <param name="Requests">Answered, whatever the status.</param>
/// <param name="Errors">Answered with another status than expected.</param>
/// <param name="Seconds">How long the round took.</param>
/// <param name="P50">Milliseconds.</param>
/// <param name="P95">Milliseconds.</param>
public sealed record LoadResult(int Requests, int Errors, double Seconds, double P50, double P95)
{
    public double PerSecond => Requests / Seconds;
}

/// <summary>
/// A load generator on bare sockets, since it shares two cores with what it measures: each connection sends its next request when the
/// last one is answered.
/// </summary>
internal static class Load
{
    /// <param name="next">The bytes of a connection's next request (connection, number); null ends the connection.</param>
    public static async Task<LoadResult> RunAsync(int port, int connections, Func<int, int, ReadOnlyMemory<byte>?> next, int expectedStatus)
    {
        var clock = Stopwatch.StartNew();
        var all = await Task.WhenAll(Enumerable.Range(0, connections).Select(connection => Task.Run(() => DriveAsync(port, connection, next, expectedStatus))));
        var seconds = clock.Elapsed.TotalSeconds;
        var ticks = all.SelectMany(c => c.Ticks).Order().ToArray();
        return new(ticks.Length, all.Sum(c => c.Errors), seconds, Percentile(ticks, 0.50), Percentile(ticks, 0.95));
    }

    /// <summary>For a fixed time: the requests in turn, each connection from a place of its own.</summary>
    public static Task<LoadResult> RunForAsync(int port, int connections, TimeSpan time, ReadOnlyMemory<byte>[] requests, int expectedStatus)
    {
        var end = Stopwatch.GetTimestamp() + (long)(time.TotalSeconds * Stopwatch.Frequency);
        // A bare null would become empty memory, through the conversion from arrays.
        return RunAsync(
            port,
            connections,
            (connection, number) => Stopwatch.GetTimestamp() < end
                ? requests[((connection * requests.Length / connections) + number) % requests.Length]
                : default(ReadOnlyMemory<byte>?),
            expectedStatus);
    }

    public static ReadOnlyMemory<byte> Request(string method, string path, string? token, ReadOnlySpan<byte> body = default)
    {
        var head = new StringBuilder($"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        if (token is not null)
            head.Append("Authorization: Bearer ").Append(token).Append("\r\n");
        if (!body.IsEmpty)
            head.Append("Content-Type: application/json\r\nContent-Length: ").Append(body.Length).Append("\r\n");
        return (byte[])[.. Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()), .. body];
    }

    private static async Task<(List<long> Ticks, int Errors)> DriveAsync(
        int port, int connection, Func<int, int, ReadOnlyMemory<byte>?> next, int expectedStatus)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port);
        var buffer = new byte[64 * 1024];
        var ticks = new List<long>(100_000);
        var errors = 0;
        for (var number = 0; next(connection, number) is { } request; number++)
        {
            var start = Stopwatch.GetTimestamp();
            for (var sent = 0; sent < request.Length;)
                sent += await socket.SendAsync(request[sent..]);
            if (await ReadStatusAsync(socket, buffer) != expectedStatus)
                errors++;
            ticks.Add(Stopwatch.GetTimestamp() - start);
        }

        return (ticks, errors);
    }

    private static async Task<int> ReadStatusAsync(Socket socket, byte[] buffer)
    {
        var have = 0;
        while (true)
        {
            var read = await socket.ReceiveAsync(buffer.AsMemory(have));
            if (read == 0)
                throw new IOException("The server closed the connection.");
            have += read;
            if (TryParse(buffer.AsSpan(0, have), out var status, out var whole))
            {
                // The rest of a body larger than the buffer is read and forgotten.
                for (var left = whole - have; left > 0;)
                    left -= await socket.ReceiveAsync(buffer.AsMemory(0, Math.Min(left, buffer.Length)));
                return status;
            }
        }
    }

    private static bool TryParse(ReadOnlySpan<byte> bytes, out int status, out int whole)
    {
        status = whole = 0;
        var end = bytes.IndexOf("\r\n\r\n"u8);
        if (end < 0)
            return false;
        _ = Utf8Parser.TryParse(bytes[9..12], out status, out _);
        var header = bytes[..end].IndexOf("Content-Length: "u8);
        var length = 0;
        if (header >= 0)
            _ = Utf8Parser.TryParse(bytes[(header + 16)..end], out length, out _);
        else if (status is not (204 or 304))
            throw new IOException("The server's answer has no length: " + Encoding.ASCII.GetString(bytes[..end]));
        whole = end + 4 + length;
        return true;
    }

    private static double Percentile(long[] sorted, double at) =>
        sorted.Length == 0 ? 0 : sorted[Math.Min((int)(sorted.Length * at), sorted.Length - 1)] * 1000.0 / Stopwatch.Frequency;
}
