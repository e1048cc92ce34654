namespace Agency.Platform;

/// <summary>On whose behalf this scope runs: filled in from the bearer token, or from the record or saga that started it.</summary>
public sealed class Caller
{
    /// <summary>The organisation whose rows may be seen. Empty until known, and then no row is seen.</summary>
    public string Tenant { get; private set; } = "";

    /// <summary>The user or machine; for work that no request started, the name of the function.</summary>
    public string Subject { get; private set; } = "";

    public IReadOnlySet<string> Scopes { get; private set; } = new HashSet<string>();

    /// <summary>True for who has come with a token or a key that allows something; work that no such request started needs no scopes.</summary>
    public bool IsClient => Scopes.Count > 0;

    /// <summary>For work that no request started.</summary>
    public static Caller Of(string tenant, string subject)
    {
        var caller = new Caller();
        caller.Become(tenant, subject);
        return caller;
    }

    public void Become(string tenant, string subject, IReadOnlySet<string>? scopes = null)
    {
        Tenant = tenant;
        Subject = subject;
        Scopes = scopes ?? new HashSet<string>();
    }
}

/// <summary>The scope that a token must hold to call this function.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequireScopeAttribute(string scope) : Attribute
{
    public string Scope { get; } = scope;
}
