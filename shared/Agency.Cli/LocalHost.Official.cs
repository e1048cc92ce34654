namespace Agency.Cli;

/// <summary>The official worker runs inside the Functions host only: this build has no local host.</summary>
internal static class LocalHost
{
    /// <exception cref="CommandException">Always: it says what to use instead.</exception>
    public static Task RunAsync(Workspace workspace, Terminal terminal, CancellationToken cancel) => throw new CommandException(
        "This build uses the official Azure Functions worker, which has no local host; run 'dotnet run -p:OfficialSdks=true' in an app's folder, such as functions/users/CreateUser.");
}
