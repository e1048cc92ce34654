namespace Agency.Cli.Tests;

/// <summary>A terminal nobody watches, whose text can be read.</summary>
internal sealed class Captured
{
    private readonly StringWriter _output = new();
    private readonly StringWriter _error = new();

    public Captured() => Terminal = new(TextWriter.Synchronized(_output), TextWriter.Synchronized(_error), isInteractive: false);

    public Terminal Terminal { get; }

    public string Output => _output.ToString();

    public string Error => _error.ToString();

    public string[] OutputLines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
