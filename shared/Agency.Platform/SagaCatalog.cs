using System.Reflection;
using Microsoft.Extensions.DependencyInjection;

namespace Agency.Platform;

/// <summary>The sagas and activities that this process can run.</summary>
public sealed class SagaCatalog
{
    private readonly Dictionary<string, ObjectFactory> _activities = [];

    /// <param name="definitions">The sagas.</param>
    /// <param name="activities">Classes with <see cref="ActivityAttribute"/>.</param>
    /// <exception cref="InvalidOperationException">
    /// Two sagas or two activities have one name, an activity has none, a saga has no steps or calls an activity that is not there.
    /// </exception>
    public SagaCatalog(IEnumerable<SagaDefinition> definitions, IEnumerable<Type> activities)
    {
        foreach (var type in activities)
        {
            var names = type.GetCustomAttributes<ActivityAttribute>().Select(a => a.Name).ToList();
            if (names.Count == 0)
                throw new InvalidOperationException($"The activity {type.Name} needs [Activity(...)], the name that steps call it by.");
            foreach (var name in names)
                if (!_activities.TryAdd(name, ActivatorUtilities.CreateFactory(type, [])))
                    throw new InvalidOperationException($"Two activities are named {name}; {type.Name} is one of them.");
        }

        var sagas = new HashSet<string>();
        foreach (var definition in definitions)
        {
            if (!sagas.Add(definition.Name))
                throw new InvalidOperationException($"Two sagas are named {definition.Name}.");
            if (definition.Steps.Count == 0)
                throw new InvalidOperationException($"Saga {definition.Name} has no steps.");
            if (definition.Activities().FirstOrDefault(name => !_activities.ContainsKey(name)) is { } missing)
                throw new InvalidOperationException(
                    $"Saga {definition.Name} calls the activity {missing}, but no class of its app or domain has [Activity(\"{missing}\")].");
        }

        Names = [.. sagas.Order(StringComparer.Ordinal)];
    }

    /// <summary>The sagas defined here: those that a worker of this process takes on.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>A new activity, its constructor's arguments taken from the scope; null when this process has none of the name.</summary>
    public IActivity? Create(string name, IServiceProvider scope) =>
        _activities.TryGetValue(name, out var create) ? (IActivity)create(scope, null) : null;

    /// <summary>What the function apps of this process, and their domains, have.</summary>
    /// <inheritdoc cref="SagaCatalog(IEnumerable{SagaDefinition}, IEnumerable{Type})"/>
    public static SagaCatalog Of(FunctionApps apps, IServiceProvider services) => new(
        apps.Implementing<ISaga>().Select(type => ((ISaga)services.GetRequiredService(type)).Definition),
        FunctionApps.Implementing<IActivity>(apps.WithDomains()));
}
