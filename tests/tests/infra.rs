//! What must hold in `infra/`: the rules that a linter does not know. Needs no engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_norway::{Mapping, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn template() -> Value {
    serde_norway::from_str(&fs::read_to_string(root().join("infra/template.yaml")).unwrap()).unwrap()
}

/// The properties of the resources of a type, by name.
fn resources<'a>(template: &'a Value, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let all = template["Resources"].as_mapping().unwrap();
    let of_kind = all.iter().filter(|(_, resource)| resource["Type"] == kind);
    of_kind.map(|(name, resource)| (name.as_str().unwrap(), &resource["Properties"])).collect()
}

/// Functions by the names of their folders.
fn functions(template: &Value) -> BTreeMap<&str, &Value> {
    let all = resources(template, "AWS::Serverless::Function");
    let named = all.into_values().map(|function| {
        let folder = function["CodeUri"].as_str().unwrap();
        (folder.trim_start_matches("../target/lambda/").trim_end_matches('/'), function)
    });
    named.collect()
}

/// The text under a tag: `!Ref X` and `!GetAtt X.Arn` give `X` and `X.Arn`.
fn tagged<'a>(value: &'a Value, tag: &str) -> Option<&'a str> {
    match value {
        Value::Tagged(tagged) if tagged.tag == tag => tagged.value.as_str(),
        _ => None,
    }
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Sequence(values) => values.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// What a role is allowed, statement by statement.
fn allowed<'a>(template: &'a Value, role: &Value) -> Vec<&'a Mapping> {
    let name = tagged(role, "GetAtt").unwrap().trim_end_matches(".Arn");
    let policies = list(&template["Resources"][name]["Properties"]["Policies"]);
    let statements = policies.into_iter().flat_map(|policy| list(&policy["PolicyDocument"]["Statement"]));
    statements.map(|statement| statement.as_mapping().unwrap()).collect()
}

/// The resource of this template that a statement's resource is, or is a part of.
fn resource_of(value: &Value) -> Option<&str> {
    let direct = tagged(value, "GetAtt").map(|text| text.trim_end_matches(".Arn"));
    direct.or_else(|| tagged(value, "Sub")?.strip_prefix("${")?.split_once(".Arn}").map(|(name, _)| name))
}

#[test]
fn every_function_folder_is_deployed_and_nothing_else() {
    let template = template();
    let folders = fs::read_dir(root().join("functions")).unwrap().map(|entry| entry.unwrap());
    let folders: BTreeSet<String> = folders
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let deployed = functions(&template);
    assert_eq!(folders, deployed.keys().map(|&name| name.to_owned()).collect());
    for (folder, function) in deployed {
        assert_eq!(tagged(&function["FunctionName"], "Sub"), Some(format!("${{AWS::StackName}}-{folder}").as_str()));
    }
}

#[test]
fn every_function_has_a_role_and_a_log_group_of_its_own() {
    let template = template();
    let groups = resources(&template, "AWS::Logs::LogGroup");
    let (mut roles, mut logs) = (BTreeSet::new(), BTreeSet::new());
    for (name, function) in functions(&template) {
        let group = tagged(&function["LoggingConfig"]["LogGroup"], "Ref").unwrap();
        let expected = format!("/aws/lambda/${{AWS::StackName}}-{name}");
        assert_eq!(tagged(&groups[group]["LogGroupName"], "Sub"), Some(expected.as_str()));
        assert!(roles.insert(tagged(&function["Role"], "GetAtt").unwrap()), "{name}");
        assert!(logs.insert(group), "{name}");
    }
    for (name, group) in groups {
        assert!(!group["RetentionInDays"].is_null(), "{name} keeps its lines for ever");
    }
}

#[test]
fn a_function_may_use_what_its_environment_names_and_nothing_else() {
    let template = template();
    for (name, function) in functions(&template) {
        let mut named: BTreeSet<&str> = BTreeSet::new();
        for value in function["Environment"]["Variables"].as_mapping().unwrap().values() {
            named.extend(tagged(value, "Ref"));
        }
        let parameters = template["Parameters"].as_mapping().unwrap();
        named.retain(|name| !parameters.contains_key(*name));
        named.extend(tagged(&function["LoggingConfig"]["LogGroup"], "Ref"));
        let queue = &function["Events"]["Queue"]["Properties"]["Queue"];
        named.extend(tagged(queue, "GetAtt").map(|queue| queue.trim_end_matches(".Arn")));

        let mut reached: BTreeSet<&str> = BTreeSet::new();
        for statement in allowed(&template, &function["Role"]) {
            reached.extend(list(&statement["Resource"]).into_iter().filter_map(resource_of));
            if list(&statement["Action"]).iter().any(|action| **action == "ses:SendEmail") {
                reached.insert("ConfigurationSet");
            }
        }
        assert_eq!(named, reached, "{name}");
    }
}

#[test]
fn no_role_is_allowed_anything_by_wildcard() {
    let template = template();
    for (name, role) in resources(&template, "AWS::IAM::Role") {
        assert!(role["ManagedPolicyArns"].is_null(), "{name}: managed policies allow more than is needed");
        for policy in list(&role["Policies"]) {
            for statement in list(&policy["PolicyDocument"]["Statement"]) {
                for action in list(&statement["Action"]) {
                    assert!(!action.as_str().unwrap().contains('*'), "{name}: {action:?}");
                }
                for resource in list(&statement["Resource"]) {
                    assert_ne!(resource, "*", "{name}");
                }
            }
        }
    }
}

