using System.Diagnostics;
using Agency.Embedded;
using Agency.Hosting;
using Agency.Testing;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Agency.Sagas.Tests;

/// <summary>This assembly run as a program: a worker of its sagas in a process of its own, which a test may kill.</summary>
internal sealed class SagaHost : IDisposable
{
    private readonly Process _process;

    private SagaHost(Process process) => _process = process;

    /// <summary>True in a process that is there to be killed.</summary>
    public static bool MayDie { get; private set; }

    public bool IsRunning => !_process.HasExited;

    public static async Task Main(string[] args)
    {
        MayDie = true;
        var builder = FunctionsApplication.CreateBuilder(args);
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        builder.Configuration["Logging:LogLevel:Default"] = "Critical";
        builder.ConfigureFunctionsWebApplication();
        builder.AddAgency();
        builder.Services.AddSingleton(EmbeddedSagasOptions.Default with { Lease = TimeSpan.FromSeconds(1) });
        await builder.Build().RunAsync();
    }

    public static SagaHost Start(TestDatabase database, string home)
    {
        var start = new ProcessStartInfo("dotnet", [typeof(SagaHost).Assembly.Location]) { WorkingDirectory = home };
        start.Environment["AGENCY_HOME"] = home;
        start.Environment["ConnectionStrings__App"] = database.Settings.App;
        start.Environment["ConnectionStrings__System"] = database.Settings.System;
        start.Environment.Remove("AGENCY_POSTGRES");
        return new(Process.Start(start)!);
    }

    /// <summary>SIGKILL, and the end of the process.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        if (IsRunning)
            Kill();
        _process.Dispose();
    }
}
