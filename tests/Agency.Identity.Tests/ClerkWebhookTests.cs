using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Agency.Platform;
using Agency.Testing;
using Agency.Users;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Agency.Identity.Tests;

/// <summary>The messages have the form of Clerk's, shortened.</summary>
public sealed class ClerkWebhookTests : IAsyncLifetime
{
    private static readonly string Secret = WebhookSignature.NewSecret();
    private static int _messages;
    private TestDatabase _database = null!;
    private TestHost _host = null!;

    public async Task InitializeAsync()
    {
        _database = await TestDatabase.CreateAsync(typeof(UserDto).Assembly);
        await ConfigureAsync(("Clerk:WebhookSecrets", Secret), ("Clerk:Organisation", "acme"));
    }

    public async Task DisposeAsync()
    {
        await _host.DisposeAsync();
        await _database.DisposeAsync();
    }

    [Fact]
    public async Task A_created_user_is_one_of_the_configured_organisation()
    {
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada", "Lovelace"));
        var user = Assert.Single(await UsersAsync("acme"));
        Assert.Equal("ada@example.com", user.GetProperty("email").GetString());
        Assert.Equal("Ada Lovelace", user.GetProperty("name").GetString());
        Assert.Equal("user_1", user.GetProperty("externalId").GetString());
        Assert.Equal(["user-created 1"], await EventsAsync());
    }

