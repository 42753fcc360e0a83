//! The template on the engine: `sam deploy`, and what the engine leaves out of it.

use anyhow::{Context, bail};
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{TimeToLiveSpecification, TimeToLiveStatus},
};
use aws_smithy_http_client::{Builder, tls};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    addresses::{Addresses, REGION},
    command::{output, run_logged},
    engine::WATCH,
    state::{Memory, StateDir, fingerprint},
    tools::Tools,
};
use crate::{
    infra::{OWN_DEAD_LETTERS, camel},
    print::step,
    project::Project,
};
use millrace::{
    aws::Keys,
    domain::{id::Tenant, key::Scope},
};

/// The tables' outputs; the engine passes over their time to live.
const TABLES: [&str; 4] = [JOBS_TABLE, "MailTable", KEYS_TABLE, "OutboxTable"];
/// Output with the name of the table of jobs.
pub(crate) const JOBS_TABLE: &str = "JobsTable";
/// Output with the name of the table of keys.
pub(crate) const KEYS_TABLE: &str = "KeysTable";

/// Tenant of the key that is made for the developer.
const TENANT: &str = "demo";

/// How long the API may take for its first answer.
const API_PATIENCE: Duration = Duration::from_secs(30);

/// The environment of the functions, for running one of them outside the engine: with it in a shell, `cargo lambda watch` runs
/// any of them against the local system. A value is the output or parameter that the table refers to, else the one that
/// is called as the variable is; of two, that of a local stack. The dead letters are those of the newsletter.
pub(crate) fn function_variables(
    variables: &BTreeMap<String, Value>,
    outputs: &BTreeMap<String, String>,
    parameters: &Parameters,
) -> BTreeMap<String, String> {
    let value = |(name, value): (&String, &Value)| {
        if let Some(local) = value["Fn::If"][1].as_str().filter(|_| value["Fn::If"][0] == "IsLocal") {
            return Some((name.clone(), local.to_owned()));
        }
        let source = match value["Ref"].as_str() {
            Some(OWN_DEAD_LETTERS) => "NewsletterDeadLetterQueue".to_owned(),
            Some(id) => id.to_owned(),
            None => camel(name),
        };
        let found = outputs.get(&source).or_else(|| outputs.get(&format!("{source}Url")));
        Some((name.clone(), found.or_else(|| parameters.get(&source))?.clone()))
    };
    variables.iter().filter_map(value).collect()
}

/// Template parameters, by name.
pub(crate) type Parameters = BTreeMap<String, String>;

/// The parameters of a local stack; `given` ones win.
pub(crate) fn parameters(addresses: &Addresses, given: &[(String, String)]) -> Parameters {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let target = if addresses.emulator {
        // The one that there is a variant of the template for.
        [("Emulator", "localstack"), ("MailEndpoint", &addresses.ses)]
    } else {
        [("Emulator", "none"), ("LocalApiId", &addresses.api_id)]
    };
    let own = [
        ("Architecture", architecture),
        ("Stage", "local"),
        ("Sender", "Millrace <welcome@example.com>"),
        ("PublicUrl", &addresses.api),
        // The mailbox keeps up with far more than SES gives a new account.
        ("NewsletterRate", "200"),
        ("SettleSeconds", "30"),
        ("WorkerTimeout", "30"),
    ];
    let own = target.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Parameters = own.collect();
    all.extend(given.iter().cloned());
    all
}

/// Says whether the same things would be deployed as at another time.
pub(crate) fn deployment(project: &Project, functions: &str, parameters: &Parameters) -> anyhow::Result<String> {
    let path = project.file("infra/template.yaml");
    let template = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let parameters = serde_json::to_vec(parameters)?;
    Ok(fingerprint([template.as_slice(), functions.as_bytes(), &parameters]))
}

