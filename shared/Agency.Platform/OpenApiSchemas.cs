using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Agency.Platform;

/// <summary>
/// JSON Schemas of records: what the serializer takes and gives, narrowed by the validation attributes of their properties and
/// constructor parameters. Records become components, told apart by whether they are read (strictly) or written.
/// </summary>
internal sealed class OpenApiSchemas(OpenApiComments comments)
{
    private static readonly JsonSerializerOptions Read = new(RequestBody.StrictOptions) { TypeInfoResolver = new DefaultJsonTypeInfoResolver() };

    private static readonly JsonSerializerOptions Written = new(JsonSerializerDefaults.Web)
    {
        TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
        RespectNullableAnnotations = true,
        NumberHandling = JsonNumberHandling.Strict,
    };

    private readonly Dictionary<(Type, bool), string> _names = [];

    public JsonObject Components { get; } = [];

    /// <param name="isRead">It is what a client sends; else what it gets.</param>
    public JsonNode Of(Type type, bool isRead)
    {
        var options = isRead ? Read : Written;
        if (IsComponent(options.GetTypeInfo(type)))
            return Reference(type, isRead);
        return Normal(options.GetJsonSchemaAsNode(type, Exporter(isRead)));
    }

    /// <summary>A query parameter's schema: it has no null.</summary>
    public JsonObject OfParameter(Type type, PropertyInfo? property)
    {
        var schema = (JsonObject)Of(Nullable.GetUnderlyingType(type) ?? type, isRead: true);
        if (schema["type"] is JsonArray)
            schema["type"] = "string";
        Narrow(schema, property);
        return schema;
    }

    private JsonObject Reference(Type type, bool isRead)
    {
        if (!_names.TryGetValue((type, isRead), out var name))
        {
            name = FreeName(type, isRead);
            _names[(type, isRead)] = name;
            // A place for it first: it may refer to itself.
            Components[name] = new JsonObject();
            var schema = (JsonObject)Normal((isRead ? Read : Written).GetJsonSchemaAsNode(type, Exporter(isRead)));
            if (comments.Of(type) is { } summary)
                schema.Insert(0, "description", summary);
            Components[name] = schema;
        }

        return new() { ["$ref"] = $"#/components/schemas/{name}" };
    }

    /// <summary>As short as no other component has: two domains may each have a record of one name, and each may be read and written.</summary>
    private string FreeName(Type type, bool isRead)
    {
        var suffix = isRead ? "Body" : "Answer";
        var full = string.Concat(type.FullName!.Where(char.IsAsciiLetterOrDigit));
        string[] names = [type.Name, type.Name + suffix, full, full + suffix];
        return names.First(name => !Components.ContainsKey(name));
    }

    private JsonSchemaExporterOptions Exporter(bool isRead) => new()
    {
        TreatNullObliviousAsNonNullable = true,
        TransformSchemaNode = (context, node) => Transform(context, Normal(node), isRead),
    };

    private JsonObject Transform(JsonSchemaExporterContext context, JsonNode node, bool isRead)
    {
        var schema = (JsonObject)node;
        var info = context.TypeInfo;
        if (!context.Path.IsEmpty && IsComponent(info))
        {
            var reference = Reference(Nullable.GetUnderlyingType(info.Type) ?? info.Type, isRead);
            schema = schema["type"] is JsonArray ? new() { ["anyOf"] = new JsonArray(reference, new JsonObject { ["type"] = "null" }) } : reference;
        }
        else if (info.Kind == JsonTypeInfoKind.Object && !isRead)
        {
            // Written are all properties, but for those that an attribute leaves out.
            schema["required"] = new JsonArray([.. info.Properties
                .Where(p => p.Get is not null && p.AttributeProvider?.GetCustomAttributes(typeof(JsonIgnoreAttribute), true) is not [_, ..])
                .Select(p => JsonValue.Create(p.Name))]);
        }

        if (schema.TryGetPropertyValue("default", out var none) && none is null)
            schema.Remove("default");
        if (context.PropertyInfo?.AttributeProvider is not PropertyInfo property)
            return schema;
        Narrow(schema, property);
        if (comments.Of(property) is { } summary)
            schema["description"] = summary;
        return schema;
    }

    private static bool IsComponent(JsonTypeInfo info) => info.Kind == JsonTypeInfoKind.Object;

    // True is how the exporter writes "anything".
    private static JsonNode Normal(JsonNode node) => node is JsonValue ? new JsonObject() : node;

    /// <summary>The attributes of a property, and of the parameter of its record that it is made from.</summary>
    internal static IEnumerable<Attribute> AttributesOf(PropertyInfo? property) => property is null ? [] :
    [
        .. property.GetCustomAttributes(),
        .. property.DeclaringType!.GetConstructors().SelectMany(c => c.GetParameters()).Where(p => p.Name == property.Name).SelectMany(p => p.GetCustomAttributes()),
    ];

    private static void Narrow(JsonObject schema, PropertyInfo? property)
    {
        var isText = schema["type"] is { } type && (type is JsonArray any ? any.Any(t => (string?)t == "string") : (string?)type == "string");
        foreach (var attribute in AttributesOf(property))
        {
            switch (attribute)
            {
                case RangeAttribute range:
                    schema["minimum"] = Number(range.Minimum);
                    schema["maximum"] = Number(range.Maximum);
                    break;
                case StringLengthAttribute length:
                    Length(length.MinimumLength, length.MaximumLength);
                    break;
                case LengthAttribute length:
                    Length(length.MinimumLength, length.MaximumLength);
                    break;
                case MaxLengthAttribute length:
                    schema[isText ? "maxLength" : "maxItems"] = length.Length;
                    break;
                case MinLengthAttribute length:
                    schema[isText ? "minLength" : "minItems"] = length.Length;
                    break;
                case EmailAddressAttribute:
                    schema["format"] = "email";
                    break;
                case UrlAttribute:
                    schema["format"] = "uri";
                    break;
                case RegularExpressionAttribute pattern:
                    schema["pattern"] = $"^(?:{pattern.Pattern})$";
                    break;
                case AllowedValuesAttribute allowed:
                    schema["enum"] = new JsonArray([.. allowed.Values.Select(Value)]);
                    break;
                // What a field that is empty shows to tell what goes there.
                case DisplayAttribute { Prompt: { } example }:
                    schema["examples"] = new JsonArray(example);
                    break;
                case DefaultValueAttribute value:
                    schema["default"] = Value(value.Value);
                    break;
            }
        }

        void Length(int low, int high)
        {
            if (low > 0)
                schema[isText ? "minLength" : "minItems"] = low;
            schema[isText ? "maxLength" : "maxItems"] = high;
        }
    }

    private static JsonValue Number(object bound) => JsonValue.Create(Convert.ToDecimal(bound, CultureInfo.InvariantCulture));

    private static JsonNode? Value(object? value) => JsonSerializer.SerializeToNode(value, Written);
}
