//! Lists of subscribers in and out, as files.

use super::campaigns::newsletter;
use millrace_tests::{Answer, Stack};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;

/// Lines of the list. Every tenth has a fault, every tenth an address that came before.
const LINES: usize = 3_000;

fn list(salt: &str) -> String {
    let mut lines = vec!["email,name,time_zone,tags".to_owned()];
    lines.extend((0..LINES).map(|i| match i % 10 {
        3 => format!("broken{i},,,"),
        7 => format!("LIST{}-{salt}@example.net,,,", i - 5),
        _ => format!("list{i}-{salt}@example.net,\"Reader, {i}\",Asia/Tokyo,imported;t{}", i % 3),
    }));
    lines.join("\r\n")
}

async fn file(stack: &Stack, job: &Answer) -> String {
    let answer = stack.ask(stack.anywhere(Method::GET, job.str("/file_url"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.text
}

#[tokio::test]
async fn a_list_goes_in_with_its_faults_reported_and_comes_out_again() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let newsletter = newsletter(&stack, "Lists").await;
    // The stack keeps what earlier runs did.
    let salt = jiff::Timestamp::now().as_millisecond().to_string();
    let consent = json!({"source": "e2e", "at": "2026-01-01T00:00:00Z"});
    let gone = json!({"newsletter": newsletter, "email": format!("list1-{salt}@example.net"), "consent": consent});
    let gone = stack.post_ok("/v1/subscribers", &gone, 201).await;
    let path = format!("/v1/subscribers/{}", gone.str("/id"));
    assert_eq!(stack.ask(stack.request(Method::DELETE, &path)).await.status, StatusCode::NO_CONTENT);

    let request = json!({"newsletter": newsletter, "consent": consent});
    let answer = stack.post_ok("/v1/subscribers/import", &request, 202).await;
    let sent = stack.ask(stack.anywhere(Method::PUT, answer.str("/upload/url")).body(list(&salt))).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text);
    let job = stack.final_job(answer.str("/job/id")).await;
    assert_eq!(job.str("/state"), "succeeded", "{}", job.text);
    let count = |name: &str| job.number(&format!("/result/{name}"));
    assert_eq!(["lines", "added", "duplicates", "refused", "suppressed"].map(count), [3_000, 2_399, 300, 300, 1]);
    let report = file(&stack, &job).await;
    assert_eq!(report.lines().count(), 602);
    assert!(report.contains("3,,suppressed: erased") && report.contains("5,broken3,email: "), "{}", &report[..400]);
    assert!(report.contains("the address is on line 4 already"));

    let export = json!({"newsletter": newsletter, "tag": "imported"});
    let export = stack.post_ok("/v1/subscribers/export", &export, 202).await;
    let job = stack.final_job(export.str("/id")).await;
    assert_eq!(job.number("/result/subscribers"), 2_399, "{}", job.text);
    let out = file(&stack, &job).await;
    let rows: BTreeSet<&str> = out.lines().skip(1).collect();
    assert_eq!(rows.len(), 2_399);
    assert!(out.starts_with("email,name,time_zone,tags,"));
    assert!(
        rows.iter()
            .any(|row| row.starts_with(&format!("list0-{salt}@example.net,\"Reader, 0\",Asia/Tokyo,imported;t0,sub_")))
    );
}
