//! What an operator types.

use jiff::Timestamp;
use millrace::aws::DynamoJobs;
use millrace::domain::job::{Job, Stored};
use millrace::ports::{Jobs as _, Message, Queue as _};
use millrace::testing::conformance::queued_job;
use millrace_tests::{Inside, Stack, cli::millrace, stack::until};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_garbled_message_is_found_among_the_dead_letters_and_sent_back() {
    let _gate = super::shared().await;
    let inside = Inside::from_env().await;
    let mark = format!("e2e-dlq-{}", Timestamp::now().as_millisecond());
    let message = Message { body: format!("{{\"kind\": \"echo\", \"{mark}\""), delay: Duration::ZERO, group: None };
    inside.queue("echo").send_one(message).await.expect("sent");
    let list = async || millrace(&["dlq", "list", "--worker", "echo", "--contains", &mark, "--bodies", "--json"]).await;
    // Its id among the dead letters, once it is there and shown.
    let found = async |other_than: Option<&Value>| {
        until("the dead letter", async || {
            let listed = list().await;
            assert_eq!(listed.code, Some(0), "{}", listed.errors);
            let letter = listed.json["letters"].get(0).cloned()?;
            (Some(&letter["id"]) != other_than).then_some(letter)
        })
        .await
    };
    let letter = found(None).await;
    assert_eq!((&letter["worker"], &letter["kind"]), (&json!("echo"), &Value::Null));
    assert!(letter["body"].as_str().is_some_and(|body| body.contains(&mark)), "{letter}");
    assert!(letter["why"].as_str().is_some_and(|why| why.contains("not JSON")), "{letter}");

    let told = doctor().await;
    assert!(told.iter().any(|finding| finding.contains("-echo-dead are waiting")), "{told:?}");

    let redrive = ["dlq", "redrive", "--worker", "echo", "--contains", &mark, "--json"];
    let dry = millrace(&[&redrive[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        (&dry.json["sent"], dry.json["letters"].as_array().map(Vec::len)),
        (&json!(0), Some(1)),
        "{}",
        dry.errors
    );
    assert_eq!(found(None).await["id"], letter["id"], "a dry run moves nothing");
    let sent = millrace(&redrive).await;
    assert_eq!((sent.code, &sent.json["sent"]), (Some(0), &json!(1)), "{}", sent.errors);
    // The worker could read it no better this time.
    let again = found(Some(&letter["id"])).await;
    assert_eq!(again["body"], letter["body"], "it comes back as it went");
    let nothing = millrace(&["dlq", "redrive", "--worker", "nobody"]).await;
    assert_eq!(nothing.code, Some(1));
}

/// The problems that the doctor names, without those of visibility timeouts: tests have shorter ones than AWS advises.
async fn doctor() -> Vec<String> {
    let told = millrace(&["doctor", "--json"]).await;
    assert_eq!(told.code, Some(1), "{}", told.errors);
    assert!(told.json["looked_at"]["functions"].as_u64().is_some_and(|functions| functions >= 10), "{}", told.json);
    let findings = told.json["findings"].as_array().expect("findings");
    let problems = findings.iter().filter(|finding| finding["weight"] == "problem");
    let problems = problems.map(|finding| format!("{} {}", finding["what"], finding["says"]).replace('"', ""));
    let (short, others): (Vec<_>, Vec<_>) = problems.partition(|problem| problem.contains("shows a message again"));
    assert!(!short.is_empty());
    others
}

#[tokio::test]
async fn a_lane_that_nobody_reads_is_found_by_the_doctor() {
    let _gate = super::alone().await;
    let inside = Inside::from_env().await;
    let unread = async || doctor().await.into_iter().filter(|told| told.contains("has no reader")).collect::<Vec<_>>();
    assert_eq!(unread().await, Vec::<String>::new());

    let lambda = aws_sdk_lambda::Client::new(inside.aws.config());
    let sources = lambda.list_event_source_mappings().into_paginator().items().send();
    let sources = sources.collect::<Result<Vec<_>, _>>().await.expect("the event sources");
    let low = sources.iter().find(|source| source.event_source_arn().is_some_and(|arn| arn.ends_with("-echo-low")));
    let id = low.and_then(|source| source.uuid()).expect("the lane's event source");
    let enable = async |on: bool| {
        lambda.update_event_source_mapping().uuid(id).enabled(on).send().await.expect("switched");
    };
    enable(false).await;
    let found = unread().await;
    enable(true).await;
    assert!(matches!(&found[..], [one] if one.contains("-echo-low")), "{found:?}");
    assert_eq!(unread().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_build_is_tried_on_the_jobs_before_it_is_deployed() {
    let _gate = super::shared().await;
    let inside = Inside::from_env().await;
    let table = inside.copy_of("JobsTable").await;
    let store = DynamoJobs::new(inside.aws.dynamodb(), table.clone());
    let add = async |name: &str, payload: Value| {
        let job = Job { payload: Stored::Inline(payload), ..queued_job(name, Timestamp::UNIX_EPOCH) };
        store.create(&job, false).await.expect("create");
        job.id.to_string()
    };
    for i in 0..30 {
        add(&format!("fine-{i}"), json!({ "message": i })).await;
    }
    let preflight = async || millrace(&["preflight", "--table", &table, "--json"]).await;
    let fine = preflight().await;
    assert_eq!((fine.code, &fine.json["jobs"]), (Some(0), &json!(30)), "{}", fine.errors);
    assert_eq!(fine.json["unreadable"], json!([]));

    let wrong = add("wrong", json!({"sleep_ms": "long"})).await;
    let rotten = add("rotten", json!({})).await;
    let spoil = inside.aws.dynamodb().update_item().table_name(&table);
    let key = aws_sdk_dynamodb::types::AttributeValue::S(format!("JOB#{rotten}"));
    let spoil = spoil.key("pk", key).update_expression("SET payload = :rot");
    let rot = aws_sdk_dynamodb::types::AttributeValue::S("{".to_owned());
    spoil.expression_attribute_values(":rot", rot).send().await.expect("update");
    let found = preflight().await;
    assert_eq!((found.code, &found.json["jobs"]), (Some(1), &json!(32)), "{}", found.errors);
    let mut named: Vec<&str> =
        found.json["unreadable"].as_array().expect("a list").iter().filter_map(|job| job["id"].as_str()).collect();
    named.sort_unstable();
    let mut expected = [wrong.as_str(), rotten.as_str()];
    expected.sort_unstable();
    assert_eq!(named, expected);
}

#[tokio::test]
async fn dead_jobs_are_retried_from_the_command_line() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"fail": "permanent"}), json!({"tags": ["e2e-operator"]})).await;
    stack.job_in(&id, &["dead"]).await;
    let ran = millrace(&["jobs", "retry", "--all", "--tag", "e2e-operator", "--wait", "--json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert_eq!(ran.json["result"], json!({"matched": 1, "retried": 1, "refused": 0}));
    let set = ["schedules", "set", "e2e-operator", "0 4 * * *", "echo", "--time-zone", "Europe/Berlin", "--json"];
    let set = millrace(&set).await;
    assert_eq!((set.code, &set.json["cron"]), (Some(0), &json!("0 4 * * *")), "{}", set.errors);
    let listed = millrace(&["schedules", "list"]).await;
    assert!(listed.text.contains("e2e-operator  0 4 * * *  Europe/Berlin  echo"), "{}", listed.text);
    assert_eq!(millrace(&["schedules", "remove", "e2e-operator"]).await.code, Some(0));
    let gone = millrace(&["schedules", "remove", "e2e-operator"]).await;
    assert_eq!(gone.code, Some(1), "{}", gone.errors);
}
