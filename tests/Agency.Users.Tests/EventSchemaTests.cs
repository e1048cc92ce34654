using System.Text.Json.Nodes;
using Agency.Testing;

namespace Agency.Users.Tests;

public sealed class EventSchemaTests
{
    private const string Promised = """
        {"type":"object","properties":{"id":{"type":"string","format":"uuid"},"tags":{"type":"array","items":{"type":"string"}},
        "user":{"type":"object","properties":{"name":{"type":["string","null"]}}}},"required":["id"]}
        """;

    [Fact]
    public void Events_keep_the_schemas_they_were_published_with() =>
        Assert.Empty(EventSchemas.Check(typeof(UserDto).Assembly, "functions/users/Domain/Schemas"));

    [Theory]
    [InlineData("\"id\":{\"type\":\"string\",\"format\":\"uuid\"},", "", "/id is missing")]
    [InlineData("\"name\"", "\"fullName\"", "/user/name is missing")]
    [InlineData("\"items\":{\"type\":\"string\"}", "\"items\":{\"type\":\"integer\"}", "/tags/items had type")]
    [InlineData("[\"string\",\"null\"]", "\"string\"", "/user/name had type")]
    [InlineData("\"required\":[\"id\"]", "\"required\":[\"id\",\"tags\"]", "/tags is required")]
    [InlineData(",\"required\":[\"id\"]", "", "/id is not required any more")]
    public void An_incompatible_change_is_named(string from, string to, string expected)
    {
        using var folder = new Folder();
        File.WriteAllText(Path.Combine(folder.Path, "e.v1.json"), Promised);
        var now = JsonNode.Parse(Promised.Replace(from, to, StringComparison.Ordinal))!;
        var wrong = Assert.Single(EventSchemas.Check(new Dictionary<string, JsonNode> { ["e.v1"] = now }, folder.Path, write: true));
        Assert.Contains(expected, wrong, StringComparison.Ordinal);
        Assert.Equal(Promised, File.ReadAllText(Path.Combine(folder.Path, "e.v1.json")));
    }

    [Fact]
    public void A_new_optional_field_has_to_be_written_down_and_is_when_asked_for()
    {
        using var folder = new Folder();
        File.WriteAllText(Path.Combine(folder.Path, "e.v1.json"), Promised);
        var events = new Dictionary<string, JsonNode>
        {
            ["e.v1"] = JsonNode.Parse(Promised.Replace("\"properties\":{\"id\"", "\"properties\":{\"more\":{\"type\":\"string\"},\"id\"", StringComparison.Ordinal))!,
        };
        Assert.Contains(EventSchemas.WriteVariable + "=1", Assert.Single(EventSchemas.Check(events, folder.Path, write: false)), StringComparison.Ordinal);
        Assert.Empty(EventSchemas.Check(events, folder.Path, write: true));
        Assert.Empty(EventSchemas.Check(events, folder.Path, write: false));
    }

    [Fact]
    public void An_event_that_is_gone_is_named()
    {
        using var folder = new Folder();
        File.WriteAllText(Path.Combine(folder.Path, "e.v1.json"), Promised);
        Assert.Contains("e.v1 has a schema but no event", Assert.Single(EventSchemas.Check(new Dictionary<string, JsonNode>(), folder.Path, write: true)), StringComparison.Ordinal);
    }

    private sealed class Folder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("agency-schemas-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