/// The SAM command line, turned to the engine, with nothing of the developer's own configuration.
pub(crate) fn sam(state: &StateDir, tools: &Tools, addresses: &Addresses) -> Command {
    let mut sam = Command::new(tools.sam());
    sam.env_clear().envs(addresses.aws()).current_dir(state.path("home"));
    sam.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    sam.env("HOME", state.path("home")).env("TMPDIR", state.path("tmp"));
    sam.env("SAM_CLI_TELEMETRY", "0").env("SAM_CLI_POLL_DELAY", "0.3");
    sam
}

/// Deploys the template as it is deployed to AWS. The stack's outputs.
pub(crate) async fn deploy(
    project: &Project,
    state: &StateDir,
    tools: &Tools,
    memory: &Memory,
    parameters: &Parameters,
) -> anyhow::Result<BTreeMap<String, String>> {
    let (addresses, log) = (Addresses::of(memory), state.log("deploy"));
    step("deploy", format_args!("sam deploy of infra/template.yaml as stack {} (log: {})", memory.name, log.display()));
    let mut deploy = sam(state, tools, &addresses);
    deploy.arg("deploy").arg("--template-file").arg(project.file("infra/template.yaml"));
    deploy.args(["--stack-name", &memory.name, "--capabilities", "CAPABILITY_IAM", "--resolve-s3"]);
    deploy.args(["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]);
    deploy.arg("--parameter-overrides");
    deploy.args(parameters.iter().map(|(name, value)| format!("{name}={}", quoted(value))));
    run_logged(&mut deploy, &log).await.context("the template could not be deployed to the engine")?;
    outputs(&mut sam(state, tools, &addresses), &memory.name).await
}

/// A value as the SAM command line reads it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    output_key: String,
    output_value: String,
}

/// The outputs of a deployed stack, as this SAM command line sees it.
pub(crate) async fn outputs(sam: &mut Command, stack: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let listed = output(sam.args(["list", "stack-outputs", "--stack-name", stack, "--output", "json"])).await?;
    let listed: Vec<Output> = serde_json::from_str(&listed).context("the answer of sam list stack-outputs")?;
    Ok(listed.into_iter().map(|output| (output.output_key, output.output_value)).collect())
}

/// A client of the engine's DynamoDB.
pub(crate) fn dynamodb(addresses: &Addresses) -> Client {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let key = &addresses.aws()["AWS_ACCESS_KEY_ID"];
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&addresses.engine)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(key, key, None, None, "local"))
        .http_client(http);
    Client::from_conf(config.build())
}

/// Whether a table of this name is there.
pub(crate) async fn has_table(dynamodb: &Client, table: &str) -> anyhow::Result<bool> {
    match dynamodb.describe_table().table_name(table).send().await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| format!("the table {table}")),
    }
}

/// What the template says and the engine passes over.
pub(crate) async fn complete(dynamodb: &Client, outputs: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for output in TABLES {
        let table = outputs.get(output).with_context(|| format!("the stack has no output {output}"))?;
        let now = dynamodb.describe_time_to_live().table_name(table).send().await;
        let now = now.with_context(|| format!("the table {table}"))?.time_to_live_description;
        if now.is_some_and(|now| now.time_to_live_status == Some(TimeToLiveStatus::Enabled)) {
            continue;
        }
        let wanted = TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(true).build()?;
        let set = dynamodb.update_time_to_live().table_name(table).time_to_live_specification(wanted).send().await;
        set.with_context(|| format!("the time to live of table {table}"))?;
    }
    Ok(())
}

