using System.Globalization;
using System.Text;
using Agency.Platform;

namespace Agency.Embedded;

/// <summary>
/// Search on PostgreSQL alone: its index finds the candidates, and they are ranked here. Inside a transaction of the unit of work, a
/// change is part of it.
/// </summary>
public sealed class EmbeddedSearch(UnitOfWork work) : ISearch
{
    private const int MaxTitleWords = 20;
    private const int MaxTextWords = 60;

    public Task UpsertAsync(SearchDocument document, CancellationToken cancel) => PutAsync(document, deleted: false, cancel);

    public Task DeleteAsync(string index, string id, long version, CancellationToken cancel) =>
        PutAsync(new(index, id, version, "", "", "null"u8.ToArray()), deleted: true, cancel);

    public async Task<IReadOnlyList<SearchHit>> FindAsync(string index, string query, int limit, CancellationToken cancel)
    {
        var words = Words(query, ISearch.MaxWords);
        if (words.Length == 0)
            return [];
        var candidates = await work.QueryAsync(
            $"""
            select query.words, c.id, c.title, c.words, c.content
            from (select embedded.search_fold({words}) as words) as query, embedded.search_find({index}, query.words, {limit}) as c
            """,
            row => (
                Score: Score(row.GetFieldValue<string[]>(0), row.GetFieldValue<string[]>(2), row.GetFieldValue<string[]>(3)),
                Id: row.GetString(1),
                Content: row.GetFieldValue<byte[]>(4)),
            cancel);
        return
        [
            .. candidates.Where(c => c.Score > 0).OrderByDescending(c => c.Score).ThenBy(c => c.Id, StringComparer.Ordinal).Take(limit)
                .Select(c => new SearchHit(c.Id, c.Score, c.Content)),
        ];
    }

    /// <summary>The words of a text in lower case: runs of letters, digits and marks; an apostrophe does not end one.</summary>
    internal static string[] Words(string text, int atMost)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
        {
            if (Rune.IsLetterOrDigit(rune) || Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark)
                word.Append(Rune.ToLowerInvariant(rune).ToString());
            else if (rune.Value is not ('\'' or '\u2019'))
                End();
        }

        End();
        return [.. words.Take(atMost)];

        void End()
        {
            if (word.Length > 0)
                words.Add(word.ToString());
            word.Clear();
        }
    }

    /// <summary>
    /// How well a document answers a query, from 0 (a word is not in it) to 1 (the title is the query): the mean over the query's
    /// words of each one's best match, lowered a little when the title says more than was asked for.
    /// </summary>
    internal static double Score(string[] query, string[] title, string[] text)
    {
        if (query.AsSpan().SequenceEqual(title))
            return 1;
        var sum = 0.0;
        foreach (var word in query)
        {
            var best = Math.Max(Best(word, title), Best(word, text) - 0.1);
            if (best <= 0)
                return 0;
            sum += best;
        }

        return sum / query.Length * (0.9 + (0.09 * Math.Min(1.0, (double)query.Length / Math.Max(1, title.Length))));
    }

    // As it is: 1. As a beginning: 0.6 to 0.8, by how much of the word it is. With typos: under 0.5.
    private static double Best(string word, string[] among) => among.Length == 0 ? 0 : among.Max(other =>
        other == word ? 1
        : other.StartsWith(word, StringComparison.Ordinal) ? 0.6 + (0.2 * word.Length / other.Length)
        : Typos(word, other) is { } typos ? 0.5 * (1 - ((double)typos / word.Length))
        : 0);

    /// <summary>How many letters are wrong, missing, added or swapped with the next; null when more than the word may have.</summary>
    private static int? Typos(string word, string other)
    {
        var most = word.Length < 3 || word.AsSpan().ContainsAnyInRange('0', '9') ? 0 : word.Length < 6 ? 1 : 2;
        if (Math.Abs(word.Length - other.Length) > most)
            return null;
        // Optimal string alignment: three rows of the table of distances between beginnings.
        int[] before = [], last = [.. Enumerable.Range(0, other.Length + 1)];
        for (var i = 1; i <= word.Length; i++)
        {
            var row = new int[other.Length + 1];
            row[0] = i;
            for (var j = 1; j <= other.Length; j++)
            {
                row[j] = Math.Min(Math.Min(row[j - 1], last[j]) + 1, last[j - 1] + (word[i - 1] == other[j - 1] ? 0 : 1));
                if (i > 1 && j > 1 && word[i - 1] == other[j - 2] && word[i - 2] == other[j - 1])
                    row[j] = Math.Min(row[j], before[j - 2] + 1);
            }

            (before, last) = (last, row);
        }

        return last[^1] <= most ? last[^1] : null;
    }

    private Task<bool> PutAsync(SearchDocument document, bool deleted, CancellationToken cancel) => work.QueryFirstAsync(
        $"""
        select embedded.search_put({document.Index}, {document.Id}, {document.Version}, {deleted},
            {Words(document.Title, MaxTitleWords)}, {Words(document.Text, MaxTextWords)}, {new Json(document.Content)})
        """,
        row => row.GetBoolean(0),
        cancel);
}
