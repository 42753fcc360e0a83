//! Writing, previewing, testing and checking letters.

use crate::campaigns::{HTML, id, letter};
use crate::site::{Site, subscriber};
use millrace::domain::account::{Account, Enforcement};
use millrace::domain::preflight::Identity;
use millrace::jobs::{JobMessage, TestLetter};
use millrace::letters;
use millrace::ports::{Campaigns, SendingAccount};
use serde_json::{Value, json};
use std::time::Duration;

const MARKDOWN: &str = "Hello **{{ name or 'you' }}**{% if 'vip' in tags %}, dear friend{% endif %}!\n\n\
    {{ newsletter.postal_address }} [Out]({{ unsubscribe_url }})\n";
const MJML: &str = "<mjml><mj-body><mj-section><mj-column><mj-text>Hello {{ name }}, {{ newsletter.postal_address }}\
    <a href=\"{{ unsubscribe_url }}\">Out</a></mj-text></mj-column></mj-section></mj-body></mjml>";

async fn draft(site: &Site, body: Value) -> String {
    let newsletter = site.newsletter().await;
    let mut request = letter(&newsletter);
    request["body"] = body;
    let draft = site.post("/v1/campaigns", request).await.expect(201).json();
    format!("/v1/campaigns/{}", draft["id"].as_str().unwrap())
}

