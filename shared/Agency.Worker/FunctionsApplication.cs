using System.Reflection;
using Agency.Worker;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Azure.Functions.Worker.Builder;
using Microsoft.Azure.Functions.Worker.Middleware;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Microsoft.Azure.Functions.Worker.Builder
{
    public static class FunctionsApplication
    {
        /// <summary>A builder for a worker that runs the functions of the program's own assembly.</summary>
        public static FunctionsApplicationBuilder CreateBuilder(string[] args) => new(args);
    }

    /// <summary>What a middleware is added to.</summary>
    public interface IFunctionsWorkerApplicationBuilder
    {
        IServiceCollection Services { get; }

        IFunctionsWorkerApplicationBuilder Use(Func<FunctionExecutionDelegate, FunctionExecutionDelegate> middleware);
    }

    /// <summary>Builds the portable worker: Kestrel, the functions it finds, and what feeds their triggers.</summary>
    public sealed class FunctionsApplicationBuilder : IHostApplicationBuilder, IFunctionsWorkerApplicationBuilder
    {
        private readonly WebApplicationBuilder _web;
        private readonly List<Func<FunctionExecutionDelegate, FunctionExecutionDelegate>> _middleware = [];

        internal FunctionsApplicationBuilder(string[] args)
        {
            _web = WebApplication.CreateSlimBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
            LocalSettings.Add(_web.Configuration, Directory.GetCurrentDirectory());
        }

        public IServiceCollection Services => _web.Services;

        public ConfigurationManager Configuration => _web.Configuration;

        IConfigurationManager IHostApplicationBuilder.Configuration => _web.Configuration;

        public IHostEnvironment Environment => _web.Environment;

        public ILoggingBuilder Logging => _web.Logging;

        public IMetricsBuilder Metrics => _web.Metrics;

        IDictionary<object, object> IHostApplicationBuilder.Properties => ((IHostApplicationBuilder)_web).Properties;

        /// <summary>The assemblies whose functions run. The program's own unless a host of many apps says otherwise.</summary>
        internal IReadOnlyList<Assembly> Apps { get; set; } = [Assembly.GetEntryAssembly()!];

        public void ConfigureContainer<TContainerBuilder>(
            IServiceProviderFactory<TContainerBuilder> factory, Action<TContainerBuilder>? configure = null)
            where TContainerBuilder : notnull => ((IHostApplicationBuilder)_web).ConfigureContainer(factory, configure);

        public IFunctionsWorkerApplicationBuilder Use(Func<FunctionExecutionDelegate, FunctionExecutionDelegate> middleware)
        {
            _middleware.Add(middleware);
            return this;
        }

        /// <summary>Finds and compiles the functions.</summary>
        /// <exception cref="InvalidOperationException">A function cannot be bound, or a <c>%Setting%</c> of a trigger is missing.</exception>
        public IHost Build()
        {
            _web.WebHost.ConfigureKestrel(kestrel => kestrel.AddServerHeader = false);
            if (_web.Configuration[WebHostDefaults.ServerUrlsKey] is null)
                _web.WebHost.UseUrls($"http://127.0.0.1:{_web.Configuration["AGENCY_PORT"] ?? "7071"}");
            var functions = Function.Find(Apps);
            Services.AddSingleton(new FunctionHost(functions, _middleware, Configuration));
            Services.AddHostedService<TriggerService>();
            Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(30));
            var app = _web.Build();
            app.Services.GetRequiredService<FunctionHost>().Map(app);
            return app;
        }
    }
}

namespace Microsoft.Extensions.Hosting
{
    public static class FunctionsWorkerExtensions
    {
        /// <summary>Requests are plain ASP.NET Core requests. The portable worker knows no other kind, so this only mirrors the official call.</summary>
        public static FunctionsApplicationBuilder ConfigureFunctionsWebApplication(this FunctionsApplicationBuilder builder) => builder;

        /// <summary>Runs <typeparamref name="T"/> around every function, in the order of the calls.</summary>
        public static IFunctionsWorkerApplicationBuilder UseMiddleware<T>(this IFunctionsWorkerApplicationBuilder builder)
            where T : class, IFunctionsWorkerMiddleware
        {
            builder.Services.AddSingleton<T>();
            return builder.Use(next => context => context.InstanceServices.GetRequiredService<T>().Invoke(context, next));
        }
    }
}

namespace Agency.Worker
{
    public static class FunctionAppExtensions
    {
        /// <summary>Runs the functions of many apps in this one process.</summary>
        public static FunctionsApplicationBuilder UseFunctionApps(this FunctionsApplicationBuilder builder, params IReadOnlyList<Assembly> apps)
        {
            builder.Apps = apps;
            return builder;
        }
    }
}
