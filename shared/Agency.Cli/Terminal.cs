using Spectre.Console;

namespace Agency.Cli;

/// <summary>Where a command writes: results to the output, progress and errors to the other. Plain lines when nobody watches.</summary>
internal sealed class Terminal
{
    private const int PlainWidth = 120;
    private readonly IAnsiConsole _progress;
    private readonly IAnsiConsole _console;

    public Terminal(TextWriter output, TextWriter error, bool isInteractive)
    {
        (Output, Error, IsInteractive) = (output, error, isInteractive);
        (_console, _progress) = (Create(output), Create(error));

        IAnsiConsole Create(TextWriter writer)
        {
            var console = AnsiConsole.Create(new AnsiConsoleSettings
            {
                Ansi = isInteractive ? AnsiSupport.Detect : AnsiSupport.No,
                Interactive = isInteractive ? InteractionSupport.Detect : InteractionSupport.No,
                Out = new AnsiConsoleOutput(writer),
            });
            if (!isInteractive)
                console.Profile.Width = PlainWidth;
            return console;
        }
    }

    public TextWriter Output { get; }

    public TextWriter Error { get; }

    /// <summary>True when a person watches, so that lines may be redrawn.</summary>
    public bool IsInteractive { get; }

    public static Terminal OfThisProcess() => new(Console.Out, Console.Error, !Console.IsOutputRedirected && !Console.IsErrorRedirected);

    /// <summary>Shows that something is under way while <paramref name="work"/> runs; it may say what by calling its argument.</summary>
    public async Task<T> StepAsync<T>(string title, Func<Action<string>, Task<T>> work)
    {
        if (IsInteractive)
            return await _progress.Status().StartAsync(Markup.Escape(title), status => work(text => status.Status(Markup.Escape(text))));
        var last = "";
        Say(title);
        return await work(Say);

        void Say(string text)
        {
            if (text != last)
                Error.WriteLine($"{text} ...");
            last = text;
        }
    }

    /// <summary>Shows how far <paramref name="work"/> is; it reports a share from 0 to 1 and a few words.</summary>
    public async Task<T> ProgressAsync<T>(string title, Func<Action<double, string>, Task<T>> work)
    {
        if (IsInteractive)
            return await _progress.Progress()
                .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn())
                .StartAsync(progress =>
                {
                    var task = progress.AddTask(Markup.Escape(title), maxValue: 1);
                    return work((share, text) =>
                    {
                        task.Value = share;
                        task.Description = Markup.Escape(text);
                    });
                });
        var told = DateTime.UtcNow;
        Error.WriteLine($"{title} ...");
        return await work((share, text) =>
        {
            if (DateTime.UtcNow - told < TimeSpan.FromSeconds(1))
                return;
            told = DateTime.UtcNow;
            Error.WriteLine(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{share * 100,3:0} %  {text}"));
        });
    }

    /// <summary>Prints rows of a name and a value.</summary>
    public void Table(string title, IEnumerable<(string Name, string Value)> rows)
    {
        var table = new Table { Title = new TableTitle(Markup.Escape(title)), Border = TableBorder.Rounded, ShowHeaders = false };
        table.AddColumns("", "");
        foreach (var (name, value) in rows)
            table.AddRow(Markup.Escape(name), Markup.Escape(value));
        _console.Write(table);
    }
}
