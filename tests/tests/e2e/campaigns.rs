use futures::stream::{self, StreamExt as _};
use millrace_tests::{Answer, Stack, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// A newsletter of its own; gives its id.
pub(super) async fn newsletter(stack: &Stack, name: &str) -> String {
    let body = json!({
        "name": name, "from": "Mill News <news@example.com>", "postal_address": "Mill Lane 1, 12345 Waterford",
        "time_zone": "Europe/Berlin", "send_at": "10:00"
    });
    stack.post_ok("/v1/newsletters", &body, 201).await.str("/id").to_owned()
}

/// Adds `size` subscribers; gives their addresses.
pub(super) async fn audience(stack: &Stack, newsletter: &str, prefix: &str, size: usize) -> Vec<String> {
    let addresses: Vec<String> = (0..size).map(|i| format!("{prefix}-{i}@example.net")).collect();
    stream::iter(&addresses)
        .for_each_concurrent(16, async |address| {
            let body = json!({
                "newsletter": newsletter, "email": address, "name": "Reader", "time_zone": "Asia/Kolkata",
                "consent": {"source": "e2e", "at": "2026-01-01T00:00:00Z"}
            });
            stack.post_ok("/v1/subscribers", &body, 201).await;
        })
        .await;
    addresses
}

/// A campaign that goes out now; gives its id.
pub(super) async fn campaign(stack: &Stack, newsletter: &str) -> String {
    let body = json!({
        "newsletter": newsletter, "subject": "News for {{ name }}",
        "body": {"html": include_str!("../../../events/letter.html")},
        "send": {"when": "now", "zone": "recipient"}
    });
    stack.post_ok("/v1/campaigns", &body, 201).await.str("/id").to_owned()
}

/// Waits for a campaign's end, ticking the clock so that no test waits for the minute.
pub(super) async fn finished(stack: &Stack, campaign: &str) -> Answer {
    until("the campaign's end", async || {
        stack.invoke("clock").await.expect("a tick");
        let answer = stack.get(&format!("/v1/campaigns/{campaign}")).await;
        (answer.str("/state") == "finished").then_some(answer)
    })
    .await
}

/// How many recipients' mails SES has accepted, with nothing told against them.
pub(super) fn reached(account: &Answer) -> u64 {
    account.number("/counts/sent") + account.number("/counts/delivered")
}

#[tokio::test]
async fn a_campaign_reaches_its_readers_and_an_unsubscribe_is_honoured() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Lawful").await;
    let addresses = audience(&stack, &newsletter, "lawful", 30).await;
    let first = campaign(&stack, &newsletter).await;
    stack.post_ok(&format!("/v1/campaigns/{first}/start"), &json!({}), 202).await;
    let account = finished(&stack, &first).await;
    assert_eq!((account.number("/total"), reached(&account)), (30, 30));

    let mail = stack.mails_to(&addresses[0]).await.remove(0);
    assert_eq!(mail["subject"], "News for Reader");
    let header = |name: &str| {
        let headers = mail["headers"].as_array().expect("headers");
        let found = headers.iter().find(|header| header["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))["value"].as_str().expect("text").to_owned()
    };
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let link = header("List-Unsubscribe");
    let link = link.trim_start_matches('<').trim_end_matches('>');
    assert!(mail["text"].as_str().expect("text").contains("/unsubscribe?token="), "the text part has the link too");

    // A link that is only looked at changes nothing: scanners open every link.
    let page = stack.ask(stack.anywhere(Method::GET, link)).await;
    assert_eq!(page.status, StatusCode::OK);
    let second = campaign(&stack, &newsletter).await;
    for _ in 0..2 {
        let click = stack.anywhere(Method::POST, link).header("content-type", "application/x-www-form-urlencoded");
        let answer = stack.ask(click.body("List-Unsubscribe=One-Click")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    stack.post_ok(&format!("/v1/campaigns/{second}/start"), &json!({}), 202).await;
    let account = finished(&stack, &second).await;
    assert_eq!((account.number("/total"), reached(&account)), (29, 29));
    assert!(stack.mails_of(&second).await.iter().all(|(address, _)| *address != addresses[0]));
}

#[tokio::test]
async fn a_letter_that_would_be_unlawful_or_broken_is_refused() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Refused").await;
    for html in
        ["<p>No way out</p>", "<p>{{ unsubscribe_url }} {{ newsletter.postal_address }} {{ oops", "<p>{{ nobody }}</p>"]
    {
        let body = json!({
            "newsletter": newsletter, "subject": "x", "body": {"html": html}, "send": {"when": "now", "zone": "recipient"}
        });
        let answer = stack.post("/v1/campaigns", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert!(answer.str("/errors/0/pointer").starts_with("/body"), "{}", answer.text);
    }
}
