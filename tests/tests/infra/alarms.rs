//! The alarms and the dashboard.

use super::{functions, list, resources, root, rows, short_name, table, tagged, template};
use millrace::telemetry::Metric;
use serde_json::Value as Json;
use serde_norway::Mapping;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What AWS itself counts, of what the alarms watch: namespace, name of the dimension, metrics.
const COUNTED_BY_AWS: [(&str, &str, &[&str]); 3] = [
    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    ("AWS/SQS", "QueueName", &["ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"]),
    // https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    ("AWS/Lambda", "FunctionName", &["Errors", "Invocations", "IteratorAge", "Throttles"]),
    // Of the account: https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-cloudwatch-alarm.html
    ("AWS/SES", "", &["Reputation.BounceRate", "Reputation.ComplaintRate"]),
];

#[test]
fn an_alarm_watches_what_is_counted_and_says_what_to_do() {
    let template = template();
    let (queues, alarms) = (resources(&template, "AWS::SQS::Queue"), resources(&template, "AWS::CloudWatch::Alarm"));
    let functions = resources(&template, "AWS::Serverless::Function");
    let source: String = ["shared/src", "functions"].iter().flat_map(|folder| sources(&root().join(folder))).collect();
    let (mut counted, mut by_aws) = (BTreeSet::new(), BTreeSet::new());
    for (name, alarm) in &alarms {
        let (namespace, metric) = (alarm["Namespace"].as_str().unwrap(), alarm["MetricName"].as_str().unwrap());
        let dimensions = list(&alarm["Dimensions"]);
        let dimension = dimensions.first().map_or("", |dimension| dimension["Name"].as_str().unwrap());
        let value = |tag| tagged(&dimensions[0]["Value"], tag).unwrap();
        if let Some((_, by, metrics)) = COUNTED_BY_AWS.iter().find(|(known, ..)| *known == namespace) {
            assert!(metrics.contains(&metric), "{name}: {namespace} has no {metric}");
            assert_eq!(dimension, *by, "{name}");
            by_aws.insert((namespace, metric));
        }
        match namespace {
            "AWS/SQS" => assert!(queues.contains_key(value("GetAtt").trim_end_matches(".QueueName")), "{name}"),
            "AWS/Lambda" => {
                let events = functions[value("Ref")]["Events"].as_mapping();
                let stream = events.into_iter().flat_map(Mapping::values).any(|event| event["Type"] == "DynamoDB");
                assert!(stream || metric != "IteratorAge", "{name}: only readers of a stream have it");
            }
            "AWS/SES" => {}
            other => {
                assert_eq!((other, dimension), (Metric::NAMESPACE, "Stack"), "{name}");
                assert_eq!(value("Ref"), "AWS::StackName", "{name}");
                assert!(Metric::ALL.iter().any(|own| own.name() == metric), "{name}: nothing counts {metric}");
                assert!(source.contains(&format!("count(Metric::{metric},")), "{name}: nothing counts {metric}");
                counted.insert(metric);
            }
        }
        assert!(alarm["Threshold"].is_number() && !alarm["TreatMissingData"].is_null(), "{name}");
        let what_to_do = alarm["AlarmDescription"].as_str().unwrap();
        assert!(what_to_do.matches(['.', ';', '?']).count() >= 2, "{name}: {what_to_do}");
        assert!(!alarm["AlarmActions"].is_null(), "{name} tells nobody");
    }
    assert_eq!(counted, Metric::ALL.iter().map(|metric| metric.name()).collect());
    assert_eq!(by_aws.len(), COUNTED_BY_AWS.iter().map(|(.., metrics)| metrics.len()).sum::<usize>());
}

#[test]
fn every_row_of_the_table_has_its_alarms() {
    let (template, table) = (template(), table());
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    let watches = |id: &str, metric: &str| alarms.get(id).is_some_and(|alarm| alarm["MetricName"] == metric);
    for name in resources(&template, "AWS::SQS::Queue").into_keys() {
        let (alarm, metric) = match name.strip_suffix("Queue").filter(|name| name.ends_with("DeadLetter")) {
            Some(dead) => (format!("{dead}Alarm"), "ApproximateNumberOfMessagesVisible"),
            None => (format!("{name}AgeAlarm"), "ApproximateAgeOfOldestMessage"),
        };
        assert!(watches(&alarm, metric), "{alarm}");
    }
    let all = resources(&template, "AWS::Serverless::Function");
    for (name, row) in rows(&table) {
        let full = format!("${{AWS::StackName}}-{name}");
        let function = all.iter().find(|(_, each)| tagged(&each["FunctionName"], "Sub") == Some(&full)).unwrap().0;
        let id = function.strip_suffix("Function").unwrap();
        assert!(watches(&format!("{id}ErrorsAlarm"), "Errors"), "{name}");
        assert!(watches(&format!("{id}ThrottlesAlarm"), "Throttles"), "{name}");
        let trigger = &row["trigger"];
        assert_eq!(watches(&format!("{id}TicksAlarm"), "Invocations"), trigger["schedule"].is_object(), "{name}");
        assert_eq!(watches(&format!("{id}LagAlarm"), "IteratorAge"), trigger["stream"].is_object(), "{name}");
    }
}

#[test]
fn the_dashboard_is_json_and_shows_every_queue_and_function() {
    let template = template();
    let body =
        tagged(&resources(&template, "AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"], "Sub").unwrap();
    let body: Json = serde_json::from_str(body).unwrap();
    let shown = body.to_string();
    for queue in resources(&template, "AWS::SQS::Queue").values().map(|queue| short_name(queue)) {
        assert_eq!(
            shown.contains(&format!("}}-{queue}\"")),
            !queue.ends_with("-dead") && !queue.ends_with("-dead.fifo"),
            "{queue}"
        );
    }
    for function in functions(&template).into_keys() {
        assert!(shown.contains(&format!("}}-{function}\"")), "{function}");
    }
}

/// The text of every source file below a folder.
fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(entry).unwrap());
        }
    }
    found
}