/// Adds a subscriber to a campaign's newsletter; gives its id.
async fn reader(site: &Site, campaign: &str, email: &str, tags: Value) -> String {
    let newsletter = site.get(campaign).await.json()["newsletter"].as_str().unwrap().to_owned();
    let mut request = subscriber(&newsletter, email);
    request["name"] = json!("Bo <b>");
    request["tags"] = tags;
    site.post("/v1/subscribers", request).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_letter_is_previewed_as_any_reader() {
    let site = Site::new();
    let campaign = draft(&site, json!({"markdown": MARKDOWN})).await;
    let preview = site.get(&format!("{campaign}/preview")).await.expect(200).json();
    assert!(preview["html"].as_str().unwrap().contains("<strong>Ada</strong>!"), "{preview}");
    assert!(preview["text"].as_str().unwrap().starts_with("Hello Ada!\n"), "{preview}");
    assert_eq!((&preview["subject"], &preview["to"]), (&json!("News"), &json!("ada@example.com")));
    assert_eq!(preview["from"], "\"The Mill\" <news@example.com>");
    let names: Vec<_> =
        preview["headers"].as_array().unwrap().iter().map(|header| header["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["List-Unsubscribe", "List-Unsubscribe-Post", "List-Id"]);

    let bo = reader(&site, &campaign, "bo@example.org", json!(["vip"])).await;
    let preview = site.get(&format!("{campaign}/preview?subscriber={bo}")).await.expect(200).json();
    assert!(preview["html"].as_str().unwrap().contains("<strong>Bo &lt;b&gt;</strong>, dear friend!"), "{preview}");
    assert!(preview["text"].as_str().unwrap().starts_with("Hello Bo <b>, dear friend!"), "{preview}");
    // Whoever looks at a preview cannot unsubscribe the reader.
    let link = preview["text"].as_str().unwrap().split("https://api.example.com").nth(1).unwrap();
    site.post_text("", link.split('>').next().unwrap(), &[], "").await.expect(400);

    let other = json!({"subject": "To {{ name }}", "body": {"mjml": MJML}});
    let tried = site.post(&format!("{campaign}/preview?subscriber={bo}"), other).await.expect(200).json();
    assert_eq!(tried["subject"], "To Bo <b>");
    assert!(tried["html"].as_str().unwrap().contains("Hello Bo &lt;b&gt;"));
    assert_eq!(site.get(&campaign).await.json()["subject"], "News", "nothing is stored");

    for wrong in ["subscriber=sub_x", "subscriber=usr_1", "as=x"] {
        site.get(&format!("{campaign}/preview?{wrong}")).await.expect(422);
    }
    let pointers = site.post(&format!("{campaign}/preview"), json!({"body": {"html": "{{ x }}"}})).await.pointers();
    assert_eq!(pointers, ["/body/html"]);
    site.get_as(&site.rival, &format!("{campaign}/preview")).await.expect(404);
    let other = draft(&site, json!({"html": HTML})).await;
    site.get(&format!("{other}/preview?subscriber={bo}")).await.expect(422);
}

#[tokio::test]
async fn a_draft_is_changed_and_a_started_campaign_is_not() {
    let site = Site::new();
    let campaign = draft(&site, json!({"mjml": MJML})).await;
    let before = site.get(&format!("{campaign}?include=letter")).await.expect(200).json();
    assert_eq!(before["letter"], json!({"subject": "News", "body": {"mjml": MJML}}));
    let change =
        json!({"subject": "Other", "text": "Hi {{ name }}", "segment": {"tags_any": ["b"]}, "send": {"when": "next"}});
    let after = site.patch(&campaign, change).await.expect(200).json();
    assert_eq!((&after["subject"], &after["send"]["when"]), (&json!("Other"), &json!("next")));
    assert_eq!(after["segment"], json!({"tags_any": ["b"], "tags_all": []}));
    let letter = site.get(&format!("{campaign}?include=letter")).await.json()["letter"].clone();
    assert_eq!(letter, json!({"subject": "Other", "body": {"mjml": MJML}, "text": "Hi {{ name }}"}));
    let after =
        site.patch(&campaign, json!({"text": null, "segment": null, "body": {"markdown": MARKDOWN}})).await.expect(200);
    assert_eq!(after.json()["segment"], json!({"tags_any": [], "tags_all": []}));
    let letter = site.get(&format!("{campaign}?include=letter")).await.json()["letter"].clone();
    assert_eq!(letter, json!({"subject": "Other", "body": {"markdown": MARKDOWN}}));

    let check = async |change: Value, pointers: &[&str]| {
        assert_eq!(site.patch(&campaign, change.clone()).await.pointers(), pointers, "{change}");
    };
    check(json!({"subject": "{{ x }}"}), &["/subject"]).await;
    check(json!({"body": {"html": "x"}, "send": {"when": "2020-01-01"}}), &["/body/html", "/send/when"]).await;
    check(json!({"newsletter": "nl_1"}), &["/newsletter"]).await;
    check(json!({"subject": null, "state": "sending"}), &["/state"]).await;
    site.get(&format!("{campaign}?include=all")).await.expect(422);
    site.patch("/v1/campaigns/cmp_1", json!({})).await.expect(404);

    site.patch(&campaign, json!({"send": {"when": "now"}})).await.expect(200);
    site.post(&format!("{campaign}/start"), json!({})).await.expect(202);
    site.patch(&campaign, json!({"subject": "Late"})).await.expect(409);
}

#[tokio::test]
async fn campaigns_are_listed_newest_first() {
    let site = Site::new();
    let (one, two) = (site.newsletter().await, site.newsletter().await);
    let mut made = Vec::new();
    for newsletter in [&one, &two, &one, &one] {
        let campaign = site.post("/v1/campaigns", letter(newsletter)).await.expect(201).json();
        made.insert(0, campaign["id"].as_str().unwrap().to_owned());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    site.campaigns.faults.refuse_next("create");
    site.post("/v1/campaigns", letter(&one)).await.expect(503);
    let ids = |page: &Value| {
        let campaigns = page["campaigns"].as_array().unwrap().iter();
        campaigns.map(|campaign| campaign["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = site.get("/v1/campaigns").await.expect(200).json();
    assert_eq!((ids(&all), all.get("next_cursor")), (made.clone(), None));
    let first = site.get(&format!("/v1/campaigns?newsletter={one}&limit=2")).await.expect(200).json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = site.get(&format!("/v1/campaigns?newsletter={one}&limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!([ids(&first), ids(&second)].concat(), [made[0].clone(), made[1].clone(), made[3].clone()]);
    site.post(&format!("/v1/campaigns/{}/start", made[2]), json!({})).await.expect(202);
    let started = site.get("/v1/campaigns?state=freezing").await.expect(200).json();
    assert_eq!(ids(&started), [made[2].clone()]);
    let rival = site.get_as(&site.rival, &format!("/v1/campaigns?newsletter={one}")).await.expect(200).json();
    assert_eq!(ids(&rival), Vec::<String>::new());
    for wrong in ["newsletter=x", "state=x", "limit=0", "cursor=x", "tag=x"] {
        site.get(&format!("/v1/campaigns?{wrong}")).await.expect(422);
    }
}

#[tokio::test]
async fn a_test_is_a_job_that_can_be_asked_for_again() {
    let site = Site::new();
    let campaign = draft(&site, json!({"html": HTML})).await;
    let bo = reader(&site, &campaign, "bo@example.org", json!([])).await;
    let path = format!("{campaign}/test");
    let body = json!({"to": "editor@example.com", "subscriber": bo});
    let reply = site.post_with(&path, body.clone(), &[("idempotency-key", "t1")]).await.expect(202);
    let job = reply.json();
    assert_eq!(job["kind"], "test-letter");
    let message = JobMessage::parse(&site.email.all()[0].body).unwrap();
    let test: TestLetter = serde_json::from_value(message.payload.unwrap()).unwrap();
    assert_eq!((test.to.as_str(), test.subscriber.unwrap().as_str()), ("editor@example.com", bo.as_str()));
    assert!(letters::load(&site.blobs, &letters::key(&test.campaign, &test.letter)).await.is_ok());

    site.patch(&campaign, json!({"subject": "Other"})).await.expect(200);
    let again = site.post_with(&path, body, &[("idempotency-key", "t1")]).await.expect(202);
    assert_eq!((again.json()["id"].as_str(), again.header("idempotency-replayed")), (job["id"].as_str(), Some("true")));
    let other = site.post(&path, json!({"to": "editor@example.com"})).await.expect(202).json();
    assert_ne!(other["id"], job["id"]);
    for (wrong, pointer) in [
        (json!({}), "/to"),
        (json!({"to": "x"}), "/to"),
        (json!({"to": "a@example.com", "subscriber": "sub_x"}), "/subscriber"),
        (json!({"to": "a@example.com", "cc": "b@example.com"}), "/cc"),
    ] {
        assert_eq!(site.post(&path, wrong).await.pointers(), [pointer]);
    }
    site.post_as(&site.rival, &path, json!({"to": "a@example.com"})).await.expect(404);
    let submitted = site.post("/v1/jobs", json!({"kind": "test-letter", "payload": {}})).await;
    assert_eq!(submitted.pointers(), ["/kind"], "only Millrace makes such jobs");
    let kinds = site.get("/v1/kinds").await.json();
    assert!(kinds.as_array().unwrap().iter().all(|kind| kind["kind"] != "test-letter"));
}

/// The severities and pointers that a preflight found.
async fn found(site: &Site, campaign: &str) -> Vec<(String, String)> {
    let answer = site.get(&format!("{campaign}/preflight")).await.expect(200).json();
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!(answer["ready"], findings.iter().all(|finding| finding["severity"] != "error"), "{answer}");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings.iter().map(|finding| (text(finding, "severity"), text(finding, "pointer"))).collect()
}

fn finding(severity: &str, pointer: &str) -> (String, String) {
    (severity.to_owned(), pointer.to_owned())
}

/// The campaign must not start, and the refusal must point there.
async fn refused(site: &Site, campaign: &str, pointer: &str) {
    assert_eq!(found(site, campaign).await[0], finding("error", pointer));
    assert_eq!(site.post(&format!("{campaign}/start"), json!({})).await.pointers(), [pointer]);
    assert_eq!(site.get(campaign).await.json()["state"], "draft");
}

#[tokio::test]
async fn a_campaign_without_faults_is_ready() {
    let site = Site::new();
    let campaign = draft(&site, json!({"html": HTML})).await;
    assert_eq!(found(&site, &campaign).await, [finding("warning", "/segment")]);
    for i in 0..3 {
        reader(&site, &campaign, &format!("r{i}@example.org"), json!([])).await;
    }
    let answer = site.get(&format!("{campaign}/preflight")).await.expect(200).json();
    assert_eq!(answer, json!({"ready": true, "readers": 3, "findings": []}));
    site.get_as(&site.rival, &format!("{campaign}/preflight")).await.expect(404);
    site.post(&format!("{campaign}/start"), json!({})).await.expect(202);
}

#[tokio::test]
async fn a_letter_that_fails_for_a_reader_is_refused() {
    let cases = [
        ("{% if 'vip' not in tags %}{{ unsubscribe_url }}{% endif %}{{ newsletter.postal_address }}", "/body/html"),
        ("{{ unsubscribe_url }}{% if 'vip' not in tags %}{{ newsletter.postal_address }}{% endif %}", "/body/html"),
        (
            "{{ unsubscribe_url }}{{ newsletter.postal_address }}{{ 1 // (tags | length - 2) if tags | length > 1 }}",
            "/body/html",
        ),
    ];
    for (html, pointer) in cases {
        let site = Site::new();
        let campaign = draft(&site, json!({"html": html})).await;
        reader(&site, &campaign, "plain@example.org", json!([])).await;
        let vip = reader(&site, &campaign, "vip@example.org", json!(["also", "vip"])).await;
        refused(&site, &campaign, pointer).await;
        let answer = site.get(&format!("{campaign}/preflight")).await.text();
        assert!(answer.contains("for 1 of 2 readers") && answer.contains(&vip) && !answer.contains('@'), "{answer}");
        site.get(&format!("{campaign}/preview?subscriber={vip}")).await.expect(422);
    }
    let site = Site::new();
    let campaign = draft(&site, json!({"html": HTML})).await;
    site.patch(&campaign, json!({"subject": "{% if 'vip' not in tags %}News{% endif %}"})).await.expect(200);
    reader(&site, &campaign, "vip@example.org", json!(["vip"])).await;
    refused(&site, &campaign, "/subject").await;
}

#[tokio::test]
async fn an_unverified_sender_and_an_account_that_cannot_send_are_refused() {
    let site = Site::new();
    let campaign = draft(&site, json!({"html": HTML})).await;
    reader(&site, &campaign, "r@example.org", json!([])).await;
    site.account.know("news@example.com", None);
    site.account.know("example.com", None);
    refused(&site, &campaign, "/newsletter/from").await;
    let unsigned = Identity { verified: true, dkim: false, mail_from: false };
    site.account.know("example.com", Some(unsigned));
    assert_eq!(found(&site, &campaign).await, [finding("warning", "/newsletter/from")]);
    site.account.know("example.com", Some(Identity { dkim: true, ..unsigned }));

    let fine = site.account.account().await.unwrap();
    for bad in [
        Account { production_access: false, ..fine },
        Account { sending_enabled: false, ..fine },
        Account { enforcement: Enforcement::Shutdown, ..fine },
    ] {
        site.account.set(|account| *account = bad);
        refused(&site, &campaign, "").await;
    }
    site.account.set(|account| *account = Account { enforcement: Enforcement::Probation, ..fine });
    assert_eq!(found(&site, &campaign).await, [finding("warning", "")]);
    site.account.faults.refuse_next("identity");
    site.post(&format!("{campaign}/start"), json!({})).await.expect(503);
    site.post(&format!("{campaign}/start"), json!({})).await.expect(202);
}

#[tokio::test]
async fn a_date_that_has_passed_and_a_letter_too_long_are_found() {
    let site = Site::new();
    let long = format!("<p>{}</p>{HTML}", "wheel ".repeat(18_000));
    let campaign = draft(&site, json!({"html": long})).await;
    reader(&site, &campaign, "r@example.org", json!([])).await;
    let date = site.now().to_zoned(jiff::tz::TimeZone::UTC).date().saturating_add(jiff::Span::new().days(1));
    site.patch(&campaign, json!({"send": {"when": date.to_string()}})).await.expect(200);
    site.clock.advance(Duration::from_secs(4 * 86_400));
    let expected = [finding("error", "/send/when"), finding("warning", "/body/html")];
    assert_eq!(found(&site, &campaign).await, expected);
}

#[tokio::test]
async fn a_start_takes_the_newsletter_as_it_is_then() {
    let site = Site::new();
    let campaign = draft(&site, json!({"html": HTML})).await;
    let before = site.campaigns.meta(&id(&site.get(&campaign).await.json())).await.unwrap().unwrap();
    site.newsletters.replace(&before.newsletter, |newsletter| {
        newsletter.name = "Renamed".to_owned();
        newsletter.send_at = millrace::domain::local_time::SendTime::parse("08:30").unwrap();
    });
    site.post(&format!("{campaign}/start"), json!({})).await.expect(202);
    let after = site.campaigns.meta(&before.id).await.unwrap().unwrap();
    assert_ne!(after.letter, before.letter);
    assert_eq!(after.timing.send_at.to_string(), "08:30");
    let letter = letters::load(&site.blobs, &letters::key(&after.id, &after.letter)).await.unwrap();
    assert_eq!(letter.head.name, "Renamed");
}
