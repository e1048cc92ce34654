using System.Runtime.CompilerServices;
using System.Text;
using Npgsql;
using NpgsqlTypes;

namespace Agency.Platform;

/// <summary>
/// An SQL statement written as an interpolated string. Each <c>{value}</c> becomes a typed parameter, never text, so a slice
/// cannot be injected into. A <c>{Sql}</c> is a part of the statement and keeps its own parameters.
/// </summary>
[InterpolatedStringHandler]
public sealed class Sql
{
    // Literal text; a null stands for the next parameter.
    private readonly List<string?> _parts;
    private readonly List<NpgsqlParameter> _parameters;

    public Sql(int literalLength, int formattedCount)
    {
        _parts = new((formattedCount * 2) + 1);
        _parameters = new(formattedCount);
    }

    /// <summary>A part with nothing in it, for a filter that is not asked for.</summary>
    public static Sql Empty => $"";

    public void AppendLiteral(string value) => _parts.Add(value);

    public void AppendFormatted<T>(T value) => Add(value is null
        ? new NpgsqlParameter { Value = DBNull.Value, NpgsqlDbType = DbTypeOf(typeof(T)) }
        : new NpgsqlParameter<T>("", value));

    public void AppendFormatted(DateTimeOffset value) => Add(new NpgsqlParameter<DateTime>("", value.UtcDateTime));

    public void AppendFormatted(Json value) => Add(new NpgsqlParameter<ReadOnlyMemory<byte>>("", value.Utf8) { NpgsqlDbType = NpgsqlDbType.Json });

    public void AppendFormatted(Sql part)
    {
        _parts.AddRange(part._parts);
        _parameters.AddRange(part._parameters);
    }

    internal void AddTo(NpgsqlBatch batch)
    {
        var command = new NpgsqlBatchCommand(Text());
        foreach (var parameter in _parameters)
            command.Parameters.Add(parameter);
        batch.BatchCommands.Add(command);
        _parameters.Clear();
    }

    private void Add(NpgsqlParameter parameter)
    {
        _parts.Add(null);
        _parameters.Add(parameter);
    }

    private string Text()
    {
        var text = new StringBuilder(256);
        var number = 0;
        foreach (var part in _parts)
            _ = part is null ? text.Append('$').Append(++number) : text.Append(part);
        return text.ToString();
    }

    private static NpgsqlDbType DbTypeOf(Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        return type == typeof(string) ? NpgsqlDbType.Text
            : type == typeof(Guid) ? NpgsqlDbType.Uuid
            : type == typeof(int) ? NpgsqlDbType.Integer
            : type == typeof(long) ? NpgsqlDbType.Bigint
            : type == typeof(bool) ? NpgsqlDbType.Boolean
            : type == typeof(decimal) ? NpgsqlDbType.Numeric
            : type == typeof(DateTime) || type == typeof(DateTimeOffset) ? NpgsqlDbType.TimestampTz
            : type == typeof(DateOnly) ? NpgsqlDbType.Date
            : type == typeof(byte[]) ? NpgsqlDbType.Bytea
            : type == typeof(string[]) ? NpgsqlDbType.Array | NpgsqlDbType.Text
            : type == typeof(long[]) ? NpgsqlDbType.Array | NpgsqlDbType.Bigint
            : NpgsqlDbType.Unknown;
    }
}

/// <summary>JSON text (UTF-8) bound for a <c>json</c> or <c>jsonb</c> column.</summary>
public readonly record struct Json(ReadOnlyMemory<byte> Utf8);
