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
    private const int RankSlots = MaxRank + 1;

    /// <summary>With one more, the visitors would be as long as the registers are.</summary>
    public const int MaxExact = (Registers / sizeof(ulong)) - 1;

    private const int SlotBits = 15;
    private const int Slots = 1 << SlotBits;

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
    public static long CountUnion(IReadOnlyList<CountedSketch> sketches)
    {
        if (sketches.Count == 1)
            return sketches[0].Members;
        if (sketches.Any(s => s.Bytes.Length == Registers))
            return EstimateUnion(sketches);
        // Where there are clearly more than are kept exactly, counting them would be for nothing: 3 % are ten standard errors.
        var estimate = sketches.Sum(s => s.Members) > MaxExact ? EstimateUnion(sketches) : 0;
        return estimate > MaxExact * 1.03 ? estimate : CountUnionExactly(sketches) ?? estimate;
    }

    /// <returns>Null when there are more than are kept exactly.</returns>
    private static long? CountUnionExactly(IReadOnlyList<CountedSketch> sketches)
    {
        var slots = ArrayPool<ulong>.Shared.Rent(Slots);
        var count = CountDistinct(sketches, slots.AsSpan(0, Slots));
        ArrayPool<ulong>.Shared.Return(slots);
        return count <= MaxExact ? count : null;
    }

    /// <summary>Counts in a hash table, as merging sorted lists costs a mispredicted branch for each hash.</summary>
    /// <returns>No more than one above <see cref="MaxExact"/>, so that half of the slots stay empty.</returns>
    private static int CountDistinct(IReadOnlyList<CountedSketch> sketches, Span<ulong> slots)
    {
        slots.Clear();
        var count = 0;
        foreach (var sketch in sketches)
        {
            foreach (var hash in MemoryMarshal.Cast<byte, ulong>(sketch.Bytes))
            {
                // The lowest bit is not part of a hash: set, it tells a slot that is taken.
                var slot = (int)(hash >> (64 - SlotBits));
                while (slots[slot] != 0 && slots[slot] != (hash | 1))
                    slot = (slot + 1) % Slots;
                if (slots[slot] != 0)
                    continue;
                slots[slot] = hash | 1;
                if (++count > MaxExact)
                    return count;
            }
        }

        return count;
    }

    private static long EstimateUnion(IReadOnlyList<CountedSketch> sketches)
    {
        var rented = ArrayPool<byte>.Shared.Rent(Registers);
        var registers = rented.AsSpan(0, Registers);
        registers.Clear();
        foreach (var sketch in sketches)
            Raise(registers, sketch.Bytes);
        var estimate = Estimate(Ranks(registers));
        ArrayPool<byte>.Shared.Return(rented);
        return estimate;
    }

    /// <summary>Adds a visitor, who may be in it.</summary>
    public void Add(long visitor) => Add(Hash(visitor));

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

    /// <summary>Takes visitors out, as far as the set can tell what it is without them.</summary>
    /// <returns>The registers that one of them may have raised, for <see cref="Lower"/>. None where the visitors themselves are kept.</returns>
    public IReadOnlySet<int> Remove(IEnumerable<long> visitors)
    {
        Settle();
        if (_hashes is not { } hashes)
            return visitors.Select(Hash).Where(hash => Rank(hash) == _registers[Register(hash)]).Select(Register).ToHashSet();
        var gone = visitors.Select(Hash).ToHashSet();
        _hashes = Array.FindAll(hashes, hash => !gone.Contains(hash));
        return new HashSet<int>();
    }

    /// <summary>Makes registers what the visitors of theirs ask for that there are, see <see cref="VisitorsOf"/>.</summary>
    public void Lower(IEnumerable<int> registers, IEnumerable<long> visitors)
    {
        foreach (var register in registers)
            _registers[register] = 0;
        foreach (var visitor in visitors)
            Add(visitor);
    }

    /// <summary>True when there are registers, though there may be so few visitors that they would be kept themselves.</summary>
    public bool MayBeExact()
    {
        Settle();
        // Of so few the estimate is much nearer: within 0.2 %.
        return _hashes is null && Estimate(Ranks(_registers)) < MaxExact * 1.02;
    }

    /// <summary>The first and last of the visitors that may raise a register.</summary>
    public static (long First, long Last) VisitorsOf(int register) => ((long)register << (64 - Precision)) is var first ? (first, first | (long)(ulong.MaxValue >> Precision)) : default;

    /// <summary>About how many different ones there are.</summary>
    public long Count()
    {
        Settle();
        return _hashes?.Length ?? Estimate(Ranks(_registers));
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
        ref var register = ref registers[Register(hash)];
        register = Math.Max(register, Rank(hash));
    }

    private static ulong Hash(long visitor) => (ulong)visitor & ~1UL;

    private static int Register(ulong hash) => (int)(hash >> (64 - Precision));

    /// <summary>A hash of which all the rest is zeros ends where its bits do.</summary>
    private static byte Rank(ulong hash) => (byte)(Math.Min(BitOperations.LeadingZeroCount(hash << Precision), HashBits - Precision) + 1);

    /// <summary>How many registers have each rank.</summary>
    private static int[] Ranks(ReadOnlySpan<byte> registers)
    {
        // Neighbours mostly have the same rank, and a count that was just raised is slow to raise again: so four of each.
        Span<int> counts = stackalloc int[4 * RankSlots];
        counts.Clear();
        for (var i = 0; i < registers.Length; i += 4)
        {
            counts[registers[i]]++;
            counts[RankSlots + registers[i + 1]]++;
            counts[(2 * RankSlots) + registers[i + 2]]++;
            counts[(3 * RankSlots) + registers[i + 3]]++;
        }

        var ranks = new int[RankSlots];
        for (var rank = 0; rank < RankSlots; rank++)
            ranks[rank] = counts[rank] + counts[RankSlots + rank] + counts[(2 * RankSlots) + rank] + counts[(3 * RankSlots) + rank];
        return ranks;
    }

    private static long Estimate(int[] counts)
    {
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
