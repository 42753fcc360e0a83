//! The program as it is run, with the SES client the functions use.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it as its body does")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sesv2::error::ProvideErrorMetadata;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

struct Mailbox {
    process: Child,
    url: String,
}

impl Mailbox {
    fn start(state: &Path) -> Self {
        Self::with(state, &[])
    }

    fn with(state: &Path, more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_millrace-mailbox"))
            .arg("--state")
            .arg(state)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        Self { process, url: line["url"].as_str().unwrap().to_owned() }
    }

    fn client(&self) -> Client {
        let config = aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.url)
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Client::from_conf(config)
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // Fails only when the test has ended it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn content(data: &str) -> Content {
    Content::builder().data(data).charset("UTF-8").build().unwrap()
}

fn header(name: &str, value: &str) -> MessageHeader {
    MessageHeader::builder().name(name).value(value).build().unwrap()
}

fn tag(name: &str, value: &str) -> MessageTag {
    MessageTag::builder().name(name).value(value).build().unwrap()
}

#[tokio::test]
async fn the_ses_client_sends_and_a_killed_mailbox_keeps_what_it_accepted() {
    // Fails only when it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("mails.jsonl");
    let mailbox = Mailbox::start(&state);
    assert!(mailbox.url.starts_with("http://127.0.0.1:"), "{}", mailbox.url);
    let client = mailbox.client();

    let message = Message::builder()
        .subject(content("Grüße 👋"))
        .body(Body::builder().text(content("Hallo")).html(content("<p>Hallo</p>")).build())
        .headers(header("List-Unsubscribe", "<https://example.com/unsubscribe?token=t>"))
        .headers(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        .build();
    let sent = client
        .send_email()
        .from_email_address("News <news@example.com>")
        .destination(Destination::builder().to_addresses("ann@example.com").build())
        .content(EmailContent::builder().simple(message.clone()).build())
        .email_tags(tag("campaign", "cmp_1"))
        .email_tags(tag("attempt", "1"))
        .configuration_set_name("letters")
        .send()
        .await
        .unwrap();
    let id = sent.message_id().unwrap();

    let refused = client
        .send_email()
        .from_email_address("news@example.com")
        .destination(Destination::builder().build())
        .content(EmailContent::builder().simple(message).build())
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("BadRequestException"));
    assert!(refused.as_service_error().unwrap().is_bad_request_exception());
    assert!(refused.message().unwrap().contains("at least one recipient"));

    let unknown = client.list_email_templates().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnknownOperationException"));

    let quota = client.get_account().send().await.unwrap().send_quota.unwrap();
    assert!((quota.sent_last24_hours - 1.0).abs() < f64::EPSILON);

    let before = mailbox.get(&format!("/messages/{id}")).await;
    assert_eq!(before["subject"], "Grüße 👋");
    assert_eq!(before["tags"], json!({ "campaign": "cmp_1", "attempt": "1" }));
    assert_eq!(before["headers"][1], json!({ "name": "List-Unsubscribe-Post", "value": "List-Unsubscribe=One-Click" }));
    assert_eq!((&before["text"], &before["html"]), (&json!("Hallo"), &json!("<p>Hallo</p>")));

    drop(mailbox);
    let mut mailbox = Mailbox::start(&state);
    assert_eq!(mailbox.get(&format!("/messages/{id}")).await, before);

    let pid = Pid::from_raw(mailbox.process.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(mailbox.process.wait().unwrap().success());
}

#[tokio::test]
async fn containers_may_send_mails_and_not_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut mailbox = Mailbox::with(&folder.path().join("mails.jsonl"), &["--ses-address", "127.0.0.2"]);
    let own = mailbox.url.clone();
    mailbox.url = own.replace("127.0.0.1", "127.0.0.2");
    mailbox.client().get_account().send().await.unwrap();
    for path in ["/", "/messages", "/health"] {
        // As a page that names the host it wants to read would ask.
        let asked = reqwest::Client::new().get(format!("{}{path}", mailbox.url)).header("host", "127.0.0.1");
        assert_eq!(asked.send().await.unwrap().status(), 404, "{path}");
    }
    mailbox.url = own;
    assert_eq!(mailbox.get("/messages").await["messages"], json!([]));

    let program = || Command::new(env!("CARGO_BIN_EXE_millrace-mailbox"));
    let everywhere = program().args(["--ses-address", "0.0.0.0"]).output().unwrap();
    let said = String::from_utf8_lossy(&everywhere.stderr).into_owned();
    assert!(!everywhere.status.success() && said.contains("name one address"), "{said}");
}
