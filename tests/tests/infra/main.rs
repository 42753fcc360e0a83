//! What must hold in `infra/`: the rules that a linter does not know. Needs no engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alarms;
mod roles;

use millrace::jobs::Worker;
use roles::allowed;
use serde_json::Value as Json;
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

/// The table that the template is rendered from; `cli/src/infra` holds that it is.
fn table() -> Json {
    serde_json::from_str(&fs::read_to_string(root().join("infra/functions.json")).unwrap()).unwrap()
}

/// The rows of the table, by name.
fn rows(table: &Json) -> BTreeMap<&str, &Json> {
    table["functions"].as_array().unwrap().iter().map(|row| (row["name"].as_str().unwrap(), row)).collect()
}

fn texts(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
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
    assert_eq!(folders, rows(&table()).into_keys().map(str::to_owned).collect());
    for (folder, function) in deployed {
        assert_eq!(tagged(&function["FunctionName"], "Sub"), Some(format!("${{AWS::StackName}}-{folder}").as_str()));
    }
}

/// The queues of the jobs that a function works on, and their dead letters: the table and the queues' names say which.
fn lanes<'a>(template: &'a Value, row: &Json) -> BTreeSet<&'a str> {
    let name = row["name"].as_str().unwrap();
    let lanes = row["trigger"]["lanes"].as_array().into_iter().flatten();
    let mut names: BTreeSet<String> = lanes.map(|lane| queue_name(name, lane["lane"].as_str().unwrap())).collect();
    names.extend(names.clone().iter().map(|queue| dead_name(name, queue)));
    let queues = resources(template, "AWS::SQS::Queue").into_iter();
    queues.filter(|(_, queue)| names.contains(short_name(queue))).map(|(id, _)| id).collect()
}

fn queue_name(function: &str, lane: &str) -> String {
    match lane {
        "normal" => function.to_owned(),
        "ordered" => format!("{function}-ordered.fifo"),
        other => format!("{function}-{other}"),
    }
}

fn dead_name(function: &str, queue: &str) -> String {
    format!("{function}-dead{}", if queue.ends_with(".fifo") { ".fifo" } else { "" })
}

/// A queue's name after the stack's.
fn short_name(queue: &Value) -> &str {
    tagged(&queue["QueueName"], "Sub").unwrap().strip_prefix("${AWS::StackName}-").unwrap()
}

