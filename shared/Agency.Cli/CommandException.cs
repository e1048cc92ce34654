namespace Agency.Cli;

/// <summary>A command cannot go on. The message is a sentence for the person at the terminal.</summary>
public sealed class CommandException(string message, int exitCode = CommandException.Failed) : Exception(message)
{
    public const int Failed = 1;
    public const int Usage = 2;
    public const int Partly = 3;

    /// <summary>What the process returns: 1 failed, 2 wrong usage, 3 done in part.</summary>
    public int ExitCode { get; } = exitCode;
}
