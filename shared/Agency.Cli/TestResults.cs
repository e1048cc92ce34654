using System.Xml.Linq;

namespace Agency.Cli;

/// <summary>What the test projects' TRX files say, together.</summary>
/// <param name="Failures">Each failed test's name and what it says.</param>
/// <param name="Skips">Each skipped test's name and reason.</param>
internal sealed record TestResults(int Passed, IReadOnlyList<(string Test, string Reason)> Failures, IReadOnlyList<(string Test, string Reason)> Skips)
{
    private static readonly XNamespace Trx = "http://microsoft.com/schemas/VisualStudio/TeamTest/2010";

    public int Count => Passed + Failures.Count + Skips.Count;

    /// <exception cref="CommandException">A file is not TRX.</exception>
    public static TestResults Read(IEnumerable<string> files)
    {
        var passed = 0;
        var (failures, skips) = (new List<(string, string)>(), new List<(string, string)>());
        foreach (var file in files)
        {
            XDocument document;
            try
            {
                document = XDocument.Load(file);
            }
            catch (System.Xml.XmlException broken)
            {
                throw new CommandException($"The test results in {file} cannot be read: {broken.Message}");
            }

            foreach (var result in document.Descendants(Trx + "UnitTestResult"))
                switch ((string?)result.Attribute("outcome"))
                {
                    case "Passed":
                        passed++;
                        break;
                    case "NotExecuted":
                        skips.Add(Describe(result));
                        break;
                    default:
                        failures.Add(Describe(result));
                        break;
                }
        }

        return new(passed, failures, skips);
    }

    private static (string Test, string Reason) Describe(XElement result)
    {
        var reason = (string?)result.Descendants(Trx + "Message").FirstOrDefault() ?? (string?)result.Descendants(Trx + "StdOut").FirstOrDefault();
        return ((string?)result.Attribute("testName") ?? "?", reason?.Trim() ?? "no reason given");
    }

    public override string ToString() =>
        string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Passed} passed, {Failures.Count} failed, {Skips.Count} skipped");
}
