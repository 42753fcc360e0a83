use super::campaigns::{audience, campaign, finished, newsletter, reached};
use millrace::ports::{Message, Queue as _};
use millrace::testing::builders;
use millrace_tests::{Answer, Inside, Stack, stack::until};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// How long a worker may take to hear that its campaign was stopped, and to end the sends it had begun.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn act(stack: &Stack, campaign: &str, what: &str, body: &Value) -> Answer {
    let answer = stack.post(&format!("/v1/campaigns/{campaign}/{what}"), body).await;
    assert!(answer.status.is_success(), "{what}: {}", answer.text);
    answer
}

async fn account(stack: &Stack, campaign: &str) -> Answer {
    let account = stack.get(&format!("/v1/campaigns/{campaign}")).await;
    let counts = account.body["counts"].as_object().expect("counts");
    let sum: u64 = counts.values().filter_map(Value::as_u64).sum();
    assert!(account.body["frozen"] == false || sum == account.number("/total"), "{}", account.text);
    account
}

async fn accepted(stack: &Stack, campaign: &str) -> u64 {
    stack.mails_of(campaign).await.iter().map(|(_, count)| count).sum()
}

/// A campaign of so many mails at so many a second, of which some have gone out.
async fn under_way(stack: &Stack, prefix: &str, size: usize, rate: f64) -> String {
    let newsletter = newsletter(stack, prefix).await;
    audience(stack, &newsletter, prefix, size).await;
    let campaign = campaign(stack, &newsletter).await;
    act(stack, &campaign, "rate", &json!({"rate": rate})).await;
    act(stack, &campaign, "start", &json!({})).await;
    until("some letters", async || (accepted(stack, &campaign).await >= 3).then_some(())).await;
    campaign
}

pub(super) async fn recipients(stack: &Stack, campaign: &str, state: &str) -> Vec<(String, String)> {
    let page = stack.get(&format!("/v1/campaigns/{campaign}/recipients?state={state}&limit=1000")).await;
    let page = page.body["recipients"].as_array().expect("recipients").clone();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    page.iter().map(|one| (text(one, "email"), text(one, "reason"))).collect()
}

#[tokio::test]
async fn a_pause_stops_a_campaign_within_seconds_and_a_resume_sends_the_rest() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let campaign = under_way(&stack, "pause", 120, 4.0).await;
    assert_eq!(act(&stack, &campaign, "pause", &json!({})).await.str("/state"), "paused");
    sleep(HEARD_WITHIN).await;
    let before = accepted(&stack, &campaign).await;
    stack.invoke("clock").await.expect("a tick");
    sleep(HEARD_WITHIN).await;
    assert_eq!(accepted(&stack, &campaign).await, before, "a paused campaign sends nothing");
    let paused = account(&stack, &campaign).await;
    assert_eq!((paused.str("/state"), paused.str("/stopped/reason")), ("paused", "person"));
    assert!(paused.number("/counts/pending") > 0, "{}", paused.text);

    act(&stack, &campaign, "rate", &json!({"rate": null})).await;
    act(&stack, &campaign, "resume", &json!({})).await;
    let end = finished(&stack, &campaign).await;
    assert_eq!((end.number("/total"), reached(&end), end.number("/repeated")), (120, 120, 0));
    let mails = stack.mails_of(&campaign).await;
    assert_eq!(mails.len(), 120);
    assert!(mails.iter().all(|(_, count)| *count == 1), "{mails:?}");
}

#[tokio::test]
async fn a_cancelled_campaign_sends_no_more_and_accounts_for_everybody() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let campaign = under_way(&stack, "cancel", 100, 4.0).await;
    act(&stack, &campaign, "cancel", &json!({})).await;
    sleep(HEARD_WITHIN).await;
    let before = accepted(&stack, &campaign).await;
    let end = until("what was on its way is written down", async || {
        stack.invoke("clock").await.expect("a tick");
        let account = account(&stack, &campaign).await;
        (account.number("/counts/sending") == 0).then_some(account)
    })
    .await;
    assert_eq!(end.str("/state"), "cancelled");
    assert_eq!((reached(&end), end.number("/counts/skipped")), (before, 100 - before), "{}", end.text);
    assert_eq!(accepted(&stack, &campaign).await, before);
    let skipped = recipients(&stack, &campaign, "skipped").await;
    assert_eq!(skipped.len() as u64, 100 - before);
    assert!(skipped.iter().all(|(_, reason)| reason == "cancelled"));
    assert_eq!(stack.post(&format!("/v1/campaigns/{campaign}/resume"), &json!({})).await.status, 409);
}

/// What SES would tell of a mail that the mailbox has accepted.
fn event(mail: &Value, kind: &str, detail: (&str, Value)) -> String {
    let tags: serde_json::Map<String, Value> =
        mail["tags"].as_object().expect("tags").iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    json!({
        "eventType": kind,
        "mail": {
            "timestamp": mail["received_at"], "messageId": mail["id"], "destination": mail["to"], "tags": tags
        },
        detail.0: detail.1
    })
    .to_string()
}

#[tokio::test]
async fn who_bounced_or_complained_is_accounted_for_and_gets_no_other_letter() {
    let (_gate, stack, inside) = (super::shared().await, Stack::from_env(), Inside::from_env().await);
    let newsletter = newsletter(&stack, "Came back").await;
    let addresses = audience(&stack, &newsletter, "came-back", 10).await;
    let first = campaign(&stack, &newsletter).await;
    act(&stack, &first, "start", &json!({})).await;
    finished(&stack, &first).await;

    let (bounced, complained) = (&addresses[2], &addresses[7]);
    let mail = async |address: &str| stack.mails_to(address).await.remove(0);
    let (bounced_mail, complained_mail) = (mail(bounced).await, mail(complained).await);
    let bounce =
        event(&bounced_mail, "Bounce", ("bounce", json!({"bounceType": "Permanent", "bounceSubType": "General"})));
    let complaint = event(&complained_mail, "Complaint", ("complaint", json!({"complaintFeedbackType": "abuse"})));
    let delivery = event(&complained_mail, "Delivery", ("delivery", json!({})));
    // Twice, and the delivery after the complaint it came before.
    let told = [&bounce, &complaint, &delivery, &bounce].map(|body| Message::now(body.clone(), builders::tenant()));
    for sent in inside.queue("feedback").send(&told).await {
        sent.expect("sent");
    }
    let told = until("the events are noted", async || {
        let account = account(&stack, &first).await;
        (account.number("/counts/bounced") + account.number("/counts/complained") == 2).then_some(account)
    })
    .await;
    assert_eq!((told.number("/counts/bounced"), reached(&told)), (1, 8), "{}", told.text);
    assert_eq!(recipients(&stack, &first, "bounced").await, [(bounced.clone(), "Permanent/General".to_owned())]);
    assert_eq!(recipients(&stack, &first, "complained").await, [(complained.clone(), "abuse".to_owned())]);

    let second = campaign(&stack, &newsletter).await;
    act(&stack, &second, "start", &json!({})).await;
    let end = finished(&stack, &second).await;
    assert_eq!((reached(&end), end.number("/counts/suppressed")), (8, 2), "{}", end.text);
    let mails = stack.mails_of(&second).await;
    assert!(mails.iter().all(|(address, _)| address != bounced && address != complained), "{mails:?}");
}
