using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;

namespace Agency.Cli;

/// <summary>What to generate. The same figures always give the same events.</summary>
/// <param name="Count">Events.</param>
/// <param name="Seed">Another one gives other events, with other message ids.</param>
/// <param name="From">When they begin, UTC.</param>
/// <param name="Days">How long they go on.</param>
public sealed record EventPlan(long Count, int Seed, DateTime From, int Days)
{
    /// <summary>Users there are; the most active of them is so by Zipf's law.</summary>
    public int Users => (int)Math.Clamp(Count / 40, 10, 1_000_000);
}

/// <summary>
/// A made-up shop's visitors, in the order of time: they come from campaigns and by themselves, look, put into the basket, check out and
/// buy, each step less often than the one before. A third comes without a name, and some of those never give one.
/// </summary>
public sealed class EventGenerator : IDisposable
{
    private const int Products = 500;
    private const double EventsPerSession = 5.6;
    private static readonly string[] Countries = ["GB", "DE", "FR", "NL", "SE", "US", "IE", "ES", "IT", "BE"];
    private static readonly string?[] Campaigns = [null, null, null, "spring", "summer", "newsletter", "brand", "retargeting"];
    private static readonly string[] Devices = ["desktop", "mobile", "mobile", "tablet"];
    private readonly EventPlan _plan;
    private readonly Random _random;
    private readonly PriorityQueue<Visit, long> _visits = new();
    private readonly ArrayBufferWriter<byte> _buffer = new();
    private readonly Utf8JsonWriter _json;
    private readonly long _pace;
    private long _nextVisit;
    private long _number;
    private int _orders;

    public EventGenerator(EventPlan plan)
    {
        _plan = plan;
        _random = new(plan.Seed);
        _json = new(_buffer);
        _pace = (long)(TimeSpan.FromDays(plan.Days).Ticks / Math.Max(plan.Count / EventsPerSession, 1));
    }

    /// <summary>The next so many events, as the JSON array that <c>POST /events</c> takes; null when there are no more.</summary>
    public byte[]? NextBatch(int size)
    {
        if (_number == _plan.Count)
            return null;
        _buffer.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartArray();
        for (var i = 0; i < size && _number < _plan.Count; i++)
            Write();
        _json.WriteEndArray();
        _json.Flush();
        return _buffer.WrittenSpan.ToArray();
    }

    /// <summary>The next event, as a line of NDJSON without its end; null when there are no more.</summary>
    public byte[]? NextLine()
    {
        if (_number == _plan.Count)
            return null;
        _buffer.ResetWrittenCount();
        _json.Reset();
        Write();
        _json.Flush();
        return _buffer.WrittenSpan.ToArray();
    }

    public void Dispose() => _json.Dispose();

    private void Write()
    {
        while (_visits.Count == 0 || _visits.Peek().At >= _nextVisit)
        {
            _visits.Enqueue(new(_random, _nextVisit, Zipf(_plan.Users)), _nextVisit);
            _nextVisit += (long)(_pace * 2 * _random.NextDouble());
        }

        var visit = _visits.Dequeue();
        var at = visit.At;
        var name = visit.Next(_random);
        _json.WriteStartObject();
        _json.WriteString("messageId", MessageId(_plan.Seed, _number));
        _json.WriteString("event", name);
        if (visit.IsKnown)
            _json.WriteString("userId", string.Create(CultureInfo.InvariantCulture, $"user-{visit.Person}"));
        else
            _json.WriteString("anonymousId", string.Create(CultureInfo.InvariantCulture, $"device-{visit.Person}"));
        _json.WriteString("time", _plan.From.AddTicks(at - (at % TimeSpan.TicksPerMillisecond)));
        _json.WriteStartObject("properties");
        _json.WriteString("$device", visit.Device);
        if (visit.Campaign is { } campaign)
            _json.WriteString("$utm_campaign", campaign);
        if (name == "order-line")
        {
            if (visit.Order is null)
                visit.Order = string.Create(CultureInfo.InvariantCulture, $"o{_plan.Seed}-{_orders++}");
            _json.WriteString("orderId", visit.Order);
            _json.WriteString("productId", string.Create(CultureInfo.InvariantCulture, $"p{Zipf(Products)}"));
            // One line in forty comes back.
            _json.WriteNumber("quantity", _random.Next(40) == 0 ? -1 : _random.Next(1, 6));
            _json.WriteNumber("unitPrice", _random.Next(99, 20_000) / 100m);
            _json.WriteString("currency", "GBP");
            _json.WriteString("country", visit.Country);
            _json.WriteBoolean("cancelled", false);
        }
        else
        {
            _json.WriteString("$country", visit.Country);
            _json.WriteString("$path", string.Create(CultureInfo.InvariantCulture, $"/products/{Zipf(Products)}"));
        }

        _json.WriteEndObject();
        _json.WriteEndObject();
        _number++;
        if (visit.GoesOn)
            _visits.Enqueue(visit, visit.At);
    }

    /// <summary>A UUID, as clients send, of version 4: in no order, so that the index of them is written as it is in life.</summary>
    private static Guid MessageId(int seed, long number)
    {
        Span<byte> id = stackalloc byte[16];
        BinaryPrimitives.WriteInt64BigEndian(id, Mix(((long)seed << 40) + number));
        BinaryPrimitives.WriteInt64BigEndian(id[8..], Mix(~(((long)seed << 40) + number)));
        id[6] = (byte)((id[6] & 0x0F) | 0x40);
        id[8] = (byte)((id[8] & 0x3F) | 0x80);
        return new(id, bigEndian: true);
    }

    /// <summary>The step of SplitMix64 (Steele et al. 2014): another number for each.</summary>
    private static long Mix(long number)
    {
        var z = unchecked((ulong)number * 0x9E3779B97F4A7C15);
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
        return (long)(z ^ (z >> 31));
    }

    /// <summary>From 0 to below <paramref name="n"/>, the k-th about 1/k as often as the first.</summary>
    private int Zipf(int n) => (int)Math.Pow(n + 1, _random.NextDouble()) - 1;

    private sealed class Visit(Random random, long at, int person)
    {
        private static readonly string[] Funnel = ["page-view", "product-view", "add-to-cart", "checkout", "order-line"];
        private int _step;

        public long At { get; private set; } = at;

        public int Person { get; } = person;

        public bool IsKnown { get; private set; } = random.Next(3) > 0;

        public bool GoesOn { get; private set; } = true;

        public string Country { get; } = Countries[Math.Min((int)Math.Pow(Countries.Length + 1, random.NextDouble()) - 1, Countries.Length - 1)];

        public string? Campaign { get; } = Campaigns[random.Next(Campaigns.Length)];

        public string Device { get; } = Devices[random.Next(Devices.Length)];

        public string? Order { get; set; }

        /// <summary>What happens now; moves on to when the next thing will.</summary>
        public string Next(Random random)
        {
            var name = Funnel[_step];
            var chance = random.NextDouble();
            if (_step == Funnel.Length - 1)
                GoesOn = chance < 0.6;
            else if (chance < 0.45)
                _step++;
            else
                GoesOn = chance < 0.85;
            // Who buys has a name.
            IsKnown |= _step >= 3;
            At += TimeSpan.FromSeconds(random.Next(5, 240)).Ticks;
            return name;
        }
    }
}
