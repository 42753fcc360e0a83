//! `millrace new-worker`: a worker for a kind of its own, written into the project.

mod edits;

use anyhow::{Context, ensure};
use clap::Args;
use minijinja::{Environment, context};
use std::{fs, process::Command};

use crate::{
    infra::{self, Table, camel},
    print::{line, step},
    project::Project,
};
use edits::{table, with_kind, with_module};

/// Most characters of a name. A function's name has 64, the stack's name and a hyphen among them.
const MAX_NAME: usize = 32;

/// Ends of names that the queues of another worker's lanes have, or its dead letters.
const QUEUE_ENDINGS: [&str; 5] = ["high", "low", "normal", "ordered", "dead"];

/// What cannot be the name of a module, a crate or a program.
const RESERVED: [&str; 60] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tests",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

const JOBS: &str = "shared/src/jobs.rs";
const KINDS: &str = "shared/src/jobs/kinds.rs";

/// Write a worker for a new kind of job: crate, job, test, sample event, row of the table, template.
#[derive(Args)]
pub(crate) struct Options {
    /// Its name and its kind's: words of small letters with hyphens between, such as `resize-image`.
    name: String,
}

/// Carries the command out. Nothing is written unless everything can be.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let project = Project::find()?;
    let name = options.name.as_str();
    check(name)?;
    let files = files(&project, name)?;
    for (path, text) in &files {
        let file = project.file(path);
        fs::create_dir_all(file.parent().context("a file in the project")?)?;
        fs::write(&file, text).with_context(|| format!("{path} cannot be written"))?;
        step("write", path);
    }
    // What was put into a list goes where it belongs in it.
    let formatted = Command::new("cargo").args(["fmt", "--all"]).current_dir(project.root()).status();
    ensure!(formatted.context("cargo fmt")?.success(), "cargo fmt failed; all files are written");
    infra::run(&infra::Command::Render { check: false })?;
    line(format_args!(
        "{name} is a worker now. Its job: shared/src/jobs/{module}.rs. What it does: functions/{name}/src/handler.rs.\n\
         Its test: cargo test --workspace --bin {name}",
        module = name.replace('-', "_")
    ))?;
    Ok(())
}

/// Whether a function, a crate, a module and a type can be called so.
fn check(name: &str) -> anyhow::Result<()> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    ensure!(
        name.len() <= MAX_NAME && name.split('-').all(word),
        "{name:?} is no name: at most {MAX_NAME} small letters, with single hyphens between words"
    );
    let last = name.rsplit('-').next().unwrap_or_default();
    ensure!(!QUEUE_ENDINGS.contains(&last), "{name}: what ends with {last} is a queue of another worker's");
    ensure!(!RESERVED.contains(&name), "{name} is a word of Rust's or Cargo's");
    Ok(())
}

/// The new files and the changed ones, by their paths in the project.
fn files(project: &Project, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let (job, module) = (camel(name), name.replace('-', "_"));
    let read = |path: &str| fs::read_to_string(project.file(path)).with_context(|| format!("{path} cannot be read"));
    let taken = read("Cargo.lock")?.contains(&format!("\nname = \"{name}\"\n"));
    ensure!(!taken, "{name} is a crate already");

    let sources = Environment::new();
    let written = |source: &str| sources.render_str(source, context! { name, job => &job }).map(|text| text + "\n");
    let new = [
        (format!("functions/{name}/Cargo.toml"), written(include_str!("new_worker/Cargo.toml.j2"))?),
        (format!("functions/{name}/src/main.rs"), written(include_str!("new_worker/main.rs.j2"))?),
        (format!("functions/{name}/src/handler.rs"), written(include_str!("new_worker/handler.rs.j2"))?),
        (format!("functions/{name}/src/handler_tests.rs"), written(include_str!("new_worker/handler_tests.rs.j2"))?),
        (format!("shared/src/jobs/{module}.rs"), written(include_str!("new_worker/job.rs.j2"))?),
        (format!("events/{name}.json"), written(include_str!("new_worker/event.json.j2"))?),
    ];
    for (path, _) in &new {
        ensure!(!project.file(path).exists(), "{path} is there already");
    }
    let row = written(include_str!("new_worker/row.json.j2"))?;
    let table = table(&read(infra::FILE)?, row.trim_end()).context(infra::FILE)?;
    Table::parse(&table).context(infra::FILE)?;
    let changed = [
        (JOBS.to_owned(), with_module(&read(JOBS)?, &module, &job).context(JOBS)?),
        (KINDS.to_owned(), with_kind(&read(KINDS)?, name, &job).context(KINDS)?),
        (infra::FILE.to_owned(), table),
    ];
    Ok(new.into_iter().chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_name_that_cannot_be_is_refused() {
        for (name, why) in [
            ("", "no name"),
            ("Resize", "no name"),
            ("resize_image", "no name"),
            ("resize--image", "no name"),
            ("-resize", "no name"),
            ("../resize", "no name"),
            ("resize2", "no name"),
            ("an-image-that-is-resized-by-a-worker", "no name"),
            ("echo-high", "another worker"),
            ("match", "word of Rust"),
            ("build", "word of Rust"),
        ] {
            let error = check(name).expect_err(name);
            assert!(error.to_string().contains(why), "{name}: {error}");
        }
        check("resize-image").unwrap();
    }

    #[test]
    fn what_is_there_already_is_not_written_over() {
        let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        for (name, why) in [("echo", "a crate"), ("tokio", "a crate"), ("kinds", "there already"), ("lane", "Lane")] {
            let error = files(&project, name).expect_err(name);
            assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        }
        assert_eq!(files(&project, "a-worker-in-a-test").unwrap().len(), 9);
    }
}