    [Fact]
    public async Task The_events_are_those_of_the_routes()
    {
        using var client = _host.Client();
        var created = await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"a@example.com","name":"A","externalId":"user_0"}""");
        var id = (await created.JsonAsync()).GetProperty("id").GetString()!;
        await client.SendJsonAsync(HttpMethod.Put, $"/users/{id}", """{"email":"b@example.com","name":"A","externalId":"user_0"}""", ("If-Match", "*"));
        await client.SendJsonAsync(HttpMethod.Delete, $"/users/{id}", "", ("If-Match", "*"));
        await TellAsync(User("created", "user_1", 1000, "a@example.com", "A"));
        await TellAsync(User("updated", "user_1", 2000, "b@example.com", "A"));
        await TellAsync(Deleted("user_1"));
        var shapes = await _database.QueryAsync<string>("""
            select type || ' ' || version || ' ' || (select string_agg(k, ',' order by k) from json_object_keys(coalesce(data -> 'user', data)) k)
                || ' ' || coalesce(data -> 'user' ->> 'email', '')
            from platform.events order by id
            """);
        Assert.Equal(6, shapes.Count);
        Assert.Equal(shapes[..3], shapes[3..]);
    }

    [Fact]
    public async Task The_same_message_again_changes_nothing()
    {
        var message = User("created", "user_1", 1000, "ada@example.com", "Ada");
        await TellAsync(message, "msg_1");
        await TellAsync(message, "msg_1");
        await TellAsync(message, "msg_2");
        Assert.Equal(["user-created 1"], await EventsAsync());
        using var client = _host.Client();
        await client.SendJsonAsync(HttpMethod.Put, $"/users/{(await UsersAsync("acme"))[0].GetProperty("id").GetString()}",
            """{"email":"new@example.com","name":"New","externalId":"user_1"}""", ("If-Match", "*"));
        await TellAsync(message, "msg_1");
        Assert.Equal("new@example.com", Assert.Single(await UsersAsync("acme")).GetProperty("email").GetString());
    }

    [Fact]
    public async Task An_older_message_does_not_overwrite_a_newer_one()
    {
        await TellAsync(User("updated", "user_1", 3000, "third@example.com", "Third"));
        await TellAsync(User("created", "user_1", 1000, "first@example.com", "First"));
        await TellAsync(User("updated", "user_1", 2000, "second@example.com", "Second"));
        Assert.Equal("third@example.com", Assert.Single(await UsersAsync("acme")).GetProperty("email").GetString());
        Assert.Equal(["user-created 1"], await EventsAsync());
    }

    [Fact]
    public async Task A_deleted_user_stays_deleted_and_leaves_no_details()
    {
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        await TellAsync(Deleted("user_1"));
        await TellAsync(User("updated", "user_1", 9000, "ada@example.com", "Ada"));
        await TellAsync(Deleted("user_2"));
        await TellAsync(User("created", "user_2", 1000, "bob@example.com", "Bob"));
        Assert.Empty(await UsersAsync("acme"));
        Assert.Equal(["user-created 1", "user-deleted 2"], await EventsAsync());
        Assert.Equal(2, await _database.ScalarAsync<long>("select count(*) from users.clerk_users where deleted and email is null and name is null"));
    }

    [Fact]
    public async Task A_sign_in_is_no_change()
    {
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        await TellAsync(User("updated", "user_1", 2000, "ada@example.com", "Ada"));
        Assert.Equal(["user-created 1"], await EventsAsync());
    }

    [Fact]
    public async Task A_change_keeps_what_clerk_does_not_know()
    {
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        using var client = _host.Client();
        var id = (await UsersAsync("acme"))[0].GetProperty("id").GetString();
        await client.SendJsonAsync(HttpMethod.Put, $"/users/{id}",
            """{"email":"ada@example.com","name":"Ada","externalId":"user_1","country":"GB","tags":["vip"]}""", ("If-Match", "*"));
        await TellAsync(User("updated", "user_1", 2000, "ada@example.com", "Countess"));
        var user = Assert.Single(await UsersAsync("acme"));
        Assert.Equal(("Countess", "GB", "vip"), (user.GetProperty("name").GetString(), user.GetProperty("country").GetString(), user.GetProperty("tags")[0].GetString()));
    }

    [Fact]
    public async Task A_user_known_by_email_becomes_the_same_user()
    {
        using var client = _host.Client();
        var id = (await (await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"Ada@Example.com","name":"Ada"}""")).JsonAsync()).GetProperty("id").GetString();
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        var user = Assert.Single(await UsersAsync("acme"));
        Assert.Equal((id, "user_1"), (user.GetProperty("id").GetString(), user.GetProperty("externalId").GetString()));
    }

    [Fact]
    public async Task An_email_that_another_has_is_taken_once_it_is_free()
    {
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        var message = User("created", "user_2", 2000, "ada@example.com", "Other");
        Assert.Equal(HttpStatusCode.Conflict, (await SendAsync(message, "msg_again")).StatusCode);
        Assert.Equal(["user-created 1"], await EventsAsync());
        await TellAsync(Deleted("user_1"));
        await TellAsync(message, "msg_again");
        Assert.Equal("user_2", Assert.Single(await UsersAsync("acme")).GetProperty("externalId").GetString());
    }

    [Fact]
    public async Task Messages_at_once_and_in_any_order_end_with_the_newest()
    {
        var random = new Random(17);
        var messages = Enumerable.Range(1, 40).Select(n => User(n == 1 ? "created" : "updated", "user_1", n * 1000, $"n{n}@example.com", $"N{n}")).ToArray();
        random.Shuffle(messages);
        var answers = await Task.WhenAll(messages.Select(message => SendAsync(message)));
        Assert.All(answers, answer => Assert.Equal(HttpStatusCode.NoContent, answer.StatusCode));
        Assert.Equal("n40@example.com", Assert.Single(await UsersAsync("acme")).GetProperty("email").GetString());
        var versions = await _database.QueryAsync<long>("select version from platform.events order by version");
        Assert.Equal(Enumerable.Range(1, versions.Count).Select(n => (long)n), versions);
        Assert.Equal("n40@example.com", await _database.ScalarAsync<string>("select data -> 'user' ->> 'email' from platform.events order by version desc limit 1"));
    }

    [Fact]
    public async Task What_was_learned_before_a_crash_is_done_when_the_message_comes_again()
    {
        await LearnAsync(1000, "ada@example.com");
        Assert.Empty(await UsersAsync("acme"));
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        Assert.Single(await UsersAsync("acme"));
    }

    [Fact]
    public async Task An_organisation_never_goes_back_to_an_older_revision()
    {
        var first = await LearnAsync(1000, "first@example.com");
        var second = await LearnAsync(2000, "second@example.com");
        Assert.True(await FollowAsync(second, "msg_2"));
        Assert.False(await FollowAsync(first, "msg_1"));
        Assert.Equal("second@example.com", Assert.Single(await UsersAsync("acme")).GetProperty("email").GetString());
    }

    [Fact]
    public async Task A_message_has_its_effect_once()
    {
        Assert.True(await FollowAsync(await LearnAsync(1000, "first@example.com"), "msg_1"));
        Assert.False(await FollowAsync(await LearnAsync(2000, "second@example.com"), "msg_1"));
        Assert.Equal("first@example.com", Assert.Single(await UsersAsync("acme")).GetProperty("email").GetString());
    }

    [Fact]
    public async Task Of_two_messages_at_once_the_later_one_knows_what_the_other_told()
    {
        await LearnAsync(1000, "first@example.com");
        await using var source = NpgsqlDataSource.Create(_database.Settings.Admin);
        await using var connection = await source.OpenConnectionAsync();
        await using var transaction = await connection.BeginTransactionAsync();
        // Locked and not yet changed: who does not take turns has read the old state by now and will write over the new one.
        await using var take = new NpgsqlCommand("select from users.clerk_users where id = 'user_1' for update", connection);
        await take.ExecuteNonQueryAsync();
        var older = Task.Run(() => LearnAsync(2000, "second@example.com"));
        await Task.Delay(500);
        Assert.False(older.IsCompleted);
        await using var newer = new NpgsqlCommand(
            "update users.clerk_users set revision = revision + 1, details_at = 3000, email = 'third@example.com' where id = 'user_1'", connection);
        await newer.ExecuteNonQueryAsync();
        await transaction.CommitAsync();
        Assert.Equal("third@example.com", (await older).Details?.Email);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Without_a_configured_organisation_the_memberships_decide(bool userFirst)
    {
        await ConfigureAsync(("Clerk:WebhookSecrets", Secret));
        var (user, membership) = (User("created", "user_1", 1000, "ada@example.com", "Ada", "Lovelace"), Membership("created", "orgmem_1", "org_1", "user_1", "ada@example.com"));
        await TellAsync(userFirst ? user : membership);
        Assert.Equal(userFirst ? 0 : 1, (await UsersAsync("org_1")).Count);
        await TellAsync(userFirst ? membership : user);
        await TellAsync(Membership("created", "orgmem_2", "org_2", "user_1", "+44 20 7946 0000"));
        foreach (var organisation in new[] { "org_1", "org_2" })
            Assert.Equal("Ada Lovelace", Assert.Single(await UsersAsync(organisation)).GetProperty("name").GetString());
        Assert.Empty(await UsersAsync("acme"));

        await TellAsync(User("updated", "user_1", 2000, "countess@example.com", "Ada", "Lovelace"));
        foreach (var organisation in new[] { "org_1", "org_2" })
            Assert.Equal("countess@example.com", Assert.Single(await UsersAsync(organisation)).GetProperty("email").GetString());
        await TellAsync(Deleted("user_1"));
        Assert.Empty((await UsersAsync("org_1")).Concat(await UsersAsync("org_2")));
    }

    [Fact]
    public async Task Who_leaves_an_organisation_is_gone_there_and_may_come_back()
    {
        await ConfigureAsync(("Clerk:WebhookSecrets", Secret));
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        await TellAsync(Membership("created", "orgmem_1", "org_1", "user_1", "ada@example.com"));
        await TellAsync(Membership("created", "orgmem_2", "org_2", "user_1", "ada@example.com"));
        await TellAsync(Membership("deleted", "orgmem_1", "org_1", "user_1", "ada@example.com"));
        await TellAsync(Membership("created", "orgmem_1", "org_1", "user_1", "ada@example.com"));
        Assert.Empty(await UsersAsync("org_1"));
        Assert.Single(await UsersAsync("org_2"));
        await TellAsync(Membership("created", "orgmem_3", "org_1", "user_1", "ada@example.com"));
        Assert.Single(await UsersAsync("org_1"));
    }

    [Fact]
    public async Task A_conflict_in_one_organisation_holds_up_no_other()
    {
        await ConfigureAsync(("Clerk:WebhookSecrets", Secret));
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        foreach (var n in new[] { 1, 2, 3 })
            await TellAsync(Membership("created", $"orgmem_{n}", $"org_{n}", "user_1", "ada@example.com"));
        // The first organisation in any order has another user with the new address.
        using var client = _host.Client(organisation: "org_1");
        Assert.Equal(HttpStatusCode.Created, (await client.SendJsonAsync(HttpMethod.Post, "/users", """{"email":"new@example.com","name":"New"}""")).StatusCode);
        var update = User("updated", "user_1", 2000, "new@example.com", "Ada");
        // Whom the organisation knows by the old address is not the one with the new.
        Assert.Equal(HttpStatusCode.Conflict, (await SendAsync(update, "msg_again")).StatusCode);
        Assert.Equal(2, (await UsersAsync("org_1")).Count);
        foreach (var organisation in new[] { "org_2", "org_3" })
            Assert.Equal("new@example.com", Assert.Single(await UsersAsync(organisation)).GetProperty("email").GetString());

        // Nor does it keep the user where the membership has ended.
        Assert.Equal(HttpStatusCode.Conflict, (await SendAsync(Membership("deleted", "orgmem_3", "org_3", "user_1", "new@example.com"))).StatusCode);
        Assert.Empty(await UsersAsync("org_3"));
        await _database.RunAsync("delete from users.users where tenant_id = 'org_1' and external_id is null");
        await TellAsync(update, "msg_again");
        Assert.Equal("new@example.com", Assert.Single(await UsersAsync("org_1")).GetProperty("email").GetString());
    }

    [Fact]
    public async Task What_clerk_changes_is_in_the_audit_trail_of_each_organisation_with_its_message()
    {
        await ConfigureAsync(("Clerk:WebhookSecrets", Secret));
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"), "msg_0");
        await TellAsync(Membership("created", "orgmem_1", "org_1", "user_1", "ada@example.com"), "msg_1");
        await TellAsync(Membership("created", "orgmem_2", "org_2", "user_1", "ada@example.com"), "msg_2");
        await TellAsync(User("updated", "user_1", 2000, "new@example.com", "Ada"), "msg_3");
        await TellAsync(User("updated", "user_1", 2000, "new@example.com", "Ada"), "msg_3");
        await TellAsync(User("updated", "user_1", 3000, "new@example.com", "Ada"), "msg_4");
        Assert.Equal(
            ["org_1 clerk ReceiveClerkWebhook msg_1 user-created", "org_1 clerk ReceiveClerkWebhook msg_3 user-updated",
             "org_2 clerk ReceiveClerkWebhook msg_2 user-created", "org_2 clerk ReceiveClerkWebhook msg_3 user-updated"],
            await _database.QueryAsync<string>("""
                select concat_ws(' ', tenant_id, subject, action, message_id, split_part(event_types[1], '.', 3)) from platform.audit order by tenant_id, id
                """));
        Assert.Equal(4, await _database.ScalarAsync<long>("select count(*) from platform.audit where cardinality(subjects) = 1 and trace_id is not null and remote_address is not null"));
    }

    [Theory]
    [InlineData("svix-id")]
    [InlineData("svix-timestamp")]
    [InlineData("svix-signature")]
    [InlineData("body")]
    [InlineData("secret")]
    [InlineData("old")]
    [InlineData("future")]
    public async Task A_message_that_is_not_signed_as_it_must_be_is_refused(string what)
    {
        var json = User("created", "user_1", 1000, "ada@example.com", "Ada");
        var at = DateTimeOffset.UtcNow + (what == "old" ? TimeSpan.FromMinutes(-6) : what == "future" ? TimeSpan.FromMinutes(6) : TimeSpan.Zero);
        var headers = Headers(json, "msg_x", at, what == "secret" ? WebhookSignature.NewSecret() : Secret).Where(header => header.Name != what).ToArray();
        using var client = _host.Client(null);
        var refused = await client.SendJsonAsync(HttpMethod.Post, "/webhooks/clerk", what == "body" ? json.Replace("Ada", "Eve", StringComparison.Ordinal) : json, headers);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.Equal("urn:agency:problem:bad-signature", (await refused.JsonAsync()).GetProperty("type").GetString());
        Assert.Equal(0, await _database.ScalarAsync<long>("select count(*) from users.clerk_users"));
    }

    [Theory]
    [InlineData("""{"type":"email.created","data":{"id":"ema_1"}}""", HttpStatusCode.NoContent)]
    [InlineData("""{"type":"user.created","data":{}}""", HttpStatusCode.NoContent)]
    [InlineData("""{"type":"user.created","data":{"id":"user_1","email_addresses":[null],"phone_numbers":[{}]}}""", HttpStatusCode.NoContent)]
    [InlineData("{}", HttpStatusCode.NoContent)]
    [InlineData("null", HttpStatusCode.NoContent)]
    [InlineData("""{"type":7}""", HttpStatusCode.BadRequest)]
    [InlineData("{", HttpStatusCode.BadRequest)]
    public async Task What_tells_of_no_user_is_taken_and_what_is_no_message_is_not(string json, HttpStatusCode status)
    {
        Assert.Equal(status, (await SendAsync(json)).StatusCode);
        Assert.Empty(await UsersAsync("acme"));
    }

    [Fact]
    public async Task Strange_names_are_made_to_fit()
    {
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", @"A\u0000\u0007da\n"));
        await TellAsync(User("created", "user_2", 1000, "bob@example.com", new string('x', 199) + "😀"));
        await TellAsync(User("created", "user_3", 1000, "eve@example.com", ""));
        Assert.Equal(["A  da", new string('x', 199), "eve@example.com"], (await UsersAsync("acme")).Select(user => user.GetProperty("name").GetString()));
    }

    [Fact]
    public async Task A_body_that_is_too_large_or_no_json_is_refused()
    {
        var large = $$"""{"type":"{{new string('x', 300_000)}}"}""";
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await SendAsync(large)).StatusCode);
        using var client = _host.Client(null);
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await client.PostAsync(new Uri("/webhooks/clerk", UriKind.Relative), new StringContent("x"))).StatusCode);
    }

    [Fact]
    public async Task Secrets_can_be_changed_without_a_gap()
    {
        await ConfigureAsync(("Clerk:WebhookSecrets", $"{WebhookSignature.NewSecret()};{Secret}"), ("Clerk:Organisation", "acme"));
        await TellAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        Assert.Single(await UsersAsync("acme"));
    }

    [Fact]
    public async Task Without_a_secret_nothing_is_taken()
    {
        await ConfigureAsync();
        var refused = await SendAsync(User("created", "user_1", 1000, "ada@example.com", "Ada"));
        Assert.Equal(HttpStatusCode.NotFound, refused.StatusCode);
        Assert.Contains("Clerk:WebhookSecrets", (await refused.JsonAsync()).GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    private async Task ConfigureAsync(params (string Name, string Value)[] settings)
    {
        if (_host is not null)
            await _host.DisposeAsync();
        _host = await TestHost.StartAsync(
            [typeof(ReceiveClerkWebhook).Assembly, typeof(CreateUser).Assembly, typeof(UpdateUser).Assembly, typeof(DeleteUser).Assembly, typeof(ListUsers).Assembly],
            _database, settings: settings);
    }

    private Task<ClerkUser> LearnAsync(long at, string email) => ClerkUser.LearnAsync(
        _host.Services.GetRequiredService<Database>(), new("user_1", at, new UserDetails(email, "Ada", ExternalId: "user_1"), false, null), CancellationToken.None);

    private async Task<bool> FollowAsync(ClerkUser user, string messageId)
    {
        await using var scope = _host.Services.CreateAsyncScope();
        scope.ServiceProvider.GetRequiredService<Caller>().Become("acme", "clerk");
        var work = scope.ServiceProvider.GetRequiredService<UnitOfWork>();
        return await work.TransactAsync(() => user.FollowAsync(work, true, messageId, CancellationToken.None), CancellationToken.None);
    }

    private async Task TellAsync(string json, string? id = null) => Assert.Equal(HttpStatusCode.NoContent, (await SendAsync(json, id)).StatusCode);

    private async Task<HttpResponseMessage> SendAsync(string json, string? id = null)
    {
        id ??= string.Create(CultureInfo.InvariantCulture, $"msg_{Interlocked.Increment(ref _messages)}_{Guid.NewGuid():N}");
        using var client = _host.Client(null);
        return await client.SendJsonAsync(HttpMethod.Post, "/webhooks/clerk", json, [.. Headers(json, id, DateTimeOffset.UtcNow, Secret)]);
    }

    private static IEnumerable<(string Name, string Value)> Headers(string json, string id, DateTimeOffset at, string secret) =>
        [("svix-id", id), ("svix-timestamp", WebhookSignature.Timestamp(at)), ("svix-signature", new WebhookSignature(secret).Sign(id, at, Encoding.UTF8.GetBytes(json)))];

    private async Task<IReadOnlyList<JsonElement>> UsersAsync(string organisation)
    {
        using var client = _host.Client(organisation: organisation);
        return [.. (await (await client.GetAsync(new Uri("/users", UriKind.Relative))).JsonAsync()).EnumerateArray()];
    }

    private Task<List<string>> EventsAsync() =>
        _database.QueryAsync<string>("select replace(replace(type, 'agency.users.', ''), '.v1', '') || ' ' || version from platform.events order by id");

    private static string User(string what, string id, long updatedAt, string email, string first, string last = "") => $$"""
        {"data":{"birthday":"","created_at":1000,"email_addresses":[
          {"email_address":"other@example.org","id":"idn_0","linked_to":[],"object":"email_address"},
          {"email_address":"{{email}}","id":"idn_1","linked_to":[],"object":"email_address","verification":{"status":"verified","strategy":"ticket"} }],
        "external_accounts":[],"external_id":"567772","first_name":"{{first}}","id":"{{id}}","last_name":"{{last}}","object":"user",
        "primary_email_address_id":"idn_1","private_metadata":{},"updated_at":{{updatedAt}},"username":null,"web3_wallets":[]},
        "event_attributes":{"http_request":{"client_ip":"0.0.0.0"} },"object":"event","timestamp":1654012591835,"type":"user.{{what}}"}
        """;

    private static string Deleted(string id) =>
        $$"""{"data":{"deleted":true,"id":"{{id}}","object":"user"},"object":"event","timestamp":1661861640000,"type":"user.deleted"}""";

    private static string Membership(string what, string id, string organisation, string user, string identifier) => $$"""
        {"data":{"created_at":1654013203217,"id":"{{id}}","object":"organization_membership","organization":{"created_at":1,"id":"{{organisation}}","name":"X","slug":"x"},
        "public_user_data":{"first_name":"Example","identifier":"{{identifier}}","last_name":"Person","user_id":"{{user}}"},"role":"org:admin","updated_at":1654013203217},
        "object":"event","timestamp":1654013203217,"type":"organizationMembership.{{what}}"}
        """;
}