#[test]
fn the_template_is_what_the_table_says() {
    let (template, table) = (template(), table());
    let (rows, queues) = (rows(&table), resources(&template, "AWS::SQS::Queue"));
    let schedules = resources(&template, "AWS::Scheduler::Schedule");
    let (mut queue_names, mut rates) = (BTreeSet::new(), 0);
    for (name, function) in functions(&template) {
        let (row, trigger) = (rows[name], &rows[name]["trigger"]);
        let variables = function["Environment"]["Variables"].as_mapping();
        let variables: Vec<&str> =
            variables.into_iter().flat_map(Mapping::keys).map(|key| key.as_str().unwrap()).collect();
        assert_eq!(variables, texts(&row["env"]), "{name}");
        assert_eq!(function["Timeout"].as_u64(), row["timeout"].as_u64(), "{name}");
        assert_eq!(function["MemorySize"].as_u64(), row["memory"].as_u64(), "{name}");

        let mut expected = BTreeSet::new();
        for lane in trigger["lanes"].as_array().into_iter().flatten().chain(trigger.get("queue")) {
            let queue = queue_name(name, lane["lane"].as_str().unwrap_or("normal"));
            queue_names.extend([dead_name(name, &queue), queue.clone()]);
            expected.insert((queue, lane["batch"].as_u64(), lane["window"].as_u64(), lane["concurrency"].as_u64()));
        }
        let mut sources = BTreeSet::new();
        for event in function["Events"].as_mapping().into_iter().flat_map(Mapping::values) {
            let source = &event["Properties"];
            if event["Type"] == "DynamoDB" {
                assert_eq!(source["BatchSize"].as_u64(), trigger["stream"]["batch"].as_u64(), "{name}");
                queue_names.insert(dead_name(name, name));
                continue;
            }
            let queue = queues[tagged(&source["Queue"], "GetAtt").unwrap().trim_end_matches(".Arn")];
            let window = source["MaximumBatchingWindowInSeconds"].as_u64().unwrap_or(0);
            let concurrency = source["ScalingConfig"]["MaximumConcurrency"].as_u64();
            sources.insert((short_name(queue).to_owned(), source["BatchSize"].as_u64(), Some(window), concurrency));
        }
        assert_eq!(sources, expected, "{name}");

        let function_id = tagged(&function["LoggingConfig"]["LogGroup"], "Ref").unwrap().trim_end_matches("Logs");
        let target = format!("{function_id}Function.Arn");
        let schedule = schedules.values().find(|s| tagged(&s["Target"]["Arn"], "GetAtt") == Some(target.as_str()));
        let rate = schedule.map(|schedule| schedule["ScheduleExpression"].as_str().unwrap().to_owned());
        assert_eq!(rate, trigger["schedule"]["rate"].as_str().map(|rate| format!("rate({rate})")), "{name}");
        rates += usize::from(rate.is_some());

        let queue = trigger.get("lanes").or_else(|| trigger.get("queue")).map(|_| "queue");
        let general = [Some("every"), queue, trigger.get("stream").map(|_| "stream")];
        let general = general.iter().flatten().flat_map(|of| table["grants"][of].as_array().unwrap());
        let granted: Vec<&Json> = general.chain(row["grants"].as_array().unwrap()).collect();
        let statements = allowed(&template, &function["Role"]);
        assert_eq!(statements.len(), granted.len(), "{name}");
        for (statement, grant) in statements.into_iter().zip(granted) {
            assert_eq!(list(&statement["Action"]), texts(&grant["actions"]), "{name}");
            assert_eq!(statement.contains_key("Condition"), grant["condition"].is_object(), "{name}");
            let on = list(&statement["Resource"]).into_iter().map(|resource| {
                tagged(resource, "GetAtt")
                    .or(tagged(resource, "Sub"))
                    .unwrap_or("*")
                    .replace(['$', '{', '}'], "")
                    .replace(".Arn", "")
            });
            let on: BTreeSet<String> = on.collect();
            for wanted in texts(&grant["on"]).iter().filter(|on| !on.contains(' ') && !on.contains(':')) {
                assert!(on.contains(*wanted), "{name}: {wanted} in {on:?}");
            }
        }
    }
    let names: BTreeSet<String> = queues.values().map(|queue| short_name(queue).to_owned()).collect();
    assert_eq!(names, queue_names);
    assert_eq!(schedules.len(), rates);
}

