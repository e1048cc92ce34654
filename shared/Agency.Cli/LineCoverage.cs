using System.Globalization;
using System.Xml.Linq;

namespace Agency.Cli;

/// <summary>
/// Which lines of the repository's sources any test project ran: the union of their Cobertura reports. Generated files do not count.
/// </summary>
internal sealed class LineCoverage
{
    private readonly Dictionary<string, Dictionary<int, bool>> _files = [];

    /// <param name="root">The repository's folder; files elsewhere do not count.</param>
    /// <exception cref="CommandException">A report is not Cobertura.</exception>
    public static LineCoverage Read(string root, IEnumerable<string> reports)
    {
        var coverage = new LineCoverage();
        foreach (var report in reports)
        {
            try
            {
                coverage.Add(root, XDocument.Load(report));
            }
            catch (System.Xml.XmlException broken)
            {
                throw new CommandException($"The coverage report {report} cannot be read: {broken.Message}");
            }
        }

        return coverage;
    }

    /// <summary>Lines that ran and lines there are, in the files below these folders of the root.</summary>
    public (int Hit, int Lines) Below(params string[] folders)
    {
        var lines = _files.Where(file => folders.Any(folder => file.Key.StartsWith(folder + "/", StringComparison.Ordinal))).SelectMany(file => file.Value.Values).ToList();
        return (lines.Count(isHit => isHit), lines.Count);
    }

    /// <summary>The files with the most lines that no test ran.</summary>
    public IEnumerable<(string File, int Missed, int Lines)> Worst(int count, params string[] folders) => _files
        .Where(file => folders.Any(folder => file.Key.StartsWith(folder + "/", StringComparison.Ordinal)))
        .Select(file => (file.Key, Missed: file.Value.Values.Count(isHit => !isHit), file.Value.Count))
        .Where(file => file.Missed > 0)
        .OrderByDescending(file => file.Missed)
        .Take(count);

    private static bool IsGenerated(string path) =>
        path.EndsWith(".g.cs", StringComparison.Ordinal) || path.Split('/').Any(part => part is "obj" or "bin");

    private void Add(string root, XDocument report)
    {
        // A file's name is relative to one of the report's sources.
        var sources = report.Descendants("source").Select(source => source.Value).DefaultIfEmpty("").ToList();
        foreach (var type in report.Descendants("class"))
        {
            var name = (string?)type.Attribute("filename") ?? "";
            var path = sources.Select(source => Path.Combine(source, name)).FirstOrDefault(File.Exists);
            if (path is null)
                continue;
            var relative = Path.GetRelativePath(root, path).Replace('\\', '/');
            if (relative.StartsWith("../", StringComparison.Ordinal) || IsGenerated(relative))
                continue;
            if (!_files.TryGetValue(relative, out var lines))
                _files.Add(relative, lines = []);
            foreach (var line in type.Elements("lines").Elements("line"))
                if (int.TryParse((string?)line.Attribute("number"), CultureInfo.InvariantCulture, out var number))
                    lines[number] = lines.GetValueOrDefault(number) || (string?)line.Attribute("hits") is not (null or "0");
        }
    }
}
