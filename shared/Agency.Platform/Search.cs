namespace Agency.Platform;

/// <summary>What can be found.</summary>
/// <param name="Index">The index it is in, such as <c>users</c>.</param>
/// <param name="Id">Unique in its index.</param>
/// <param name="Version">The aggregate's version that this tells of; an older one than is known changes nothing.</param>
/// <param name="Title">What it is called; a match here counts for more.</param>
/// <param name="Text">What else it can be found by.</param>
/// <param name="Content">JSON, handed back with a hit as it is.</param>
public sealed record SearchDocument(string Index, string Id, long Version, string Title, string Text, ReadOnlyMemory<byte> Content);

/// <param name="Score">From 0 to 1, comparable within one search only.</param>
/// <param name="Content">The document's, as JSON.</param>
public sealed record SearchHit(string Id, double Score, ReadOnlyMemory<byte> Content);

/// <summary>
/// The port of full-text search. Everything is of the caller's organisation. A change is applied when its version is above the one
/// known, so that late and repeated events do no harm; a deletion leaves its version behind for that.
/// </summary>
public interface ISearch
{
    /// <summary>How many words of a query count.</summary>
    const int MaxWords = 8;

    Task UpsertAsync(SearchDocument document, CancellationToken cancel);

    Task DeleteAsync(string index, string id, long version, CancellationToken cancel);

    /// <summary>
    /// The documents in which each word of <paramref name="query"/> is found: as a word, as the beginning of one, or with a typo
    /// (one wrong, missing, added or swapped letter in words of three to five letters, two in longer ones; none in a
    /// word with a digit, which is a code). Case and accents do not count.
    /// Best first; one that matches as typed comes before one that matches with typos.
    /// </summary>
    Task<IReadOnlyList<SearchHit>> FindAsync(string index, string query, int limit, CancellationToken cancel);
}
