//! `millrace infra`: the template, rendered from the table of functions.

mod table;
mod view;
mod yaml;

use anyhow::{Context, bail};
use clap::Subcommand;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use schemars::generate::SchemaSettings;
use std::fs;

use crate::{print::step, project::Project};
pub(crate) use table::{FILE, OWN_DEAD_LETTERS, Table};
use view::View;
pub(crate) use view::{camel, dead, queues};

/// The template's sources, of which [`MAIN`] includes the others.
const SOURCES: &str = "infra/template";
const MAIN: &str = "main.yaml.j2";

/// What to do with the infrastructure.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write infra/template.yaml and infra/functions.schema.json from infra/functions.json and infra/template/.
    Render {
        /// Write nothing; fail when a file is not what it would be.
        #[arg(long)]
        check: bool,
    },
}

/// Carries the command out.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let project = Project::find()?;
    let Command::Render { check } = command;
    for (name, text) in rendered(&project)? {
        let path = project.file(name);
        let current = fs::read_to_string(&path).unwrap_or_default() == text;
        match (current, check) {
            (true, _) => {}
            (false, true) => bail!("{name} is stale: `make template` renders it"),
            (false, false) => {
                fs::write(&path, text).with_context(|| format!("{name} cannot be written"))?;
                step("render", name);
            }
        }
    }
    Ok(())
}

/// The files that are rendered, by their paths in the project.
fn rendered(project: &Project) -> anyhow::Result<[(&'static str, String); 2]> {
    Ok([("infra/template.yaml", template(project, Table::read(project)?)?), ("infra/functions.schema.json", schema()?)])
}

fn template(project: &Project, table: Table) -> anyhow::Result<String> {
    let mut sources = Environment::new();
    sources.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    sources.set_syntax(syntax);
    sources.set_auto_escape_callback(|_| AutoEscape::None);
    let folder = project.file(SOURCES);
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a file name that is no text")?;
        sources.add_template_owned(name.to_owned(), fs::read_to_string(&path)?)?;
    }
    let text = sources.get_template(MAIN)?.render(Serde(View::of(table)?));
    // The chain of causes names the file and the line.
    text.map_err(|error| anyhow::anyhow!("{error:#}")).context(SOURCES)
}

fn schema() -> anyhow::Result<String> {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Table>();
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn project() -> Project {
        Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn the_rendered_files_are_not_stale() {
        for (name, text) in rendered(&project()).unwrap() {
            assert!(fs::read_to_string(project().file(name)).unwrap() == text, "{name} is stale: `make template`");
        }
    }

    const ROWS: &str = r#"{
        "$schema": "x",
        "variables": {"A": {"Ref": "own dead letters"}},
        "grants": {"every": [], "queue": [{"actions": ["sqs:SendMessage"], "on": ["own dead letters"]}], "stream": []},
        "functions": [{
            "name": "some-worker",
            "description": "Works.",
            "trigger": {"lanes": [
                {"lane": "high", "batch": 1, "window": 0, "concurrency": 2},
                {"lane": "normal", "batch": 1, "window": 0, "concurrency": 2},
                {"lane": "ordered", "batch": 1, "window": 0, "concurrency": 2}
            ]},
            "timeout": 100,
            "env": ["A"],
            "grants": [{"actions": ["s3:GetObject"], "on": ["Bucket/x/*"], "why": "Because."}]
        }, {
            "name": "outbox",
            "description": "Follows.",
            "trigger": {"stream": {
                "table": "JobsTable", "batch": 100, "window": 1, "parallel": 2, "max_age_seconds": 80000,
                "partial_answers": false, "tumbling_seconds": 60,
                "filters": [{"eventName": ["MODIFY"]}]
            }},
            "env": [],
            "grants": [{"actions": ["sqs:SendMessage"], "on": ["job queues"]}]
        }]
    }"#;

    fn render(rows: &str) -> anyhow::Result<String> {
        template(&project(), Table::parse(rows)?)
    }

    #[test]
    fn a_row_gives_a_worker_its_queues() {
        let text = render(ROWS).unwrap();
        for line in [
            "QueueName: !Sub ${AWS::StackName}-some-worker-high",
            "QueueName: !Sub ${AWS::StackName}-some-worker-ordered.fifo",
            "QueueName: !Sub ${AWS::StackName}-some-worker-dead.fifo",
            "Queue: !GetAtt SomeWorkerHighQueue.Arn",
            "deadLetterTargetArn: !GetAtt SomeWorkerOrderedDeadLetterQueue.Arn",
            "- !GetAtt SomeWorkerDeadLetterQueue.Arn",
            "A: !Ref SomeWorkerDeadLetterQueue",
            "VisibilityTimeout: 600",
            "# Because.",
        ] {
            assert!(text.lines().any(|found| found.trim() == line), "{line}");
        }
    }

    #[test]
    fn a_row_gives_a_function_a_stream() {
        let text = render(ROWS).unwrap();
        for line in [
            "Stream: !GetAtt JobsTable.StreamArn",
            "StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}",
            "TumblingWindowInSeconds: 60",
            "BisectBatchOnFunctionError: true",
            "MaximumRecordAgeInSeconds: 80000",
            r#"- Pattern: '{"eventName":["MODIFY"]}'"#,
            "OnFailure: {Type: SQS, Destination: !GetAtt OutboxDeadLetterQueue.Arn}",
            "- !GetAtt SomeWorkerOrderedQueue.Arn",
        ] {
            assert!(text.lines().any(|found| found.trim() == line), "{line}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_is_refused() {
        for (from, to, said) in [
            (r#""why": "Because.""#, r#""condition": null"#, "needs a \"why\""),
            ("s3:GetObject", "s3:*", "named in full"),
            (r#""env": ["A"]"#, r#""env": ["B"]"#, "has no value"),
            (r#""env": []"#, r#""env": [], "more": 1"#, "unknown field"),
            ("some-worker", "outbox", "two rows"),
            ("own dead letters\"]", "own letters\"]", "no name"),
            (r#""lane": "ordered", "batch": 1, "window": 0"#, r#""lane": "ordered", "batch": 1, "window": 1"#, "FIFO"),
            (r#""lane": "high", "batch": 1"#, r#""lane": "high", "batch": 11"#, "1 to 10"),
        ] {
            assert!(ROWS.contains(from), "{from}");
            let error = render(&ROWS.replace(from, to)).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{to}: {error:#}");
        }
    }
}
