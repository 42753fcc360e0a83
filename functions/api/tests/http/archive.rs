//! The public archive.

use crate::campaigns::letter;
use crate::site::{Reply, Site, newsletter, subscriber};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use std::time::Duration;

const HTML: &str = "<script>alert(1)</script><p>Hello {{ name or 'reader' }} {{ email }}{{ tags | join }}</p><p>News.\u{8}</p>\
    <p>{{ newsletter.postal_address }}</p><a href=\"{{ unsubscribe_url }}\">Out</a> <a href=\"{{ archive_url }}\">Here</a>";

async fn open(site: &Site, path: &str) -> Reply {
    site.send(Request::get(path).body(Body::empty()).unwrap()).await
}

async fn public_newsletter(site: &Site) -> String {
    let mut request = newsletter();
    request["archive"] = json!(true);
    let made = site.post("/v1/newsletters", request).await.expect(201).json();
    assert_eq!(made["archive"], true);
    made["id"].as_str().unwrap().to_owned()
}

async fn sent(site: &Site, newsletter: &str, change: Value) -> String {
    let mut request = letter(newsletter);
    request["subject"] = json!("News for {{ name or 'all' }} <now>");
    request["body"] = json!({"html": HTML});
    request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let campaign = site.post("/v1/campaigns", request).await.expect(201).json();
    let id = campaign["id"].as_str().unwrap().to_owned();
    site.post(&format!("/v1/campaigns/{id}/start"), json!({})).await.expect(202);
    tokio::time::sleep(Duration::from_millis(2)).await;
    id
}

#[tokio::test]
async fn an_archive_is_off_unless_it_is_switched_on() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let campaign = sent(&site, &newsletter, json!({})).await;
    for path in ["", "/feed.xml", &format!("/{campaign}")] {
        let reply = open(&site, &format!("/archive/{newsletter}{path}")).await.expect(404);
        assert!(reply.text().contains("There is nothing here"), "{}", reply.text());
    }
    let preview = site.get(&format!("/v1/campaigns/{campaign}/preview")).await.expect(200).json();
    assert!(preview["html"].as_str().unwrap().contains("<a href=\"\">Here</a>"), "{preview}");
    for path in ["/archive/x", "/archive/nl_x", "/archive/nl_x/cmp_x", "/archive/nl_x/feed.xml"] {
        open(&site, path).await.expect(404);
    }
    let home = format!("/v1/newsletters/{newsletter}");
    for (archive, status) in [(true, 200), (false, 404)] {
        site.patch(&home, json!({"archive": archive})).await.expect(200);
        open(&site, &format!("/archive/{newsletter}/{campaign}")).await.expect(status);
    }
}

#[tokio::test]
async fn a_letter_in_the_archive_names_nobody_and_can_do_nothing() {
    let site = Site::new();
    let newsletter = public_newsletter(&site).await;
    let bo = subscriber(&newsletter, "bo@example.org");
    site.post("/v1/subscribers", bo).await.expect(201);
    let campaign = sent(&site, &newsletter, json!({})).await;
    let home = format!("https://api.example.com/archive/{newsletter}");
    let reply = open(&site, &format!("/archive/{newsletter}/{campaign}")).await.expect(200);
    let page = reply.text();
    assert!(page.contains("<p>Hello reader </p>"), "{page}");
    assert!(page.contains(&format!("<a href=\"{home}\">Out</a>")), "the way out leads home: {page}");
    assert!(page.contains(&format!("<a href=\"{home}/{campaign}\">Here</a>")), "{page}");
    assert!(!page.contains("token=") && !page.contains('@'), "{page}");
    let policy = reply.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "sandbox allow-popups", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(
        !policy.contains("script-src") && !policy.contains("allow-scripts") && !policy.contains("allow-same-origin")
    );
    let preview = site.get(&format!("/v1/campaigns/{campaign}/preview")).await.expect(200).json();
    let archived = preview["headers"].as_array().unwrap().iter().find(|header| header["name"] == "List-Archive");
    assert_eq!(archived.unwrap()["value"], format!("<{home}>"));
}

