using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Agency.Platform;

/// <summary>The XML documentation that the compiler leaves beside each assembly, as CommonMark. An assembly without has no comments.</summary>
internal sealed partial class OpenApiComments
{
    private readonly Dictionary<Assembly, Dictionary<string, string>> _summaries = [];

    public string? Of(Type type) => Find(type.Assembly, $"T:{type.FullName}");

    /// <summary>Of the property, or of the one it overrides or hides in a base record.</summary>
    public string? Of(PropertyInfo property)
    {
        for (var type = property.ReflectedType; type is not null; type = type.BaseType)
            if (Find(type.Assembly, $"P:{type.FullName}.{property.Name}") is { } summary)
                return summary;
        return null;
    }

    private string? Find(Assembly assembly, string member)
    {
        if (!_summaries.TryGetValue(assembly, out var summaries))
            _summaries[assembly] = summaries = Read(Path.ChangeExtension(assembly.Location, ".xml"));
        return summaries.GetValueOrDefault(member);
    }

    private static Dictionary<string, string> Read(string file) => !File.Exists(file) ? [] : XDocument.Load(file).Descendants("member")
        .Where(m => m.Element("summary") is not null)
        .ToDictionary(m => (string)m.Attribute("name")!, m => Text(m.Element("summary")!), StringComparer.Ordinal);

    private static string Text(XElement element)
    {
        var text = new StringBuilder();
        foreach (var node in element.Nodes())
            text.Append(node switch
            {
                XText plain => plain.Value,
                XElement { Name.LocalName: "c" } code => $"`{code.Value}`",
                XElement { Name.LocalName: "see" } see => ((string?)see.Attribute("cref") ?? "").Split('.', ':')[^1],
                XElement { Name.LocalName: "paramref" } parameter => (string?)parameter.Attribute("name"),
                _ => "",
            });
        return Spaces().Replace(text.ToString(), " ").Trim();
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
