using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Agency.Analytics;

/// <param name="Members">What the sketch counts.</param>
/// <param name="Bytes">What <see cref="Sketch.ToBytes"/> gave.</param>
public sealed record CountedSketch(long Members, byte[] Bytes);

/// <summary>
/// How many different visitors there are, of sets that can be united: up to <see cref="MaxExact"/> they are kept themselves and counted
/// exactly; of more there is HyperLogLog (Flajolet et al. 2007) with 2^17 registers, so a standard error of 0.29 %, and the estimator of
/// Ertl (arXiv:1702.01284). A set has one form and so one text of bytes, whatever the order in which it came together.
/// </summary>
public sealed class Sketch
{
    private const int Precision = 17;
    private const int Registers = 1 << Precision;
    // The lowest bit of a visitor is no hash.
    private const int HashBits = 63;
    private const int MaxRank = HashBits - Precision + 1;

    /// <summary>With one more, the visitors would be as long as the registers are.</summary>
    public const int MaxExact = (Registers / sizeof(ulong)) - 1;

    // Sorted and different; null once there are registers.
    private ulong[]? _hashes = [];
    private List<ulong> _added = [];
    private byte[] _registers = [];

    /// <param name="bytes">What <see cref="ToBytes"/> gave.</param>
    public static Sketch From(ReadOnlySpan<byte> bytes)
    {
        var sketch = new Sketch();
        if (bytes.Length == Registers)
        {
            sketch._hashes = null;
            sketch._registers = bytes.ToArray();
        }
        else
        {
            sketch._hashes = MemoryMarshal.Cast<byte, ulong>(bytes).ToArray();
        }

        return sketch;
    }

    /// <summary>About how many different ones there are in all of these together.</summary>
    public static long CountUnion(IReadOnlyList<CountedSketch> sketches) =>
        sketches.Count == 1 ? sketches[0].Members : CountUnionExactly(sketches) ?? EstimateUnion(sketches);

    /// <returns>Null when there are more than are kept exactly.</returns>
    private static long? CountUnionExactly(IReadOnlyList<CountedSketch> sketches)
    {
        if (sketches.Any(s => s.Bytes.Length == Registers))
            return null;
        var (union, next) = (ArrayPool<ulong>.Shared.Rent(2 * MaxExact), ArrayPool<ulong>.Shared.Rent(2 * MaxExact));
        var count = 0;
        for (var i = 0; i < sketches.Count && count <= MaxExact; i++)
        {
            count = Merge(union.AsSpan(0, count), MemoryMarshal.Cast<byte, ulong>(sketches[i].Bytes), next);
            (union, next) = (next, union);
        }

        ArrayPool<ulong>.Shared.Return(union);
        ArrayPool<ulong>.Shared.Return(next);
        return count <= MaxExact ? count : null;
    }

    private static long EstimateUnion(IReadOnlyList<CountedSketch> sketches)
    {
        var rented = ArrayPool<byte>.Shared.Rent(Registers);
        var registers = rented.AsSpan(0, Registers);
        registers.Clear();
        foreach (var sketch in sketches)
            Raise(registers, sketch.Bytes);
        var count = Estimate(registers);
        ArrayPool<byte>.Shared.Return(rented);
        return count;
    }

    /// <summary>Adds a visitor, who may be in it.</summary>
    public void Add(long visitor) => Add((ulong)visitor & ~1UL);

    /// <summary>Adds all that are in another one.</summary>
    public void Unite(Sketch other)
    {
        var bytes = other.ToBytes();
        if (_hashes is not null && bytes.Length < Registers)
        {
            foreach (var hash in MemoryMarshal.Cast<byte, ulong>(bytes))
                Add(hash);
            return;
        }

        Settle();
        Spread();
        Raise(_registers, bytes);
    }

    /// <summary>About how many different ones there are.</summary>
    public long Count()
    {
        Settle();
        return _hashes?.Length ?? Estimate(_registers);
    }

