//! What a deployed stack says of itself.

use anyhow::Context;
use std::env;
use tokio::process::Command as Program;

use crate::{local::outputs, project::Project};

/// An output of the stack, such as the name of a table. The SAM command line is asked for it. `option` is the option of ours
/// that names it without asking.
pub(crate) async fn output(stack: &str, output: &str, option: &str) -> anyhow::Result<String> {
    let installed = Project::find().map(|project| project.file(".millrace/tools/bin/sam")).ok();
    let sam = installed.filter(|sam| sam.is_file()).unwrap_or_else(|| "sam".into());
    let mut sam = Program::new(sam);
    sam.env("SAM_CLI_TELEMETRY", "0");
    // It knows the one name only, and the SDK of Rust the other.
    if let (Some(region), None) = (env::var_os("AWS_REGION"), env::var_os("AWS_DEFAULT_REGION")) {
        sam.env("AWS_DEFAULT_REGION", region);
    }
    let found = outputs(&mut sam, stack).await.with_context(|| {
        format!("stack {stack} could not be asked for its {output}: name that with {option}, or the stack with --stack")
    })?;
    found.get(output).cloned().with_context(|| format!("stack {stack} has no output {output}: is it Millrace's?"))
}
