using System.Text;
using System.Text.Json;

namespace Agency.Platform.Tests;

/// <summary>What every engine of the search port must do. An engine's class says only where its index comes from.</summary>
public abstract class SearchContract
{
    private const string Index = "people";

    /// <summary>Runs <paramref name="use"/> with a search on behalf of this organisation.</summary>
    protected abstract Task AsAsync(string tenant, Func<ISearch, Task> use);

    [Theory]
    [InlineData("katherine johnson", "Katherine Johnson")]
    [InlineData("JOHNSON", "Katherine Johnson")]
    [InlineData("johnson katherine", "Katherine Johnson")]
    [InlineData("kath", "Katherine Johnson")]
    [InlineData("k", "Katherine Johnson")]
    [InlineData("catherine", "Katherine Johnson")]
    [InlineData("katherin", "Katherine Johnson")]
    [InlineData("kahterine", "Katherine Johnson")]
    [InlineData("kattherine jonson", "Katherine Johnson")]
    [InlineData("cathrine", "Katherine Johnson")]
    [InlineData("rene descartes", "René Descartes")]
    [InlineData("RENÉ", "René Descartes")]
    [InlineData("rene\u0301", "René Descartes")]
    [InlineData("goedel", "Kurt Gödel")]
    [InlineData("godel", "Kurt Gödel")]
    [InlineData("strasse", "Hans Straße")]
    [InlineData("straße", "Hans Straße")]
    [InlineData("obrien", "Edna O’Brien")]
    [InlineData("O'Brien", "Edna O’Brien")]
    [InlineData("толстой", "Лев ТОЛСТОЙ")]
    [InlineData("山田", "山田太郎")]
    [InlineData("k.johnson@nasa.example", "Katherine Johnson")]
    [InlineData("nasa", "Katherine Johnson")]
    [InlineData("kat descartes", "")]
    [InlineData("ktrn", "")]
    [InlineData("renz", "René Descartes")]
    [InlineData("ranz", "")]
    [InlineData("order-4711", "Kurt Gödel")]
    [InlineData("order-4712", "")]
    [InlineData("", "")]
    [InlineData("!&|()<->:*'\"%_\\", "")]
    public async Task What_is_meant_is_found(string query, string expected) => await AsAsync("acme", async search =>
    {
        await search.UpsertAsync(Person("1", 1, "Katherine Johnson", "k.johnson@nasa.example"), default);
        await search.UpsertAsync(Person("2", 1, "René Descartes"), default);
        await search.UpsertAsync(Person("3", 1, "Kurt Gödel", "order-4711"), default);
        await search.UpsertAsync(Person("4", 1, "Hans Straße"), default);
        await search.UpsertAsync(Person("5", 1, "Edna O’Brien"), default);
        await search.UpsertAsync(Person("6", 1, "Лев ТОЛСТОЙ"), default);
        await search.UpsertAsync(Person("7", 1, "山田太郎"), default);
        Assert.Equal(expected, (await NamesAsync(search, query)).Split(", ")[0]);
    });

    [Fact]
    public async Task The_closest_match_comes_first() => await AsAsync("acme", async search =>
    {
        await search.UpsertAsync(Person("1", 1, "Martin Marten"), default);
        await search.UpsertAsync(Person("2", 1, "Martina Sun"), default);
        await search.UpsertAsync(Person("3", 1, "Martin"), default);
        await search.UpsertAsync(Person("4", 1, "Marvin Moon"), default);
        await search.UpsertAsync(Person("5", 1, "Else Where", "martin@mail.example"), default);
        Assert.Equal("Martin, Martin Marten, Else Where, Martina Sun, Marvin Moon", await NamesAsync(search, "martin"));
    });

    [Fact]
    public async Task The_best_are_kept_by_a_limit_also_among_many() => await AsAsync("acme", async search =>
    {
        for (var i = 0; i < 300; i++)
            await search.UpsertAsync(Person($"p{i}", 1, $"Annabel Number{i}", "someone@mail.example"), default);
        await search.UpsertAsync(Person("x", 1, "Anna"), default);
        Assert.Equal("Anna", (await NamesAsync(search, "anna", 5)).Split(", ")[0]);
        Assert.Equal("Annabel Number17", (await NamesAsync(search, "annabel number17", 5)).Split(", ")[0]);
        Assert.Equal(5, (await search.FindAsync(Index, "mail", 5, default)).Count);
    });

