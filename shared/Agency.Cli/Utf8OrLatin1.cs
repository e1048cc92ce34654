using System.Text;

namespace Agency.Cli;

/// <summary>UTF-8, in which a byte that is not part of any character counts as Latin-1: shops' exports come in both, and a pound sign should survive.</summary>
internal sealed class Utf8OrLatin1 : DecoderFallback
{
    // A byte at a time may be asked for, of a sequence of up to four.
    public override int MaxCharCount => 4;

    public static Encoding Encoding { get; } = Encoding.GetEncoding("utf-8", EncoderFallback.ReplacementFallback, new Utf8OrLatin1());

    public override DecoderFallbackBuffer CreateFallbackBuffer() => new Buffer();

    private sealed class Buffer : DecoderFallbackBuffer
    {
        private byte[] _bytes = [];
        private int _at;

        public override int Remaining => _bytes.Length - _at;

        public override bool Fallback(byte[] bytesUnknown, int index)
        {
            (_bytes, _at) = (bytesUnknown, 0);
            return true;
        }

        public override char GetNextChar() => Remaining > 0 ? (char)_bytes[_at++] : '\0';

        public override bool MovePrevious()
        {
            if (_at == 0)
                return false;
            _at--;
            return true;
        }

        public override void Reset() => (_bytes, _at) = ([], 0);
    }
}