#[test]
fn the_code_knows_the_lanes_of_the_table() {
    let table = table();
    let with_lanes = rows(&table).into_values().filter(|row| row["trigger"]["lanes"].is_array());
    let told: BTreeMap<&str, BTreeSet<&str>> = with_lanes
        .map(|row| {
            let lanes = row["trigger"]["lanes"].as_array().unwrap().iter().map(|lane| lane["lane"].as_str().unwrap());
            (row["name"].as_str().unwrap(), lanes.collect())
        })
        .collect();
    let known = Worker::ALL
        .into_iter()
        .map(|worker| (worker.name(), worker.lanes().iter().map(|lane| lane.as_str()).collect()));
    assert_eq!(told, known.collect());
    for worker in Worker::ALL {
        for lane in worker.lanes() {
            let queue = queue_name(worker.name(), lane.as_str());
            assert_eq!(worker.queue(*lane), queue);
            assert_eq!(worker.dead_letters(*lane), dead_name(worker.name(), &queue));
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
        // Set by Lambda itself.
        .filter(|name| !name.starts_with("AWS_LAMBDA_"))
        // Read by the SDK, which finds SES there.
        .chain(["AWS_ENDPOINT_URL_SESV2"])
        .collect();
    let mut set = BTreeSet::new();
    let globals = &template["Globals"]["Function"]["Environment"]["Variables"];
    for variables in functions(&template).values().map(|f| &f["Environment"]["Variables"]).chain([globals]) {
        set.extend(variables.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()));
    }
    assert_eq!(set, known);
}

#[test]
fn a_function_that_sends_to_its_own_queues_is_not_taken_for_a_loop() {
    let (template, table) = (template(), table());
    for (name, row) in rows(&table) {
        let own = row["grants"].as_array().unwrap().iter().any(|grant| {
            texts(&grant["actions"]).contains(&"sqs:SendMessage") && texts(&grant["on"]).contains(&"own queues")
        });
        let allowed = functions(&template)[name]["RecursiveLoop"] == "Allow";
        assert!(allowed || !own, "{name}: Lambda stops it after 16 messages");
    }
}

#[test]
fn a_queue_worker_answers_for_each_message() {
    let template = template();
    let mut workers = 0;
    for (name, function) in functions(&template) {
        for event in function["Events"].as_mapping().into_iter().flat_map(Mapping::values) {
            let source = &event["Properties"];
            if event["Type"] == "DynamoDB" {
                assert_eq!(source["BisectBatchOnFunctionError"], true, "{name}");
                assert!(!source["DestinationConfig"]["OnFailure"].is_null(), "{name} loses records");
                continue;
            }
            assert_eq!(event["Type"], "SQS", "{name}");
            assert_eq!(list(&source["FunctionResponseTypes"]), ["ReportBatchItemFailures"], "{name}");
            // The local engine stops to poll every queue when this is a parameter.
            let concurrency = source["ScalingConfig"]["MaximumConcurrency"].as_u64().expect("a literal number");
            assert!((2..=1000).contains(&concurrency), "{name}");
            let most = if source["MaximumBatchingWindowInSeconds"].is_null() { 10 } else { 10_000 };
            assert!((1..=most).contains(&source["BatchSize"].as_u64().unwrap()), "{name}");
            workers += 1;
        }
    }
    // One for each queue that is no dead-letter queue.
    let queues = resources(&template, "AWS::SQS::Queue").into_keys();
    assert_eq!(workers, queues.filter(|name| !name.ends_with("DeadLetterQueue")).count());
    assert!(workers >= 5);
}

#[test]
fn every_queue_has_its_dead_letter_queue_and_that_an_alarm() {
    let (template, table) = (template(), table());
    let rows = rows(&table);
    let queues = resources(&template, "AWS::SQS::Queue");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    let watched: BTreeSet<&str> = alarms
        .values()
        .filter(|alarm| alarm["MetricName"] == "ApproximateNumberOfMessagesVisible")
        .flat_map(|alarm| list(&alarm["Dimensions"]))
        .map(|dimension| tagged(&dimension["Value"], "GetAtt").unwrap().trim_end_matches(".QueueName"))
        .collect();
    for (name, queue) in &queues {
        assert_eq!(queue["MessageRetentionPeriod"], 14 * 24 * 3600, "{name}");
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
        let fifo = queue["FifoQueue"] == true;
        assert_eq!(fifo, short_name(queue).ends_with(".fifo"), "{name}");
        if name.ends_with("DeadLetterQueue") {
            assert!(watched.contains(name), "{name}");
            // Lambda itself sends to the one of a stream.
            let redrive = if queue["RedriveAllowPolicy"]["sourceQueueArns"].is_null() { "denyAll" } else { "byQueue" };
            assert_eq!(queue["RedriveAllowPolicy"]["redrivePermission"], redrive, "{name}");
            continue;
        }
        if fifo {
            // Else all groups together get 300 calls a second.
            assert_eq!(queue["DeduplicationScope"], "messageGroup", "{name}");
            assert_eq!(queue["FifoThroughputLimit"], "perMessageGroupId", "{name}");
        }
        let (owner, row) = rows
            .iter()
            .filter(|(owner, _)| short_name(queue).starts_with(**owner))
            .max_by_key(|(owner, _)| owner.len())
            .unwrap();
        match row["timeout"].as_u64() {
            None => assert_eq!(tagged(&queue["VisibilityTimeout"], "Ref"), Some("VisibilityTimeout"), "{name}"),
            Some(timeout) => assert!(queue["VisibilityTimeout"].as_u64().unwrap() >= 6 * timeout, "{name}"),
        }
        let dead = tagged(&queue["RedrivePolicy"]["deadLetterTargetArn"], "GetAtt").unwrap().trim_end_matches(".Arn");
        assert_eq!(short_name(queues[dead]), dead_name(owner, short_name(queue)), "{name}");
        // Attempts are counted in the table; the queue must never give up before.
        assert_eq!(queue["RedrivePolicy"]["maxReceiveCount"], 1000, "{name}");
        let (own, others) = (tagged(&queue["QueueName"], "Sub").unwrap(), &queues[dead]["RedriveAllowPolicy"]);
        let sources = list(&others["sourceQueueArns"]);
        assert!(sources.len() <= 10, "{name}: SQS takes ten");
        assert!(sources.iter().any(|source| tagged(source, "Sub").unwrap().ends_with(&format!(":{own}"))), "{name}");
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
fn a_stage_is_deployed_by_its_own_name() {
    let text = fs::read_to_string(root().join("infra/samconfig.toml")).unwrap();
    let config: toml::Table = toml::from_str(&text).unwrap();
    // A section "default" would be taken by the local deployment too.
    assert!(!config.contains_key("default"));
    for stage in ["dev", "prod"] {
        let deploy = &config[stage]["deploy"]["parameters"];
        assert_eq!(deploy["stack_name"].as_str(), Some(format!("millrace-{stage}").as_str()));
        assert!(deploy["parameter_overrides"].as_str().unwrap().contains(&format!("Stage={stage}")));
        assert!(root().join("infra").join(deploy["template_file"].as_str().unwrap()).is_file());
    }
}

#[test]
fn a_check_that_is_skipped_has_a_reason() {
    let text = fs::read_to_string(root().join("infra/checkov.yaml")).unwrap();
    let mut reason = false;
    for line in text.lines() {
        assert!(reason || !line.starts_with("  - CKV"), "{line}");
        // One reason may stand for several checks.
        reason = line.starts_with("  # ") || (reason && line.starts_with("  - "));
    }
}

#[test]
fn tools_are_pinned() {
    for file in ["tools.txt", "engine.txt", "lints.txt", "cdk.txt"] {
        let text = fs::read_to_string(root().join("infra/local").join(file)).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(line.contains("=="), "{file}: {line}");
        }
    }
}

#[test]
fn localstack_is_pinned_and_reached_from_this_machine_alone() {
    let text = fs::read_to_string(root().join("infra/local/compose.yaml")).unwrap();
    let compose: Value = serde_norway::from_str(&text).unwrap();
    let (service, network) = (&compose["services"]["localstack"], &compose["networks"]["millrace"]);
    // The last one without a licence.
    assert_eq!(service["image"], "localstack/localstack:4.14.0");
    for port in list(&service["ports"]) {
        assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{port:?}");
    }
    assert_eq!(service["environment"]["LAMBDA_DOCKER_NETWORK"], network["name"]);
    // The functions find the mailbox where `make up-localstack` has it answer.
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let set = |name: &str| {
        let line = makefile.lines().find_map(|line| line.strip_prefix(&format!("{name} ?= ")));
        line.unwrap_or_else(|| panic!("the Makefile sets no {name}"))
    };
    assert_eq!(network["ipam"]["config"][0]["gateway"], set("GATEWAY"));
    let published = format!("{}:4566", set("ENDPOINT").trim_start_matches("http://"));
    assert_eq!(list(&service["ports"]), [&Value::from(published)]);
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
