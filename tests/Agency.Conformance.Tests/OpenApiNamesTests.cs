using System.Text.Json.Nodes;
using Agency.Platform;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Conformance.Tests
{
    /// <summary>Domains do not know of each other, and so may give their records the same name.</summary>
    public sealed class OpenApiNamesTests
    {
        [Fact]
        public void Records_of_one_name_in_several_domains_have_a_component_each()
        {
            var root = (JsonObject)JsonNode.Parse(OpenApiDocument.Of(new FunctionApps([typeof(OpenApiNamesTests).Assembly])))!;
            foreach (var (path, field) in new[] { ("/first", "one"), ("/second", "two"), ("/third", "three") })
            {
                var operation = root["paths"]![path]!["post"]!;
                foreach (var content in new[] { operation["requestBody"]!, operation["responses"]!["200"]! })
                {
                    var schema = ApiDocument.Resolve(root, content["content"]!["application/json"]!["schema"]!);
                    Assert.Equal([field], ((JsonObject)schema["properties"]!).Select(p => p.Key));
                }
            }
        }
    }
}

namespace Agency.Conformance.Tests.First
{
    public sealed record Twin(string One);

    /// <summary>A first.</summary>
    public sealed class First
    {
        [Function(nameof(First)), AllowAnonymous, Operation(Body = typeof(Twin), Answer = typeof(Twin))]
        public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "first")] HttpRequest http) => Answer.NoContent();
    }
}

namespace Agency.Conformance.Tests.Second
{
    public sealed record Twin(string Two);

    /// <summary>A second.</summary>
    public sealed class Second
    {
        [Function(nameof(Second)), AllowAnonymous, Operation(Body = typeof(Twin), Answer = typeof(Twin))]
        public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "second")] HttpRequest http) => Answer.NoContent();
    }
}

namespace Agency.Conformance.Tests.Third
{
    public sealed record Twin(string Three);

    /// <summary>A third.</summary>
    public sealed class Third
    {
        [Function(nameof(Third)), AllowAnonymous, Operation(Body = typeof(Twin), Answer = typeof(Twin))]
        public IResult Run([HttpTrigger(AuthorizationLevel.Anonymous, "post", Route = "third")] HttpRequest http) => Answer.NoContent();
    }
}
