using System.Xml.Linq;

namespace Agency.Cli;

/// <summary>What the test projects' TRX files say, together.</summary>
/// <param name="Skips">Each skipped test's name and reason.</param>
internal sealed record TestResults(int Passed, int Failed, int Skipped, IReadOnlyList<(string Test, string Reason)> Skips)
{
    private static readonly XNamespace Trx = "http://microsoft.com/schemas/VisualStudio/TeamTest/2010";

    public int Count => Passed + Failed + Skipped;

    /// <exception cref="CommandException">A file is not TRX.</exception>
    public static TestResults Read(IEnumerable<string> files)
    {
        var (passed, failed) = (0, 0);
        var skips = new List<(string, string)>();
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
                        var reason = (string?)result.Descendants(Trx + "Message").FirstOrDefault() ?? (string?)result.Descendants(Trx + "StdOut").FirstOrDefault();
                        skips.Add(((string?)result.Attribute("testName") ?? "?", reason?.Trim() ?? "no reason given"));
                        break;
                    default:
                        failed++;
                        break;
                }
        }

        return new(passed, failed, skips.Count, skips);
    }

    public override string ToString() =>
        string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Passed} passed, {Failed} failed, {Skipped} skipped");
}
