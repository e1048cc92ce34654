using System.Reflection;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Conformance.Tests;

/// <summary>The document itself: whole, well formed and true to the functions.</summary>
[Collection(InOneWorld.Name)]
public sealed partial class OpenApiTests(World world)
{
    private static readonly string[] Verbs = ["get", "put", "post", "delete", "patch"];

    [Fact]
    public void Every_http_function_is_described_once()
    {
        var functions = World.Apps.SelectMany(a => a.GetExportedTypes()).SelectMany(t => t.GetMethods())
            .Where(m => m.GetParameters().Any(p => p.GetCustomAttribute<HttpTriggerAttribute>() is not null))
            .Select(m => m.GetCustomAttribute<FunctionAttribute>()!.Name);
        Assert.Equal(functions.Order(StringComparer.Ordinal), world.Document.Operations.Select(o => o.Id).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void The_document_has_the_structure_of_OpenAPI_3_1()
    {
        var root = world.Document.Root;
        Assert.Matches("^3\\.1\\.\\d+$", (string?)root["openapi"]);
        Assert.Subset(new HashSet<string> { "openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security", "tags", "externalDocs" }, Keys(root));
        Assert.False(string.IsNullOrWhiteSpace((string?)root["info"]!["title"]));
        Assert.False(string.IsNullOrWhiteSpace((string?)root["info"]!["version"]));
        var tags = root["tags"]!.AsArray().Select(t => (string)t!["name"]!).ToHashSet();
        foreach (var (path, item) in (JsonObject)root["paths"]!)
        {
            Assert.StartsWith("/", path, StringComparison.Ordinal);
            Assert.Subset(new HashSet<string>([.. Verbs, "summary", "description", "servers", "parameters"]), Keys((JsonObject)item!));
            foreach (var (_, operation) in (JsonObject)item!)
                CheckOperation(path, (JsonObject)operation!, tags);
        }
    }

    [Fact]
    public void Every_reference_leads_somewhere_and_every_component_is_used()
    {
        var references = new HashSet<string>();
        Walk(world.Document.Root, node =>
        {
            if ((string?)node["$ref"] is { } reference)
                references.Add(reference);
        });
        foreach (var reference in references)
            Assert.NotNull(ApiDocument.Resolve(world.Document.Root, new JsonObject { ["$ref"] = reference }));
        foreach (var kind in new[] { "schemas", "responses", "headers" })
            Assert.All(Keys((JsonObject)world.Document.Root["components"]![kind]!), name => Assert.Contains($"#/components/{kind}/{name}", references));
    }

    [Fact]
    public void Schemas_hold_what_JSON_Schema_knows_only()
    {
        HashSet<string> known =
        [
            "$ref", "type", "format", "enum", "const", "default", "description", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf",
            "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "uniqueItems", "examples",
        ];
        HashSet<string> types = ["object", "array", "string", "integer", "number", "boolean", "null"];
        foreach (var schema in Schemas())
        {
            Assert.Subset(known, Keys(schema));
            Assert.Subset(types, JsonSchema.Types(schema).ToHashSet());
            if (schema["required"] is JsonArray required)
                Assert.Subset(Keys((JsonObject)schema["properties"]!), required.Select(r => (string)r!).ToHashSet());
            if ((string?)schema["pattern"] is { } pattern)
                Assert.NotNull(new Regex(pattern));
        }
    }

    [Fact]
    public void A_body_takes_no_other_fields_than_it_says()
    {
        foreach (var operation in world.Document.Operations.Where(o => o.Body?["properties"] is not null))
            Assert.False((bool?)operation.Body!["additionalProperties"], operation.Name);
    }

    [Fact]
    public void A_body_made_from_its_schema_is_read_by_the_serializer_of_its_command()
    {
        foreach (var method in World.Apps.SelectMany(a => a.GetExportedTypes()).SelectMany(t => t.GetMethods()))
        {
            if (method.GetCustomAttribute<OperationAttribute>() is not { Body: { } command })
                continue;
            var operation = world.Document.Operations.Single(o => o.Id == method.GetCustomAttribute<FunctionAttribute>()!.Name);
            var body = world.ValidBody(operation, optional: true);
            Assert.Null(world.Schema.Wrong(operation.Body!, body));
            var read = System.Text.Json.JsonSerializer.Deserialize(body, command, System.Text.Json.JsonSerializerOptions.Web);
            Assert.NotNull(read);
            // Whatever was sent is in what was read.
            var written = System.Text.Json.JsonSerializer.SerializeToNode(read, command, System.Text.Json.JsonSerializerOptions.Web);
            if (body is JsonObject fields && written is JsonObject again)
                Assert.Subset(Keys(again), Keys(fields));
        }
    }

    [Fact]
    public void Operations_have_a_summary_and_a_tag_of_their_domain()
    {
        foreach (var operation in world.Document.Operations)
        {
            var says = (JsonObject)world.Document.Root["paths"]![operation.Template]![VerbOf(operation)]!;
            Assert.False(string.IsNullOrWhiteSpace((string?)says["summary"]), operation.Name);
            Assert.NotEqual(operation.Id, (string?)says["summary"]);
            Assert.Single(says["tags"]!.AsArray());
        }
    }

    [Fact]
    public async Task The_document_is_served_with_an_entity_tag()
    {
        var first = await world.SendAsync(new(HttpMethod.Get, "/openapi.json"));
        Assert.Equal((200, "application/json"), (first.Status, first.MediaType));
        var second = await world.SendAsync(new(HttpMethod.Get, "/openapi.json") { Headers = [("If-None-Match", first.Header("ETag")!)] });
        Assert.Equal((304, 0), (second.Status, second.Body.Length));
    }

    private static string VerbOf(Operation operation) => Verbs.Single(v => v.Equals(operation.Method.Method, StringComparison.OrdinalIgnoreCase));

    private void CheckOperation(string path, JsonObject operation, HashSet<string> tags)
    {
        Assert.Subset(
            new HashSet<string> { "tags", "summary", "description", "externalDocs", "operationId", "parameters", "requestBody", "responses", "callbacks", "deprecated", "security", "servers" },
            Keys(operation));
        Assert.Subset(tags, operation["tags"]!.AsArray().Select(t => (string)t!).ToHashSet());
        var parameters = (operation["parameters"] as JsonArray ?? []).Select(p => (JsonObject)p!).ToList();
        Assert.Equal(parameters.Count, parameters.DistinctBy(p => ((string?)p["name"], (string?)p["in"])).Count());
        Assert.All(parameters, p =>
        {
            Assert.Contains((string?)p["in"], new[] { "path", "query", "header" });
            Assert.NotNull(p["schema"]);
        });
        Assert.Equal(
            Placeholder().Matches(path).Select(m => m.Groups[1].Value).Order(StringComparer.Ordinal),
            parameters.Where(p => (string?)p["in"] == "path" && (bool?)p["required"] == true).Select(p => (string)p["name"]!).Order(StringComparer.Ordinal));
        foreach (var (status, response) in (JsonObject)operation["responses"]!)
        {
            Assert.Matches("^([1-5][0-9][0-9]|default)$", status);
            Assert.False(string.IsNullOrWhiteSpace((string?)ApiDocument.Resolve(world.Document.Root, response!)["description"]));
        }

        foreach (var requirement in operation["security"]!.AsArray())
            Assert.All(Keys((JsonObject)requirement!), scheme => Assert.NotNull(world.Document.Root["components"]!["securitySchemes"]![scheme]));
    }

    private List<JsonObject> Schemas()
    {
        var schemas = new List<JsonObject>();
        Walk(world.Document.Root, node =>
        {
            if (node["schema"] is JsonObject schema)
                Inside(schema, schemas.Add);
        });
        foreach (var (_, schema) in (JsonObject)world.Document.Root["components"]!["schemas"]!)
            Inside((JsonObject)schema!, schemas.Add);
        return schemas;
    }

    private static void Inside(JsonObject schema, Action<JsonObject> visit)
    {
        visit(schema);
        var parts = (schema["properties"] as JsonObject ?? []).Select(p => p.Value)
            .Concat(schema["anyOf"] as JsonArray ?? []).Concat(schema["oneOf"] as JsonArray ?? [])
            .Append(schema["items"]).Append(schema["additionalProperties"]);
        foreach (var part in parts.OfType<JsonObject>())
            Inside(part, visit);
    }

    private static void Walk(JsonNode? node, Action<JsonObject> visit)
    {
        if (node is JsonObject fields)
        {
            visit(fields);
            foreach (var (_, value) in fields)
                Walk(value, visit);
        }
        else if (node is JsonArray items)
        {
            foreach (var item in items)
                Walk(item, visit);
        }
    }

    private static HashSet<string> Keys(JsonObject fields) => [.. fields.Select(f => f.Key)];

    [GeneratedRegex(@"\{(\w+)\}")]
    private static partial Regex Placeholder();
}