    [Fact]
    public async Task Scores_fall_and_the_content_comes_back_as_it_was_given() => await AsAsync("acme", async search =>
    {
        await search.UpsertAsync(Person("1", 1, "Ada \"the first\""), default);
        await search.UpsertAsync(Person("2", 1, "Adam"), default);
        var hits = await search.FindAsync(Index, "ada", 10, default);
        Assert.Equal(["1", "2"], hits.Select(h => h.Id));
        Assert.InRange(hits[0].Score, hits[1].Score, 1);
        Assert.Equal("Ada \"the first\"", JsonDocument.Parse(hits[0].Content).RootElement.GetProperty("name").GetString());
    });

    [Fact]
    public async Task A_late_or_repeated_change_changes_nothing() => await AsAsync("acme", async search =>
    {
        await search.UpsertAsync(Person("1", 2, "Newer"), default);
        await search.UpsertAsync(Person("1", 1, "Older"), default);
        await search.UpsertAsync(Person("1", 2, "Other"), default);
        await search.DeleteAsync(Index, "1", 1, default);
        Assert.Equal("", await NamesAsync(search, "older"));
        Assert.Equal("", await NamesAsync(search, "other"));
        Assert.Equal("Newer", await NamesAsync(search, "newer"));
        await search.UpsertAsync(Person("1", 3, "Newest"), default);
        Assert.Equal("Newest", await NamesAsync(search, "newest"));
        Assert.Equal("", await NamesAsync(search, "newer person"));
    });

    [Fact]
    public async Task A_deleted_document_is_gone_and_no_late_change_brings_it_back() => await AsAsync("acme", async search =>
    {
        await search.UpsertAsync(Person("1", 1, "Gone"), default);
        await search.DeleteAsync(Index, "1", 2, default);
        await search.UpsertAsync(Person("1", 1, "Gone"), default);
        await search.UpsertAsync(Person("1", 2, "Gone"), default);
        await search.DeleteAsync(Index, "2", 2, default);
        await search.UpsertAsync(Person("2", 1, "Gone"), default);
        Assert.Equal("", await NamesAsync(search, "gone"));
    });

    [Fact]
    public async Task Organisations_and_indexes_do_not_touch()
    {
        await AsAsync("acme", search => search.UpsertAsync(Person("1", 1, "Ada"), default));
        await AsAsync("acme", search => search.UpsertAsync(Person("1", 1, "Ada other") with { Index = "other" }, default));
        await AsAsync("rival", async search =>
        {
            Assert.Equal("", await NamesAsync(search, "ada"));
            await search.UpsertAsync(Person("1", 9, "Ada rival"), default);
            await search.DeleteAsync(Index, "1", 10, default);
        });
        await AsAsync("acme", async search => Assert.Equal("Ada", await NamesAsync(search, "ada")));
    }

    [Fact]
    public async Task A_text_of_any_length_is_taken() => await AsAsync("acme", async search =>
    {
        await search.UpsertAsync(Person("1", 1, new string('a', 200), string.Join(' ', Enumerable.Range(0, 500).Select(i => $"word{i}"))), default);
        Assert.NotEqual("", await NamesAsync(search, new string('a', 64)));
        Assert.NotEqual("", await NamesAsync(search, "word3"));
        await search.FindAsync(Index, string.Join(' ', Enumerable.Repeat(new string('b', 100), 50)), 10, default);
    });

    private static SearchDocument Person(string id, long version, string name, string text = "") => new(
        Index, id, version, name, text, Encoding.UTF8.GetBytes(JsonSerializer.Serialize(new Dictionary<string, string> { ["name"] = name })));

    private static async Task<string> NamesAsync(ISearch search, string query, int limit = 20) => string.Join(
        ", ", (await search.FindAsync(Index, query, limit, default)).Select(h => JsonDocument.Parse(h.Content).RootElement.GetProperty("name").GetString()));
}
