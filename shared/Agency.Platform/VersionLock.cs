namespace Agency.Platform;

/// <summary>How a change of a versioned row begins.</summary>
public static class VersionLock
{
    /// <summary>Locks the row until the transaction ends, so that of two changes with one entity tag the second finds the first's version.</summary>
    /// <param name="work">In its transaction.</param>
    /// <param name="row">What follows <c>select version from</c>: the table, and the condition that finds the one row.</param>
    /// <param name="expected">What <see cref="Conditions.IfMatch"/> has answered.</param>
    /// <param name="what">What the row is, for 404.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>The row's version.</returns>
    /// <exception cref="ProblemException">404: there is none; 412: somebody has changed it since.</exception>
    public static async Task<long> LockVersionAsync(this UnitOfWork work, Sql row, long[]? expected, string what, CancellationToken cancel)
    {
        var version = await work.QueryFirstAsync($"select version from {row} for update", found => found.GetInt64(0), cancel);
        return Conditions.Refusal(expected, version, what) is { } refusal ? throw new ProblemException(refusal) : version;
    }
}
