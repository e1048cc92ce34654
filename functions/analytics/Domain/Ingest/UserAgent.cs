using System.Buffers;

namespace Agency.Analytics;

/// <summary>
/// What a browser's <c>User-Agent</c> tells of the visitor. It goes by words that browsers have kept for years, the most particular
/// first: nearly all claim to be several others too. An iPad that asks for desktop pages says it is a Mac, and counts as one.
/// </summary>
/// <param name="Device"><c>desktop</c>, <c>mobile</c>, <c>tablet</c>, <c>tv</c>, <c>console</c> or <c>bot</c>; null when it cannot be told.</param>
/// <param name="Os">Such as <c>Windows</c>; null likewise, and for a bot.</param>
/// <param name="Browser">Such as <c>Chrome</c>; null likewise.</param>
public readonly record struct UserAgent(string? Device, string? Os, string? Browser)
{
    public const string Bot = "bot";

    /// <summary>Programs that read pages by themselves: search engines, AI, monitoring, link previews, scanners, headless browsers.</summary>
    private static readonly SearchValues<string> Crawlers = SearchValues.Create(
    [
        "crawl", "spider", "slurp", "scrapy", "heritrix", "nutch", "httrack", "archiver", "fetcher",
        "headless", "phantomjs", "puppeteer", "playwright", "selenium", "webdriver", "cypress",
        "lighthouse", "pagespeed", "speed insights", "gtmetrix", "ptst/",
        "mediapartners-google", "google-inspectiontool", "googleother", "google-read-aloud", "google web preview", "google-extended",
        "google-site-verification", "apis-google", "google favicon", "bingpreview", "microsoftpreview", "duckduckgo-favicons",
        "facebookexternalhit", "facebookcatalog", "meta-externalagent", "meta-externalfetcher", "whatsapp/", "skypeuripreview", "embedly",
        "iframely", "link preview", "linkpreview", "vkshare", "flipboardproxy", "snap url preview", "mastodon/", "feedly", "feedburner",
        "chatgpt-user", "perplexity-user", "claude-user", "claude-web", "claude-searchuser", "anthropic-ai", "cohere-ai", "mistralai-user",
        "pingdom", "statuscake", "site24x7", "datadog", "newrelic", "uptime", "nagios", "zabbix", "better stack", "hetrixtools", "catchpoint",
        "dynatrace", "synthetic", "check_http", "screaming frog", "netcraft", "censysinspect", "zgrab", "masscan", "nmap", "nikto", "sqlmap",
        "expanse", "internetmeasurement", "w3c_validator", "validator.nu", "wappalyzer", "barkrowler", "tineye",
    ], StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// Libraries and tools. As the visitor's own they mean a program; as the request's they mean the organisation's server, which tells of
    /// somebody else. Not those that mobile apps speak through.
    /// </summary>
    private static readonly SearchValues<string> Libraries = SearchValues.Create(
    [
        "curl/", "wget/", "python-requests", "python-urllib", "aiohttp", "python-httpx", "go-http-client", "java/", "apache-httpclient",
        "axios/", "node-fetch", "undici", "libwww-perl", "guzzlehttp", "php/", "ruby", "faraday", "postmanruntime", "insomnia", "powershell",
        "httpie",
    ], StringComparison.OrdinalIgnoreCase);

    private static readonly (string Word, string Name)[] Browsers =
    [
        ("Edg/", "Edge"), ("EdgA/", "Edge"), ("EdgiOS/", "Edge"), ("Edge/", "Edge"), ("OPR/", "Opera"), ("Opera", "Opera"), ("OPiOS/", "Opera"), ("OPT/", "Opera"), ("OPX/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"), ("YaBrowser/", "Yandex"), ("Vivaldi/", "Vivaldi"), ("Brave/", "Brave"), ("UCBrowser/", "UC Browser"),
        ("MiuiBrowser/", "MIUI Browser"), ("HuaweiBrowser/", "Huawei Browser"), ("HeyTapBrowser/", "HeyTap Browser"), ("VivoBrowser/", "Vivo Browser"),
        ("QQBrowser/", "QQ Browser"), ("MicroMessenger/", "WeChat"), ("Whale/", "Whale"), ("Silk/", "Silk"), ("DuckDuckGo/", "DuckDuckGo"), ("Ddg/", "DuckDuckGo"),
        ("FBAN/", "Facebook"), ("FBAV/", "Facebook"), ("Instagram", "Instagram"), ("Snapchat", "Snapchat"), ("musical_ly", "TikTok"), ("BytedanceWebview", "TikTok"),
        ("LinkedInApp", "LinkedIn"), ("Pinterest/", "Pinterest"), ("Line/", "LINE"), ("GSA/", "Google App"),
        ("FxiOS/", "Firefox"), ("Focus/", "Firefox"), ("Klar/", "Firefox"), ("Firefox/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"),
        ("Chromium/", "Chrome"), ("MSIE ", "Internet Explorer"), ("Trident/", "Internet Explorer"), ("IEMobile/", "Internet Explorer"),
        // What is left and says so is the system's own.
        ("Safari/", "Safari"), ("AppleWebKit/", "Safari"),
    ];

    private static readonly (string Word, string Device, string? Os)[] Things =
    [
        ("PlayStation", "console", "PlayStation"), ("PLAYSTATION", "console", "PlayStation"), ("Xbox", "console", "Xbox"), ("Nintendo", "console", "Nintendo"),
        ("Apple TV", "tv", "tvOS"), ("AppleTV", "tv", "tvOS"), ("tvOS", "tv", "tvOS"), ("Web0S", "tv", "webOS"), ("webOS.TV", "tv", "webOS"), ("NetCast", "tv", "webOS"),
        ("Roku", "tv", "Roku"), ("CrKey", "tv", "Chromecast"), ("Tizen", "", "Tizen"), ("SMART-TV", "tv", null), ("SmartTV", "tv", null),
        ("Smart TV", "tv", null), ("GoogleTV", "tv", "Android"), ("Android TV", "tv", "Android"), ("BRAVIA", "tv", "Android"), ("; AFT", "tv", "Android"),
        ("HbbTV", "tv", null), ("VIDAA", "tv", null), ("Viera", "tv", null),
        ("iPad", "tablet", "iOS"), ("iPhone", "mobile", "iOS"), ("iPod", "mobile", "iOS"), ("Windows Phone", "mobile", "Windows Phone"),
        ("PlayBook", "tablet", "BlackBerry"), ("BlackBerry", "mobile", "BlackBerry"), ("BB10", "mobile", "BlackBerry"), ("KAIOS", "mobile", "KaiOS"), ("KaiOS", "mobile", "KaiOS"),
        ("Kindle", "tablet", "Kindle"), ("Android", "", "Android"), ("HarmonyOS", "", "HarmonyOS"), ("OpenHarmony", "", "HarmonyOS"), ("Windows NT", "desktop", "Windows"), ("Windows", "desktop", "Windows"),
        ("Macintosh", "desktop", "macOS"), ("CrOS", "desktop", "ChromeOS"), ("Linux", "", "Linux"), ("FreeBSD", "desktop", "BSD"), ("OpenBSD", "desktop", "BSD"), ("X11", "desktop", null),
    ];

    /// <summary>Whether it is one of a browser, which all begin so.</summary>
    public static bool IsBrowsers(ReadOnlySpan<char> text) => text.StartsWith("Mozilla/", StringComparison.Ordinal) || text.StartsWith("Opera/", StringComparison.Ordinal);

    /// <summary>Whether it names a program that reads pages by itself.</summary>
    public static bool IsCrawlers(ReadOnlySpan<char> text) => text.ContainsAny(Crawlers) || NamesBot(text);

    /// <summary>What the user agent of a visitor tells, a browser's or any other.</summary>
    public static UserAgent Of(ReadOnlySpan<char> text)
    {
        if (IsCrawlers(text) || (!IsBrowsers(text) && text.ContainsAny(Libraries)))
            return new(Bot, null, null);
        var (device, os) = Thing(text);
        string? browser = null;
        if (IsBrowsers(text))
        {
            foreach (var (word, name) in Browsers)
            {
                if (!text.Contains(word, StringComparison.Ordinal))
                    continue;
                browser = name;
                break;
            }
        }

        // The browser of Android before Chrome calls itself Safari.
        return new(device, os, browser == "Safari" && os == "Android" ? "Android Browser" : browser);
    }

    private static (string? Device, string? Os) Thing(ReadOnlySpan<char> text)
    {
        foreach (var (word, device, os) in Things)
        {
            if (!text.Contains(word, StringComparison.Ordinal))
                continue;
            if (device.Length > 0)
                return (device, os ?? (text.Contains("Tizen", StringComparison.Ordinal) ? "Tizen" : text.Contains("Android", StringComparison.Ordinal) ? "Android" : text.Contains("Linux", StringComparison.Ordinal) ? "Linux" : null));
            // Systems of several kinds of things: telephones say Mobile, televisions TV, and tablets nothing.
            if (text.Contains("Mobile", StringComparison.Ordinal))
                return ("mobile", os);
            if (os == "Tizen" || text.Contains(" TV", StringComparison.Ordinal))
                return ("tv", os);
            // Apps of the same systems do not say it at all.
            return (os == "Linux" ? "desktop" : IsBrowsers(text) ? "tablet" : null, os);
        }

        return (null, null);
    }

    /// <summary>The word bot at a name's end, as in Googlebot/2.1; a Cubot is a telephone.</summary>
    private static bool NamesBot(ReadOnlySpan<char> text)
    {
        for (var rest = text; rest.IndexOf("bot", StringComparison.OrdinalIgnoreCase) is >= 0 and var at; rest = rest[(at + 3)..])
            if ((at + 3 == rest.Length || !char.IsAsciiLetter(rest[at + 3])) && !rest[..at].EndsWith("cu", StringComparison.OrdinalIgnoreCase))
                return true;
        return false;
    }
}