/// Waits until the API answers.
pub(crate) async fn api_answers(http: &reqwest::Client, addresses: &Addresses, state: &StateDir) -> anyhow::Result<()> {
    let end = Instant::now() + API_PATIENCE;
    loop {
        let said = match http.get(format!("{}/health", addresses.api)).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.without_url().to_string(),
        };
        if Instant::now() >= end {
            bail!(
                "the deployed API does not answer at {}/health ({said}): see {}",
                addresses.api,
                log_hint(state, addresses)
            );
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn log_hint(state: &StateDir, addresses: &Addresses) -> String {
    if addresses.emulator {
        return state.log(WATCH).display().to_string();
    }
    format!("`millrace local logs api` and {}", state.log("engine").display())
}

/// Whether the API knows this key.
pub(crate) async fn key_opens(http: &reqwest::Client, addresses: &Addresses, key: &str) -> anyhow::Result<bool> {
    let asked = http.get(format!("{}/v1/jobs/job_0", addresses.api)).bearer_auth(key).send().await?;
    Ok(asked.status() != reqwest::StatusCode::UNAUTHORIZED)
}

/// Makes a key with all scopes.
pub(crate) async fn make_key(dynamodb: Client, outputs: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let table = outputs.get(KEYS_TABLE).context("the stack has no output with the table of keys")?;
    let keys = Keys::new(dynamodb, table.clone());
    let scopes = BTreeSet::from(Scope::ALL);
    let key = keys.create(Tenant::parse(TENANT)?, scopes, Some("local".to_owned()), jiff::Timestamp::now()).await?;
    Ok(key.reveal())
}

/// Whether a parameter override has the form `Name=value`.
pub(crate) fn parse_parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("a parameter is given as Name=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::Table;

    #[test]
    fn given_parameters_win() {
        let addresses = Addresses::of(&Memory { name: "x".to_owned(), ..Memory::default() });
        let given = [("Stage".to_owned(), "test".to_owned()), ("WorkerTimeout".to_owned(), "10".to_owned())];
        let all = parameters(&addresses, &given);
        assert_eq!((all["Stage"].as_str(), all["WorkerTimeout"].as_str()), ("test", "10"));
        assert_eq!(all["LocalApiId"], addresses.api_id);
    }

    #[test]
    fn an_emulator_gets_the_template_without_what_it_lacks() {
        let memory =
            Memory { endpoint: Some("http://127.0.0.1:4566".to_owned()), mailbox_port: 1, ..Memory::default() };
        let addresses = Addresses::of(&memory);
        let all = parameters(&addresses, &[]);
        assert_eq!((all["Emulator"].as_str(), all["MailEndpoint"].as_str()), ("localstack", "http://127.0.0.1:1"));
        assert_eq!(all["PublicUrl"], addresses.api);
        assert!(!all.contains_key("LocalApiId"));
    }

    #[test]
    fn whatever_a_function_reads_is_in_the_environment_for_one_run_outside_the_engine() {
        let addresses = Addresses::of(&Memory { name: "x".to_owned(), ..Memory::default() });
        let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/template.yaml")).unwrap();
        let (before, outputs) = template.split_once("\nOutputs:\n").unwrap();
        let outputs = outputs.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
        let outputs =
            outputs.filter(|name| !name.starts_with(' ')).map(|name| (name.to_owned(), "x".to_owned())).collect();
        let found = function_variables(&table().variables, &outputs, &parameters(&addresses, &[]));
        // Only these are not needed, or have a value without it.
        let optional =
            ["LOG_LEVEL", "MAIL_CONFIGURATION_SET", "MAIL_TRACKED_CONFIGURATION_SET", "EVENT_BUS", "JWT_TENANT_CLAIM"];
        let names = before.lines().filter_map(|line| line.strip_prefix("          ")?.split_once(": !"));
        let names = names.map(|(name, _)| name).filter(|name| !optional.contains(name));
        for name in names.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')) {
            assert!(found.contains_key(name), "{name} is missing");
        }
        assert!(found.len() > 10);
    }

    fn table() -> Table {
        Table::parse(include_str!("../../../infra/functions.json")).unwrap()
    }

    #[test]
    fn a_parameter_has_a_name() {
        assert_eq!(
            parse_parameter("PublicUrl=http://x/?a=b"),
            Ok(("PublicUrl".to_owned(), "http://x/?a=b".to_owned()))
        );
        assert_eq!(parse_parameter("Empty="), Ok(("Empty".to_owned(), String::new())));
        assert!(parse_parameter("=x").is_err() && parse_parameter("x").is_err() && parse_parameter("a b=c").is_err());
    }
}
