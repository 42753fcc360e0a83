//! Letters from what their author wrote to the mailbox and the archive.

use crate::campaigns::{audience, finished, reached};
use millrace_tests::Stack;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn newsletter(stack: &Stack, name: &str, from: &str, archive: bool) -> String {
    let body = json!({
        "name": name, "from": from, "postal_address": "Mill Lane 1, 12345 Waterford", "time_zone": "Europe/Berlin",
        "send_at": "10:00", "archive": archive
    });
    stack.post_ok("/v1/newsletters", &body, 201).await.str("/id").to_owned()
}

async fn campaign(stack: &Stack, newsletter: &str, body: Value) -> String {
    let body = json!({
        "newsletter": newsletter, "subject": "News for {{ name or 'all' }}", "body": body, "send": {"when": "now"}
    });
    stack.post_ok("/v1/campaigns", &body, 201).await.str("/id").to_owned()
}

fn text<'a>(mail: &'a Value, name: &str) -> &'a str {
    mail[name].as_str().unwrap_or_else(|| panic!("no {name} in {mail}"))
}

#[tokio::test]
async fn letters_in_mjml_and_in_markdown_arrive_whole_and_are_archived() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Mill & Race", "Mill News <news@example.com>", true).await;
    let addresses = audience(&stack, &newsletter, "whole", 2).await;
    let samples = [
        json!({"mjml": include_str!("../../../events/letter.mjml")}),
        json!({"markdown": include_str!("../../../events/letter.md")}),
    ];
    let mut sent = Vec::new();
    for body in samples {
        let id = campaign(&stack, &newsletter, body).await;
        let preview = stack.get(&format!("/v1/campaigns/{id}/preview")).await;
        assert!(preview.str("/html").contains("Dear Ada,"), "{}", preview.text);
        let ready = stack.get(&format!("/v1/campaigns/{id}/preflight")).await;
        assert_eq!((&ready.body["ready"], &ready.body["readers"]), (&json!(true), &json!(2)), "{}", ready.text);

        // A test goes the same way, and is not counted.
        let editor = format!("editor-{id}@example.net");
        let test = stack.post_ok(&format!("/v1/campaigns/{id}/test"), &json!({ "to": editor }), 202).await;
        assert_eq!(stack.final_job(test.str("/id")).await.str("/state"), "succeeded");
        let test = stack.mails_to(&editor).await.remove(0);
        assert_eq!((text(&test, "subject"), &test["tags"]["test"]), ("[Test] News for all", &json!(id)));

        stack.post_ok(&format!("/v1/campaigns/{id}/start"), &json!({}), 202).await;
        let account = finished(&stack, &id).await;
        assert_eq!((account.number("/total"), reached(&account)), (2, 2));
        let mails = stack.mails_to(&addresses[0]).await;
        let mail = mails.into_iter().find(|mail| mail["tags"]["campaign"] == json!(id)).expect("the mail");
        let (html, plain) = (text(&mail, "html"), text(&mail, "text"));
        for part in [html, plain] {
            for wanted in
                ["Dear Reader,", "forty metres of ditch", "Mill Lane 1, 12345 Waterford", "/unsubscribe?token="]
            {
                assert!(part.contains(wanted), "no {wanted} in {part}");
            }
            assert!(!part.contains("{{") && !part.contains("{%") && !part.contains("zq"), "{part}");
        }
        assert!(html.contains("Mill &amp; Race") && plain.contains("Mill & Race"));
        let named = |mail: &Value| {
            let headers = mail["headers"].as_array().expect("headers").iter();
            headers.map(|header| header["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named(&mail), ["List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "List-Archive"]);
        assert_eq!(named(&test), named(&mail), "a test has the same headers");

        let page = stack.ask(stack.open(Method::GET, &format!("/archive/{newsletter}/{id}"))).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(page.text.contains("Dear reader,") && !page.text.contains("token=") && !page.text.contains("Reader"));
        assert!(page.headers["content-security-policy"].to_str().expect("text").contains("sandbox"));
        sent.push(id);
    }
    let home = stack.ask(stack.open(Method::GET, &format!("/archive/{newsletter}"))).await;
    let feed = stack.ask(stack.open(Method::GET, &format!("/archive/{newsletter}/feed.xml"))).await;
    assert_eq!((home.status, feed.status), (StatusCode::OK, StatusCode::OK));
    for id in &sent {
        assert!(home.text.contains(id.as_str()) && feed.text.contains(id.as_str()), "{}", home.text);
    }
    assert!(feed.text.contains("<title>News for all</title>"), "{}", feed.text);
    let listed = stack.get(&format!("/v1/campaigns?newsletter={newsletter}")).await;
    assert_eq!((listed.str("/campaigns/0/id"), listed.str("/campaigns/1/id")), (sent[1].as_str(), sent[0].as_str()));
}

#[tokio::test]
async fn a_campaign_that_is_not_ready_does_not_start_until_it_is_mended() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Unready", "Mill News <news@mill.invalid>", false).await;
    let name = "{% if name != 'Reader' %}{{ unsubscribe_url }}{% endif %} {{ newsletter.postal_address }} x";
    let id = campaign(&stack, &newsletter, json!({ "markdown": name })).await;
    audience(&stack, &newsletter, "unready", 3).await;
    let answer = stack.get(&format!("/v1/campaigns/{id}/preflight")).await;
    let findings: Vec<_> =
        answer.body["findings"].as_array().expect("findings").iter().map(|f| f["pointer"].clone()).collect();
    assert_eq!(findings, ["/newsletter/from", "/body/markdown"], "{}", answer.text);
    let refused = stack.post_ok(&format!("/v1/campaigns/{id}/start"), &json!({}), 422).await;
    assert_eq!(refused.body["errors"].as_array().map(Vec::len), Some(2), "{}", refused.text);
    assert_eq!(stack.get(&format!("/v1/campaigns/{id}")).await.str("/state"), "draft");
    let letter = json!({"body": {"markdown": "{{ unsubscribe_url }} {{ newsletter.postal_address }}"}});
    let patched = stack.ask(stack.request(Method::PATCH, &format!("/v1/campaigns/{id}")).json(&letter)).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);
    let refused = stack.post_ok(&format!("/v1/campaigns/{id}/start"), &json!({}), 422).await;
    assert_eq!(refused.str("/errors/0/pointer"), "/newsletter/from");
    let archive = stack.ask(stack.open(Method::GET, &format!("/archive/{newsletter}"))).await;
    assert_eq!(archive.status, StatusCode::NOT_FOUND, "off unless switched on");
    let drafts = stack.get(&format!("/v1/campaigns?state=draft&newsletter={newsletter}")).await;
    assert_eq!(drafts.str("/campaigns/0/id"), id);
}