#[tokio::test]
async fn only_what_was_sent_to_all_is_there() {
    let site = Site::new();
    let newsletter = public_newsletter(&site).await;
    let public = sent(&site, &newsletter, json!({})).await;
    let some = sent(&site, &newsletter, json!({"segment": {"tags_any": ["paying"]}})).await;
    let draft = site.post("/v1/campaigns", letter(&newsletter)).await.expect(201).json();
    let draft = draft["id"].as_str().unwrap();
    let other = sent(&site, &public_newsletter(&site).await, json!({})).await;
    for hidden in [some.as_str(), draft, other.as_str(), "cmp_x", "x"] {
        open(&site, &format!("/archive/{newsletter}/{hidden}")).await.expect(404);
    }
    let reply = open(&site, &format!("/archive/{newsletter}")).await.expect(200);
    let (page, policy) = (reply.text(), reply.header("content-security-policy").unwrap());
    assert!(page.contains("News for all &lt;now&gt;"), "{page}");
    assert!(policy.contains("style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    for (id, listed) in [(public.as_str(), true), (some.as_str(), false), (draft, false), (other.as_str(), false)] {
        assert_eq!(page.contains(id), listed, "{page}");
    }
    let reply = open(&site, &format!("/archive/{newsletter}/feed.xml")).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("application/rss+xml; charset=utf-8"));
    assert!(!reply.text().contains('\u{8}'), "XML has no such character");
    let feed = rss::Channel::read_from(reply.text().as_bytes()).unwrap();
    assert_eq!((feed.title.as_str(), feed.items.len()), ("The Mill & Wheel", 1));
    let item = &feed.items[0];
    assert_eq!(item.title.as_deref(), Some("News for all <now>"));
    let link = format!("https://api.example.com/archive/{newsletter}/{public}");
    assert_eq!(
        (item.link.as_deref(), item.guid.as_ref().map(|guid| guid.value.as_str())),
        (Some(link.as_str()), Some(link.as_str()))
    );
    assert!(item.description.as_deref().unwrap().starts_with("Hello reader News."), "{item:?}");
    assert!(item.pub_date.as_deref().unwrap().ends_with(" GMT"), "{item:?}");
}

#[tokio::test]
async fn older_letters_are_on_the_next_page() {
    let site = Site::new();
    let newsletter = public_newsletter(&site).await;
    let mut made = Vec::new();
    for _ in 0..21 {
        made.push(sent(&site, &newsletter, json!({})).await);
    }
    let first = open(&site, &format!("/archive/{newsletter}")).await.expect(200).text().replace("&#x2f;", "/");
    assert!(made[1..].iter().all(|id| first.contains(id)) && !first.contains(&format!("/{}\"", made[0])));
    let older = first.split("href=\"https://api.example.com").find(|part| part.contains("?before=")).unwrap();
    let older = older.split('"').next().unwrap();
    let second = open(&site, older).await.expect(200).text();
    assert!(second.contains(&made[0]) && !second.contains(&made[1]) && !second.contains("Older letters"), "{second}");
    open(&site, &format!("/archive/{newsletter}?before=x")).await.expect(200);
    site.campaign_list.faults.refuse_next("newest");
    open(&site, &format!("/archive/{newsletter}")).await.expect(503);
}

#[tokio::test]
async fn a_letter_that_cannot_do_without_a_name_is_not_started() {
    let site = Site::new();
    let newsletter = public_newsletter(&site).await;
    let mut request = letter(&newsletter);
    request["subject"] = json!("{{ 'News' if email }}");
    let campaign = site.post("/v1/campaigns", request).await.expect(201).json();
    let start = format!("/v1/campaigns/{}/start", campaign["id"].as_str().unwrap());
    assert_eq!(site.post(&start, json!({})).await.pointers(), ["/subject"]);
}
