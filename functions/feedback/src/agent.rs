//! Programs that say what they are.

/// What Apple's Mail Privacy Protection, which fetches every picture when the mail comes, calls itself: nothing more.
const APPLE: &str = "Mozilla/5.0";
/// What the names of scanners, crawlers and HTTP libraries have in them. Google's image proxy (`GoogleImageProxy`) and Yahoo's
/// are not here: they fetch a picture when a person opens the mail, and only then.
const MACHINES: [&str; 22] = [
    "bot/",
    "bot;",
    "bot ",
    "crawler",
    "spider",
    "scanner",
    "preview",
    "prefetch",
    "headless",
    "phantomjs",
    "barracuda",
    "mimecast",
    "proofpoint",
    "safelinks",
    "urlscan",
    "curl/",
    "wget/",
    "python-",
    "go-http-client",
    "java/",
    "httpclient",
    "libwww-perl",
];

/// Whether something with this user agent is a program that acts by itself. What says nothing of itself is one too.
pub(crate) fn is_machine(user_agent: &str) -> bool {
    let name = user_agent.trim();
    let lower = name.to_ascii_lowercase();
    name.is_empty() || name == APPLE || lower.ends_with("bot") || MACHINES.iter().any(|part| lower.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_say_so_are_known_and_readers_are_not() {
        for machine in [
            "",
            " ",
            "Mozilla/5.0",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; bingbot; x)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36",
            "BarracudaCentral",
            "python-requests/2.31.0",
            "curl/8.4.0",
            "Go-http-client/2.0",
            "Apache-HttpClient/4.5.13 (Java/11.0.20)",
            "SomeBot",
        ] {
            assert!(is_machine(machine), "{machine}");
        }
        for reader in [
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Mobile Safari/537.36",
            "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0",
        ] {
            assert!(!is_machine(reader), "{reader}");
        }
    }
}
