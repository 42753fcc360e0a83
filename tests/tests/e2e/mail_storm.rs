//! Ten thousand subscribers get a letter while workers are killed, calls to AWS fail, SES throttles and withholds answers, its
//! events come late, twice and out of order, and a person pauses the campaign and resumes it.

use super::campaign_run::recipients;
use super::campaigns::{campaign, newsletter};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use millrace_tests::{Answer, Stack, processes, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PEOPLE: usize = 10_000;
/// Addresses of SES's simulator among them. Few enough not to halt the campaign.
const SIMULATED: [(&str, usize); 4] = [("bounce", 6), ("suppressionlist", 3), ("ooto", 8), ("complaint", 2)];
/// Who unsubscribes while the campaign is paused, before their letter.
const LEAVING: usize = 20;
/// Mails a second. More is possible; then less of it meets the kills and the pause.
const RATE: f64 = 150.0;
/// So many mails are accepted before the pause.
const BEFORE_PAUSE: u64 = 3_000;
/// Share of the functions' calls that are refused, and of those that are carried out and not answered.
const THROTTLE: f64 = 0.02;
const LOSE_ANSWER: f64 = 0.002;
/// Whom the killer ends: those who send most often, and those who hear, plan and tick.
const VICTIMS: [&str; 8] =
    ["newsletter", "newsletter", "newsletter", "newsletter", "newsletter", "feedback", "feedback", "newsletter-run"];
/// How long it may take until all is settled.
const PATIENCE: Duration = Duration::from_secs(600);

fn addresses(run: &str) -> Vec<String> {
    let simulated = SIMULATED
        .iter()
        .flat_map(|(local, count)| (0..*count).map(move |i| format!("{local}+{run}-{i}@simulator.amazonses.com")));
    let mut addresses: Vec<String> = simulated.collect();
    addresses.extend((addresses.len()..PEOPLE).map(|i| format!("{run}-{i}@example.net")));
    addresses
}

/// Adds them by lists, which are worked on side by side.
async fn import(stack: &Stack, newsletter: &str, addresses: &[String]) {
    let consent = json!({"source": "e2e", "at": "2026-01-01T00:00:00Z"});
    let began = Instant::now();
    let mut jobs = Vec::new();
    for part in addresses.chunks(PEOPLE / 4) {
        let request = json!({ "newsletter": newsletter, "consent": consent });
        let answer = stack.post_ok("/v1/subscribers/import", &request, 202).await;
        let list: String = part.iter().map(|address| format!("{address},Reader\r\n")).collect();
        let sent = stack.anywhere(Method::PUT, answer.str("/upload/url")).body(format!("email,name\r\n{list}"));
        let sent = stack.ask(sent).await;
        assert_eq!(sent.status, StatusCode::OK, "{}", sent.text);
        jobs.push((answer.str("/job/id").to_owned(), part.len() as u64));
    }
    for (id, lines) in jobs {
        let job = loop {
            let job = stack.job(&id).await;
            if job.str("/state") == "succeeded" {
                break job;
            }
            assert!(job.str("/state") != "dead" && began.elapsed() < PATIENCE, "{}", job.text);
            sleep(Duration::from_secs(1)).await;
        };
        assert_eq!(job.number("/result/added"), lines, "{}", job.text);
    }
}

/// Asks until it is done: the storm hits this caller too.
async fn asked(stack: &Stack, method: Method, path: &str, body: &Value) -> Answer {
    until(path, async || {
        let answer = stack.ask(stack.request(method.clone(), path).json(body)).await;
        answer.status.is_success().then_some(answer)
    })
    .await
}

async fn accepted(stack: &Stack, campaign: &str) -> u64 {
    stack.mails_of(campaign).await.iter().map(|(_, count)| count).sum()
}

/// Pauses once some were sent, has some leave who have no letter yet, and resumes. Gives who left.
async fn interrupted(stack: &Stack, campaign: &str) -> BTreeSet<String> {
    until("the first thousands", async || {
        sleep(Duration::from_secs(1)).await;
        (accepted(stack, campaign).await >= BEFORE_PAUSE).then_some(())
    })
    .await;
    asked(stack, Method::POST, &format!("/v1/campaigns/{campaign}/pause"), &json!({})).await;
    sleep(Duration::from_secs(5)).await;
    let before = accepted(stack, campaign).await;
    assert!(before < PEOPLE as u64, "all were sent before the pause");
    let path = format!("/v1/campaigns/{campaign}/recipients?state=pending&limit=1000");
    let page = asked(stack, Method::GET, &path, &Value::Null).await;
    let pending = page.body["recipients"].as_array().expect("recipients");
    let fresh = pending.iter().filter(|one| {
        one["attempts"] == 0 && one["email"].as_str().is_some_and(|address| address.ends_with("@example.net"))
    });
    let leaving: Vec<&Value> = fresh.take(LEAVING).collect();
    let gone = stream::iter(&leaving).then(async |one| {
        let path = format!("/v1/subscribers/{}", one["subscriber"].as_str().expect("an id"));
        asked(stack, Method::PATCH, &path, &json!({"status": "unsubscribed"})).await;
        one["email"].as_str().expect("an address").to_owned()
    });
    let gone = gone.collect().await;
    assert_eq!(accepted(stack, campaign).await, before, "a paused campaign sends nothing");
    asked(stack, Method::POST, &format!("/v1/campaigns/{campaign}/resume"), &json!({})).await;
    gone
}

/// The account once every recipient has come to a final state and every delivery is told. Says when every letter was handed
/// out once.
async fn settled(stack: &Stack, campaign: &str, began: Instant, handed_out: &AtomicBool) -> Answer {
    loop {
        assert!(began.elapsed() < PATIENCE, "not everything is settled");
        // A tick that the storm ends is made up for by the next.
        let _ = stack.invoke("clock").await;
        let account = asked(stack, Method::GET, &format!("/v1/campaigns/{campaign}"), &Value::Null).await;
        if account.str("/state") == "finished" && account.number("/counts/sent") == 0 {
            return account;
        }
        assert_ne!(account.str("/state"), "halted", "{}", account.text);
        if account.number("/counts/pending") == 0 {
            handed_out.store(true, Ordering::Relaxed);
        }
        sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn ten_thousand_get_one_letter_each_or_are_listed_while_everything_fails_now_and_then() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let seed = std::env::var("MILLRACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let run = format!("mail-storm-{}", Timestamp::now().as_millisecond());
    let newsletter = newsletter(&stack, "Storm").await;
    let addresses = addresses(&run);
    let import_began = Instant::now();
    import(&stack, &newsletter, &addresses).await;
    let imported = import_began.elapsed();
    let campaign = campaign(&stack, &newsletter).await;
    asked(&stack, Method::POST, &format!("/v1/campaigns/{campaign}/rate"), &json!({ "rate": RATE })).await;

    stack.faults(&json!({"throttle": THROTTLE, "lose_answer": LOSE_ANSWER, "seed": seed})).await;
    let faults = json!({
        "throttle": {"next": 50}, "drop_answer": 0.005, "reorder": 0.1, "repeat": 0.1, "delay": 0.05, "delay_ms": 2_000,
        "seed": seed
    });
    stack.mail_faults(&faults).await;
    // What is tried again after that would only wait longer for its turn, were it killed again and again.
    let (began, handed_out) = (Instant::now(), AtomicBool::new(false));
    asked(&stack, Method::POST, &format!("/v1/campaigns/{campaign}/start"), &json!({})).await;
    let work = async {
        let left = interrupted(&stack, &campaign).await;
        let account = settled(&stack, &campaign, began, &handed_out).await;
        handed_out.store(true, Ordering::Relaxed);
        (left, account)
    };
    let killer = processes::killer(&stack.name, &VICTIMS, 1_000..3_000, seed, &handed_out);
    let ((left, account), killed) = tokio::join!(work, killer);
    let took = began.elapsed();
    stack.faults(&json!({})).await;
    let happened = stack.mail_faults_happened().await;
    stack.mail_faults(&json!({})).await;

    // The mailbox knows who got what; the account has to agree with it.
    let unknown: BTreeSet<String> =
        recipients(&stack, &campaign, "unknown").await.into_iter().map(|(who, _)| who).collect();
    let suppressed = recipients(&stack, &campaign, "suppressed").await;
    assert_eq!(suppressed.into_iter().map(|(who, _)| who).collect::<BTreeSet<_>>(), left);
    // Late repeats would come by redelivery, which takes one visibility timeout.
    sleep(Duration::from_secs(15)).await;
    let got: BTreeMap<String, u64> = stack.mails_of(&campaign).await.into_iter().collect();
    let mut of_mails: BTreeMap<u64, usize> = BTreeMap::new();
    for address in &addresses {
        let mails = got.get(address).copied().unwrap_or(0);
        let right =
            if left.contains(address) { mails == 0 } else { mails == 1 || unknown.contains(address) && mails == 0 };
        assert!(right, "{mails} mails to {address}; unknown: {}", unknown.contains(address));
        *of_mails.entry(mails).or_default() += 1;
    }
    assert_eq!(got.len(), of_mails.get(&1).copied().unwrap_or(0), "somebody got a letter who is not in the audience");
    let of = |local: &str| {
        let all = addresses.iter().filter(|address| address.starts_with(&format!("{local}+")));
        all.filter(|address| !unknown.contains(*address)).count() as u64
    };
    let count = |state: &str| account.number(&format!("/counts/{state}"));
    assert_eq!((account.number("/total"), account.number("/repeated")), (PEOPLE as u64, 0), "{}", account.text);
    assert_eq!((count("suppressed"), count("unknown")), (LEAVING as u64, unknown.len() as u64), "{}", account.text);
    let after = ["bounced", "complained", "delivered"].map(count);
    let (back, spam) = (of("bounce") + of("suppressionlist") + of("ooto"), of("complaint"));
    let reached = (PEOPLE - LEAVING - unknown.len()) as u64 - back - spam;
    assert_eq!(after, [back, spam, reached], "{}", account.text);
    assert_eq!(["pending", "sending", "sent", "failed", "skipped"].map(count), [0; 5], "{}", account.text);

    assert!(killed.values().sum::<usize>() > 10, "hardly a process was killed: {killed:?}");
    for fault in ["throttle", "drop_answer", "reorder", "repeat", "delay"] {
        assert!(happened[fault].as_u64() > Some(0), "no {fault}: {happened}");
    }
    let report = format!(
        "mail storm of seed {seed}: {PEOPLE} subscribers (imported in {:.0} s), killed {killed:?}, {} calls disturbed, mails \
         {happened}: {} got one letter, {} none (left in the pause), {} unknown, 0 twice, {:.0} s",
        imported.as_secs_f64(),
        stack.disturbed().await,
        got.len(),
        left.len(),
        unknown.len(),
        took.as_secs_f64()
    );
    // Not by `eprintln!`, of which the test runner shows nothing when all is well.
    writeln!(std::io::stderr(), "{report}").expect("standard error");
}