#[test]
fn every_variable_is_one_the_code_knows_and_is_set_for_some_function() {
    let template = template();
    let source = fs::read_to_string(root().join("shared/src/env.rs")).unwrap();
    let known: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \"")?.1.strip_suffix("\";"))
        .collect();
    let mut set = BTreeSet::new();
    let globals = &template["Globals"]["Function"]["Environment"]["Variables"];
    for variables in functions(&template).values().map(|f| &f["Environment"]["Variables"]).chain([globals]) {
        set.extend(variables.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()));
    }
    assert_eq!(set, known);
}

#[test]
fn a_queue_worker_answers_for_each_message() {
    let template = template();
    let mut workers = 0;
    for (name, function) in functions(&template) {
        for event in function["Events"].as_mapping().into_iter().flat_map(Mapping::values) {
            let source = &event["Properties"];
            assert_eq!(event["Type"], "SQS", "{name}");
            assert_eq!(list(&source["FunctionResponseTypes"]), ["ReportBatchItemFailures"], "{name}");
            // The local engine stops to poll every queue when this is a parameter.
            let concurrency = source["ScalingConfig"]["MaximumConcurrency"].as_u64().expect("a literal number");
            assert!((2..=1000).contains(&concurrency), "{name}");
            assert!((1..=10).contains(&source["BatchSize"].as_u64().unwrap()), "{name}");
            workers += 1;
        }
    }
    assert_eq!(workers, 5);
}

#[test]
fn every_queue_has_its_dead_letter_queue_and_that_an_alarm() {
    let template = template();
    let queues = resources(&template, "AWS::SQS::Queue");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    let watched: BTreeSet<&str> = alarms
        .values()
        .flat_map(|alarm| list(&alarm["Dimensions"]))
        .map(|dimension| tagged(&dimension["Value"], "GetAtt").unwrap().trim_end_matches(".QueueName"))
        .collect();
    for (name, queue) in &queues {
        assert_eq!(queue["MessageRetentionPeriod"], 14 * 24 * 3600, "{name}");
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
        if name.ends_with("DeadLetterQueue") {
            assert!(watched.contains(name), "{name}");
            assert_eq!(queue["RedriveAllowPolicy"]["redrivePermission"], "byQueue", "{name}");
            continue;
        }
        assert_eq!(tagged(&queue["VisibilityTimeout"], "Ref"), Some("VisibilityTimeout"), "{name}");
        let dead = tagged(&queue["RedrivePolicy"]["deadLetterTargetArn"], "GetAtt").unwrap().trim_end_matches(".Arn");
        assert_eq!(dead, format!("{}DeadLetterQueue", name.trim_end_matches("Queue")));
        // Attempts are counted in the table; the queue must never give up before.
        assert_eq!(queue["RedrivePolicy"]["maxReceiveCount"], 1000, "{name}");
        let (own, others) = (tagged(&queue["QueueName"], "Sub").unwrap(), &queues[dead]["RedriveAllowPolicy"]);
        let source = tagged(list(&others["sourceQueueArns"])[0], "Sub").unwrap();
        assert!(source.ends_with(&format!(":{own}")), "{name}");
    }
}

#[test]
fn the_defaults_leave_a_worker_time_to_finish() {
    let template = template();
    let default = |name: &str| template["Parameters"][name]["Default"].as_u64().unwrap();
    assert!(default("VisibilityTimeout") >= 6 * default("WorkerTimeout"));
}

#[test]
fn data_outlives_the_stack() {
    let template = template();
    for (name, resource) in template["Resources"].as_mapping().unwrap() {
        if matches!(resource["Type"].as_str().unwrap(), "AWS::DynamoDB::Table" | "AWS::S3::Bucket") {
            for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
                assert_eq!(resource[policy], "Retain", "{name:?}");
            }
        }
    }
}

#[test]
fn a_schedule_only_ticks() {
    let template = template();
    for (name, schedule) in resources(&template, "AWS::Scheduler::Schedule") {
        assert!(schedule["ScheduleExpression"].as_str().unwrap().starts_with("rate("), "{name}");
        assert!(schedule["ScheduleExpressionTimezone"].is_null(), "{name}: zones are resolved by the functions");
    }
}

#[test]
fn tools_are_pinned() {
    for file in ["tools.txt", "engine.txt"] {
        let text = fs::read_to_string(root().join("infra/local").join(file)).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(line.contains("=="), "{file}: {line}");
        }
    }
}

#[test]
fn a_payload_outlives_the_job_that_needs_it() {
    let template = template();
    let rules = list(&template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]);
    let days = |prefix: &str| {
        let rule = rules.iter().find(|rule| rule["Prefix"] == prefix);
        rule.and_then(|rule| rule["ExpirationInDays"].as_u64()).unwrap_or_else(|| panic!("no rule for {prefix}"))
    };
    // Scheduled up to 366 days ahead, then kept dead for 365.
    assert!(days("payloads/") > 366 + 365);
    assert!(days("results/") > 30);
    assert!(!rules.iter().any(|rule| rule["Prefix"] == "letters/"), "a letter is needed as long as its campaign");
}
