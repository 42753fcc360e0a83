//! What SES tells of mails, from the mailbox to a campaign's account and the suppression list.

use super::campaign_run::{act, recipients};
use super::campaigns::{audience, campaign, finished, newsletter};
use jiff::Timestamp;
use millrace::telemetry::Metric;
use millrace_tests::{Answer, Stack, stack::until};
use serde_json::json;

const SIMULATOR: &str = "simulator.amazonses.com";
/// What virus scanners are tested with: SES rejects a mail that has it.
const VIRUS: &str = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE";

/// Waits until the account is as `is` wants it.
async fn account_with(stack: &Stack, campaign: &str, what: &str, is: impl Fn(&Answer) -> bool) -> Answer {
    until(what, async || Some(stack.get(&format!("/v1/campaigns/{campaign}")).await).filter(|account| is(account)))
        .await
}

fn counts<const N: usize>(account: &Answer, states: [&str; N]) -> [u64; N] {
    states.map(|state| account.number(&format!("/counts/{state}")))
}

#[tokio::test]
async fn each_kind_of_event_moves_the_account_and_who_must_not_be_sent_to_is_not() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Simulated").await;
    // The suppression list keeps what earlier runs did.
    let run = Timestamp::now().as_millisecond();
    let simulated = |local: &str| format!("{local}+{run}@{SIMULATOR}");
    let plain = format!("plain-{run}@example.net");
    let virus = format!("virus-{run}@example.net");
    let people = ["success", "bounce", "suppressionlist", "ooto", "complaint"].map(simulated);
    for address in people.iter().chain([&plain, &virus]) {
        let body = json!({
            "newsletter": newsletter, "email": address, "name": if *address == virus { VIRUS } else { "Reader" },
            "consent": {"source": "e2e", "at": "2026-01-01T00:00:00Z"}
        });
        stack.post_ok("/v1/subscribers", &body, 201).await;
    }
    let first = campaign(&stack, &newsletter).await;
    act(&stack, &first, "start", &json!({})).await;
    finished(&stack, &first).await;
    let told = ["delivered", "bounced", "complained", "failed", "sent"];
    let account = account_with(&stack, &first, "all events", |account| {
        counts(account, ["sent"]) == [0] && counts(account, ["bounced", "complained"]) == [3, 1]
    })
    .await;
    assert_eq!(counts(&account, told), [2, 3, 1, 1, 0], "{}", account.text);
    assert_eq!(account.number("/total"), 7);
    let [success, bounce, listed, ooto, complaint] = &people;
    let sorted = async |state: &str| {
        let mut found = recipients(&stack, &first, state).await;
        found.sort();
        found
    };
    let pair = |address: &String, reason: &str| (address.clone(), reason.to_owned());
    assert_eq!(sorted("delivered").await, [pair(&plain, ""), pair(success, "")]);
    let bounced =
        [pair(bounce, "Permanent/General"), pair(ooto, "Transient/General"), pair(listed, "Permanent/Suppressed")];
    assert_eq!(sorted("bounced").await, bounced);
    assert_eq!(sorted("complained").await, [pair(complaint, "abuse")]);
    assert_eq!(sorted("failed").await, [pair(&virus, "Bad content")]);

    // A mailbox that was full, or whose owner is away, is tried again; the others are not.
    let second = campaign(&stack, &newsletter).await;
    act(&stack, &second, "start", &json!({})).await;
    finished(&stack, &second).await;
    let mut suppressed = recipients(&stack, &second, "suppressed").await;
    suppressed.sort();
    let reasons = [pair(bounce, "bounce"), pair(complaint, "complaint"), pair(listed, "bounce")];
    assert_eq!(suppressed, reasons);
    let got: Vec<String> = stack.mails_of(&second).await.into_iter().map(|(address, _)| address).collect();
    assert_eq!(got.len(), 4, "{got:?}");
    assert!([bounce, complaint, listed].iter().all(|address| !got.contains(address)), "{got:?}");
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_the_events_and_without_them_listed() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let newsletter = newsletter(&stack, "No answer").await;
    let addresses = audience(&stack, &newsletter, "no-answer", 20).await;
    let all_one = async |campaign: &str| {
        let mails = stack.mails_of(campaign).await;
        assert!(mails.len() == addresses.len() && mails.iter().all(|(_, count)| *count == 1), "{mails:?}");
    };
    // Events that come late, twice and in the reverse order tell all the same.
    let faults = json!({
        "drop_answer": {"next": 5}, "reorder": 0.5, "repeat": 0.5, "delay": 0.5, "delay_ms": 2_000, "seed": 1
    });
    stack.mail_faults(&faults).await;
    let told = campaign(&stack, &newsletter).await;
    act(&stack, &told, "start", &json!({})).await;
    finished(&stack, &told).await;
    let account = account_with(&stack, &told, "all deliveries", |account| counts(account, ["delivered"]) == [20]).await;
    assert_eq!(account.number("/repeated"), 0);
    all_one(&told).await;
    let happened = stack.mail_faults_happened().await;
    assert_eq!(happened["drop_answer"], 5);
    assert!(["reorder", "repeat", "delay"].iter().all(|fault| happened[fault].as_u64() > Some(0)), "{happened}");

    let before = stack.counted("clock", Metric::RecipientsUnknown).await;
    let held = json!({
        "newsletter": newsletter, "subject": "x", "body": {"html": include_str!("../../../events/letter.html")},
        "send": {"when": "now"}, "uncertain": "hold"
    });
    let held = stack.post_ok("/v1/campaigns", &held, 201).await.str("/id").to_owned();
    stack.mail_faults(&json!({"drop_answer": {"next": 5}, "lose": 1.0})).await;
    act(&stack, &held, "start", &json!({})).await;
    let account = finished(&stack, &held).await;
    stack.mail_faults(&json!({})).await;
    assert_eq!(counts(&account, ["sent", "unknown", "delivered"]), [15, 5, 0], "{}", account.text);
    assert_eq!(recipients(&stack, &held, "unknown").await.len(), 5);
    until("lines that the alarm of unknown recipients counts", async || {
        (stack.counted("clock", Metric::RecipientsUnknown).await >= before + 5).then_some(())
    })
    .await;
    all_one(&held).await;
}

#[tokio::test]
async fn a_refusal_is_the_recipients_and_a_throttle_is_made_up_for() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Refused").await;
    audience(&stack, &newsletter, "refusal", 20).await;
    stack.mail_faults(&json!({"refuse": {"next": 2}, "throttle": {"next": 3}})).await;
    let campaign = campaign(&stack, &newsletter).await;
    act(&stack, &campaign, "start", &json!({})).await;
    finished(&stack, &campaign).await;
    let account =
        account_with(&stack, &campaign, "all deliveries", |account| counts(account, ["delivered"]) == [18]).await;
    stack.mail_faults(&json!({})).await;
    assert_eq!(counts(&account, ["failed", "sent", "unknown"]), [2, 0, 0], "{}", account.text);
    assert!(recipients(&stack, &campaign, "failed").await.iter().all(|(_, reason)| reason == "MessageRejected"));
    let mails = stack.mails_of(&campaign).await;
    assert!(mails.len() == 18 && mails.iter().all(|(_, count)| *count == 1), "{mails:?}");
}
