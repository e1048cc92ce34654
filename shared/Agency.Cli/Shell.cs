using System.Diagnostics;
using System.Text;

namespace Agency.Cli;

/// <summary>Runs another program to its end.</summary>
internal static class Shell
{
    /// <summary>Runs <paramref name="program"/> and returns its exit code and everything it printed on both outputs.</summary>
    /// <param name="folder">The working directory; a program run as another user needs one which that user may enter.</param>
    /// <exception cref="CommandException">There is no such program.</exception>
    public static async Task<(int ExitCode, string Output)> RunAsync(
        string program, IEnumerable<string> arguments, string? folder, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder ?? "",
        };
        using var process = new Process { StartInfo = start };
        var output = new StringBuilder();
        process.OutputDataReceived += (_, line) => Add(line.Data);
        process.ErrorDataReceived += (_, line) => Add(line.Data);
        try
        {
            process.Start();
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            throw new CommandException($"{program} could not be started: {missing.Message}.");
        }

        process.StandardInput.Close();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        try
        {
            await process.WaitForExitAsync(cancel);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }

        lock (output)
            return (process.ExitCode, output.ToString().Trim());

        void Add(string? line)
        {
            if (line is not null)
                lock (output)
                    output.AppendLine(line);
        }
    }

    /// <summary>Runs dotnet on this terminal, so that its progress is seen as it happens, and returns its exit code.</summary>
    public static async Task<int> RunDotnetAsync(
        string folder, IEnumerable<string> arguments, Dictionary<string, string> environment, CancellationToken cancel)
    {
        var start = new ProcessStartInfo("dotnet", arguments) { WorkingDirectory = folder };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        using var process = Process.Start(start)!;
        try
        {
            await process.WaitForExitAsync(cancel);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }

        return process.ExitCode;
    }

    /// <summary>The program's full path, or null when no folder of PATH holds it.</summary>
    public static string? Find(string program) => PathFolders.Select(folder => Path.Combine(folder, Executable(program))).FirstOrDefault(File.Exists);

    public static IEnumerable<string> PathFolders =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);

    public static string Executable(string program) => OperatingSystem.IsWindows() ? program + ".exe" : program;
}