    public byte[] ToBytes()
    {
        Settle();
        return _hashes is { } hashes ? MemoryMarshal.AsBytes(hashes.AsSpan()).ToArray() : _registers;
    }

    private void Add(ulong hash)
    {
        if (_hashes is null)
        {
            Raise(_registers, hash);
            return;
        }

        _added.Add(hash);
        if (_added.Count > MaxExact)
            Settle();
    }

    /// <summary>Brings what was added where it belongs.</summary>
    private void Settle()
    {
        if (_hashes is null || _added.Count == 0)
            return;
        _added.Sort();
        var merged = new ulong[_hashes.Length + _added.Count];
        _hashes = merged[..Merge(_hashes, CollectionsMarshal.AsSpan(_added), merged)];
        _added = [];
        if (_hashes.Length > MaxExact)
            Spread();
    }

    /// <summary>Of two sorted lists a sorted one in which each hash is once.</summary>
    /// <returns>Its length.</returns>
    private static int Merge(ReadOnlySpan<ulong> a, ReadOnlySpan<ulong> b, Span<ulong> merged)
    {
        var (i, j, count) = (0, 0, 0);
        while (i < a.Length || j < b.Length)
        {
            var hash = j == b.Length || (i < a.Length && a[i] <= b[j]) ? a[i++] : b[j++];
            if (count == 0 || merged[count - 1] != hash)
                merged[count++] = hash;
        }

        return count;
    }

    /// <summary>From visitors to registers.</summary>
    private void Spread()
    {
        if (_hashes is not { } hashes)
            return;
        _registers = new byte[Registers];
        _hashes = null;
        foreach (var hash in hashes)
            Raise(_registers, hash);
    }

    /// <summary>Each register to what this other set, in either form, asks of it.</summary>
    private static void Raise(Span<byte> registers, ReadOnlySpan<byte> other)
    {
        if (other.Length < Registers)
        {
            foreach (var hash in MemoryMarshal.Cast<byte, ulong>(other))
                Raise(registers, hash);
            return;
        }

        var mine = MemoryMarshal.Cast<byte, Vector<byte>>(registers);
        var theirs = MemoryMarshal.Cast<byte, Vector<byte>>(other);
        for (var i = 0; i < mine.Length; i++)
            mine[i] = Vector.Max(mine[i], theirs[i]);
    }

    private static void Raise(Span<byte> registers, ulong hash)
    {
        // A hash of which all the rest is zeros ends where its bits do.
        var rank = Math.Min(BitOperations.LeadingZeroCount(hash << Precision), HashBits - Precision) + 1;
        ref var register = ref registers[(int)(hash >> (64 - Precision))];
        register = Math.Max(register, (byte)rank);
    }

    private static long Estimate(ReadOnlySpan<byte> registers)
    {
        var counts = new int[MaxRank + 1];
        foreach (var rank in registers)
            counts[rank]++;
        double m = Registers;
        var z = m * Tau(1 - (counts[MaxRank] / m));
        for (var rank = MaxRank - 1; rank >= 1; rank--)
            z = 0.5 * (z + counts[rank]);
        z += m * Sigma(counts[0] / m);
        return (long)Math.Round(m * m / (2 * Math.Log(2) * z));
    }

    private static double Sigma(double x)
    {
        if (x == 1)
            return double.PositiveInfinity;
        double y = 1, z = x, before;
        do
        {
            x *= x;
            before = z;
            z += x * y;
            y += y;
        }
        while (z != before);
        return z;
    }

    private static double Tau(double x)
    {
        if (x is 0 or 1)
            return 0;
        double y = 1, z = 1 - x, before;
        do
        {
            x = Math.Sqrt(x);
            before = z;
            y *= 0.5;
            z -= (1 - x) * (1 - x) * y;
        }
        while (z != before);
        return z / 3;
    }
}
