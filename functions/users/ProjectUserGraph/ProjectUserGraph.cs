using System.Collections.Frozen;
using Agency.Platform;
using Microsoft.Azure.Functions.Worker;

namespace Agency.Users;

/// <summary>
/// Keeps the graph of who brought whom and who works together. Two users share an organisation when their emails are at the same
/// domain and that is not one of a mail provider that gives addresses to everybody.
/// </summary>
public sealed class ProjectUserGraph(Inbox inbox, IGraph graph)
{
    private static readonly FrozenSet<string> MailProviders = FrozenSet.Create(StringComparer.Ordinal,
        "gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "hotmail.co.uk", "hotmail.fr", "hotmail.de", "live.com", "live.co.uk", "msn.com",
        "yahoo.com", "yahoo.co.uk", "yahoo.co.jp", "yahoo.fr", "yahoo.de", "yahoo.co.in", "ymail.com", "rocketmail.com", "aol.com", "icloud.com",
        "me.com", "mac.com", "proton.me", "protonmail.com", "pm.me", "gmx.com", "gmx.de", "gmx.net", "gmx.at", "gmx.ch", "web.de", "t-online.de",
        "freenet.de", "mail.com", "zoho.com", "fastmail.com", "tutanota.com", "tuta.com", "hey.com", "yandex.com", "yandex.ru", "mail.ru", "bk.ru",
        "list.ru", "inbox.ru", "rambler.ru", "qq.com", "163.com", "126.com", "sina.com", "naver.com", "hanmail.net", "daum.net", "orange.fr",
        "wanadoo.fr", "free.fr", "laposte.net", "sfr.fr", "libero.it", "virgilio.it", "tiscali.it", "alice.it", "btinternet.com", "sky.com",
        "talktalk.net", "virginmedia.com", "ntlworld.com", "comcast.net", "verizon.net", "att.net", "sbcglobal.net", "cox.net", "charter.net",
        "rediffmail.com", "uol.com.br", "bol.com.br", "terra.com.br", "seznam.cz", "wp.pl", "o2.pl", "onet.pl", "interia.pl", "bigpond.com",
        "ziggo.nl", "kpnmail.nl", "telenet.be", "skynet.be", "bluewin.ch", "telia.com", "mailinator.com");

    [Function(nameof(ProjectUserGraph))]
    public Task Run(
        [KafkaTrigger("%KafkaBrokers%", UsersTopic.Name, ConsumerGroup = nameof(ProjectUserGraph))] KafkaRecord record, CancellationToken cancel) =>
        inbox.HandleOnceAsync(
            record,
            nameof(ProjectUserGraph),
            async e =>
            {
                if (e.Is<UserCreatedEvent>(out var created))
                    await graph.UpsertAsync(Node(created.User), cancel);
                else if (e.Is<UserUpdatedEvent>(out var updated))
                    await graph.UpsertAsync(Node(updated.User), cancel);
                else if (e.Is<UserDeletedEvent>(out _))
                    await graph.DeleteAsync(ReadModels.Graph, e.Subject, e.Version, cancel);
            },
            cancel);

    /// <summary>The user as the graph knows it.</summary>
    public static GraphNode Node(UserDto user)
    {
        var edges = new List<GraphEdge>();
        if (user.ReferredBy is { } referrer)
            edges.Add(new("referrer", "referral", referrer.ToString()));
        var domain = EmailAddress.Domain(user.Email);
        if (!MailProviders.Contains(domain))
            edges.Add(GraphEdge.Sharing("colleague", domain));
        return new(ReadModels.Graph, user.Id.ToString(), user.Version, user.Name, edges);
    }
}
