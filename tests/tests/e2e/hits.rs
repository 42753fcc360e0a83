//! Opens and clicks, from the mailbox to a campaign's account.

use super::campaign_run::act;
use super::campaigns::{audience, campaign, finished, newsletter};
use jiff::{SignedDuration, Timestamp};
use millrace_tests::{Stack, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn a_tracked_campaign_tells_people_from_machines_and_another_is_not_tracked() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Tracked").await;
    let readers = audience(&stack, &newsletter, "tracked", 5).await;
    let plain = campaign(&stack, &newsletter).await;
    act(&stack, &plain, "start", &json!({})).await;
    finished(&stack, &plain).await;
    let mail_of = async |reader: &str, campaign: &str| {
        let mails = stack.mails_to(reader).await;
        mails.into_iter().find(|mail| mail["tags"]["campaign"] == campaign).expect("its mail")
    };
    let untracked = mail_of(&readers[0], &plain).await;
    assert!(!untracked["html"].as_str().expect("HTML").contains("ses:no-track"));
    assert_eq!(stack.hit(&untracked, "open", &json!({})).await, StatusCode::CONFLICT);
    assert!(stack.get(&format!("/v1/campaigns/{plain}")).await.body.get("opens").is_none());

    let patch = stack.request(Method::PATCH, &format!("/v1/newsletters/{newsletter}")).json(&json!({"tracking": true}));
    assert_eq!(stack.ask(patch).await.status, StatusCode::OK);
    let tracked = campaign(&stack, &newsletter).await;
    act(&stack, &tracked, "start", &json!({})).await;
    finished(&stack, &tracked).await;
    let mut mails = Vec::new();
    for reader in &readers {
        mails.push(mail_of(reader, &tracked).await);
    }
    let html = mails[0]["html"].as_str().expect("HTML");
    assert!(html.contains("ses:no-track href=\"") && html.matches("/unsubscribe?token=").count() == 1, "{html}");
    let after = |seconds| (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
    let click = |link: &str, seconds| json!({"link": format!("https://example.com/{link}"), "at": after(seconds)});
    let hits = [
        // A person, twice, whose click is told too.
        (0, "open", json!({"at": after(60)})),
        (0, "open", json!({"at": after(70)})),
        (0, "click", click("a", 90)),
        // A mail program that fetches pictures ahead.
        (1, "open", json!({"at": after(60), "user_agent": "Mozilla/5.0"})),
        // A scanner that tries both links, and then its owner.
        (2, "click", click("a", 60)),
        (2, "click", click("b", 61)),
        (3, "click", click("a", 60)),
        (3, "click", click("b", 61)),
        (3, "click", click("a", 3_600)),
    ];
    for (reader, what, body) in hits {
        assert_eq!(stack.hit(&mails[reader], what, &body).await, StatusCode::ACCEPTED);
    }
    let expected = json!([{"people": 2, "machines": 1}, {"people": 2, "machines": 1}]);
    until("all opens and clicks", async || {
        let account = stack.get(&format!("/v1/campaigns/{tracked}")).await;
        (json!([account.body["opens"], account.body["clicks"]]) == expected).then_some(())
    })
    .await;
    let page = stack.get(&format!("/v1/campaigns/{tracked}/recipients")).await;
    let by = |reader: usize| {
        let found = page.body["recipients"].as_array().expect("recipients").iter();
        let one = found.clone().find(|one| one["email"] == readers[reader].as_str()).expect("the reader");
        (one["opened"].as_str().map(str::to_owned), one["clicked"].as_str().map(str::to_owned))
    };
    let (people, machines) = (Some("people".to_owned()), Some("machines".to_owned()));
    assert_eq!(by(0), (people.clone(), people.clone()));
    assert_eq!(by(1), (machines.clone(), None));
    assert_eq!(by(2), (None, machines));
    assert_eq!(by(3), (people.clone(), people));
    assert_eq!(by(4), (None, None));
}
