//! The functions and the mailbox, built for this machine.

use anyhow::Context;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};
use tokio::process::Command;

use super::{
    command::{output, run_shown},
    state::fingerprint,
    tools::Tools,
};
use crate::{print::step, project::Project};

/// All programs share the features of their dependencies, so that none of these is compiled twice.
const WHOLE: [&str; 1] = ["--workspace"];
const MAILBOX: &str = "millrace-mailbox";
const PROXY: &str = "millrace-proxy";

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    /// Says whether the functions are the same as at another time.
    pub(crate) functions: String,
    /// The mailbox's program.
    pub(crate) mailbox: PathBuf,
    /// The program of the proxy in front of the engine.
    pub(crate) proxy: PathBuf,
    /// Says whether the mailbox is the same as at another time.
    pub(crate) mailbox_fingerprint: String,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// Builds what changed, with the profile `dev`.
pub(crate) async fn build(project: &Project, tools: &Tools) -> anyhow::Result<Build> {
    let functions = functions(project)?;
    let first = if project.file("target/lambda").exists() { "" } else { " (the first time takes minutes)" };
    step("build", format_args!("{} functions and the mailbox{first}", functions.len()));
    let chosen: Vec<&str> = functions.iter().flat_map(|name| ["--bin", name]).collect();
    let mut build = cargo(project);
    build.args(["lambda", "build", "--compiler", "cargo", "--lambda-dir"]).arg(project.file("target/lambda"));
    build.args(WHOLE).args(&chosen).env("PATH", tools.search_path()?);
    run_shown(&mut build).await.context("the functions could not be built")?;
    // The mailbox; and the functions' programs again where cargo keeps them, for cargo-lambda takes them away and its
    // copies are new each time.
    let mut build = cargo(project);
    build.args(["build", "--quiet"]).args(WHOLE).args(&chosen).args(["--bin", MAILBOX, "--bin", PROXY]);
    run_shown(&mut build).await.context("the mailbox and the proxy could not be built")?;

    let built = built_folder(project).await?;
    let changed = functions.iter().map(|name| change(&built.join(name))).collect::<anyhow::Result<Vec<_>>>()?;
    let mailbox = built.join(MAILBOX);
    Ok(Build {
        functions: fingerprint(changed.iter().map(String::as_bytes)),
        mailbox_fingerprint: change(&mailbox)?,
        mailbox,
        proxy: built.join(PROXY),
    })
}

/// The names of the functions: their folders.
pub(crate) fn functions(project: &Project) -> anyhow::Result<Vec<String>> {
    let folder = project.file("functions");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Cargo in the clone, without what a `cargo run` around this process put into the environment: some build scripts
/// would run again because of it.
fn cargo(project: &Project) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(project.root());
    for name in cargo_run_variables() {
        cargo.env_remove(name);
    }
    cargo
}

/// The variables that `cargo run` sets for the program it runs.
pub(crate) fn cargo_run_variables() -> impl Iterator<Item = String> {
    let set = |name: &String| name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(set)
}

/// Where the programs are that cargo built for this machine.
async fn built_folder(project: &Project) -> anyhow::Result<PathBuf> {
    let metadata = output(cargo(project).args(["metadata", "--no-deps", "--format-version", "1"])).await?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("the answer of cargo metadata")?;
    let version = output(Command::new("rustc").arg("-vV").current_dir(project.root())).await?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(metadata.target_directory.join(host).join("debug"))
}

/// Size and time of a program. Cargo touches it only when it links it anew.
fn change(program: &Path) -> anyhow::Result<String> {
    let read = || {
        let metadata = fs::metadata(program)?;
        Ok::<_, std::io::Error>((metadata.len(), metadata.modified()?))
    };
    let (size, modified) = read().with_context(|| format!("{} was not built", program.display()))?;
    Ok(format!("{} {size} {}", program.display(), modified.duration_since(UNIX_EPOCH)?.as_nanos()))
}
