//! Roles: what each function may do, and on what.

use super::{functions, lanes, list, resources, rows, table, tagged, template, texts};
use serde_norway::{Mapping, Value};
use std::collections::BTreeSet;

/// What a role is allowed, statement by statement.
pub(super) fn allowed<'a>(template: &'a Value, role: &Value) -> Vec<&'a Mapping> {
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

/// What a value is where the stack is whole: the first branch of `!If [IsWhole, ..]`.
fn whole(value: &Value) -> &Value {
    match value {
        Value::Tagged(tagged) if tagged.tag == "If" && tagged.value[0] == "IsWhole" => &tagged.value[1],
        _ => value,
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
    let (template, table) = (template(), table());
    let rows = rows(&table);
    let all_lanes: BTreeSet<&str> = rows.values().flat_map(|row| lanes(&template, row)).collect();
    for (name, function) in functions(&template) {
        let mut named: BTreeSet<&str> = BTreeSet::new();
        let variables = function["Environment"]["Variables"].as_mapping();
        for value in variables.into_iter().flat_map(Mapping::values) {
            named.extend(tagged(value, "Ref").or_else(|| tagged(whole(value), "Ref")));
        }
        let parameters = template["Parameters"].as_mapping().unwrap();
        named.retain(|name| !parameters.contains_key(*name));
        named.extend(tagged(&function["LoggingConfig"]["LogGroup"], "Ref"));
        for event in function["Events"].as_mapping().into_iter().flat_map(Mapping::values) {
            let source = &event["Properties"];
            named.extend(tagged(&source["Queue"], "GetAtt").map(|queue| queue.trim_end_matches(".Arn")));
            named.extend(tagged(&source["Stream"], "GetAtt").map(|table| table.trim_end_matches(".StreamArn")));
            let failed = tagged(&source["DestinationConfig"]["OnFailure"]["Destination"], "GetAtt");
            named.extend(failed.map(|queue| queue.trim_end_matches(".Arn")));
        }

        let mut reached: BTreeSet<&str> = BTreeSet::new();
        for statement in allowed(&template, &function["Role"]) {
            reached.extend(list(&statement["Resource"]).into_iter().filter_map(resource_of));
            // They are named for the stack, so that the grants hold where they are left out.
            for on in list(&statement["Resource"]).into_iter().filter_map(|on| tagged(on, "Sub")) {
                match on.split_once(":configuration-set/${AWS::StackName}").map(|(_, rest)| rest) {
                    Some("") => reached.extend(["ConfigurationSet"]),
                    Some("-tracked") => reached.extend(["TrackedConfigurationSet"]),
                    _ => {}
                }
            }
        }
        // One variable stands for all job queues: it reaches its own, and every worker's if it submits jobs.
        if variables.is_some_and(|variables| variables.contains_key("JOB_QUEUES")) {
            named.extend(lanes(&template, rows[name]));
            if rows[name]["grants"].as_array().unwrap().iter().any(|grant| texts(&grant["on"]).contains(&"job queues"))
            {
                let submits = all_lanes.iter().filter(|queue| !queue.ends_with("DeadLetterQueue"));
                assert!(submits.clone().all(|queue| reached.contains(queue)), "{name}: {reached:?}");
                named.extend(submits);
            }
            if rows[name]["grants"]
                .as_array()
                .unwrap()
                .iter()
                .any(|grant| texts(&grant["on"]).contains(&"job dead letters"))
            {
                named.extend(all_lanes.iter().filter(|queue| queue.ends_with("DeadLetterQueue")));
            }
        }
        assert_eq!(named, reached, "{name}");
    }
}

/// Actions for which AWS knows no resource, so that they can be allowed on `*` alone.
const WITHOUT_RESOURCE: [&str; 3] = ["xray:PutTraceSegments", "xray:PutTelemetryRecords", "ses:GetAccount"];

#[test]
fn what_a_row_allows_widely_has_a_reason() {
    let table = table();
    let general = table["grants"].as_object().unwrap().values();
    let own = rows(&table).into_values().map(|row| &row["grants"]);
    for grant in general.chain(own).flat_map(|grants| grants.as_array().unwrap()) {
        let (actions, on) = (texts(&grant["actions"]), texts(&grant["on"]));
        assert!(!actions.iter().any(|action| action.contains('*')), "{actions:?}");
        let wide = on.iter().any(|on| on.contains('*')) || grant["condition"].is_object();
        assert!(
            !wide || grant["why"].as_str().is_some_and(|why| why.len() > 10),
            "{actions:?} on {on:?} without a reason"
        );
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
                    let only = |action: &&Value| WITHOUT_RESOURCE.contains(&action.as_str().unwrap());
                    assert!(resource != "*" || list(&statement["Action"]).iter().all(only), "{name}: {statement:?}");
                }
            }
        }
    }
}
