//! `millrace local`: the whole system on this machine, from the template that is deployed to AWS.

mod addresses;
mod build;
mod command;
mod deploy;
mod dev;
mod engine;
pub(crate) mod env_file;
mod exec;
mod logs;
mod process;
mod state;
mod status;
mod tools;
mod up;
mod watch;

pub(crate) use deploy::{JOBS_TABLE, KEYS_TABLE, outputs};

use anyhow::bail;
use clap::{Args, Subcommand};
use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use crate::{
    print::{self, line},
    project::Project,
};
use state::StateDir;
use tools::Tools;

/// What to do with the local system.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Install tools, build, start the engine and the mailbox, deploy, make an API key. Again: bring it up to date. With
    /// --endpoint, on an emulator of AWS that runs already, as LocalStack.
    Up {
        #[command(flatten)]
        options: UpOptions,
        /// Print what local.env holds as JSON, the API key included.
        #[arg(long)]
        json: bool,
    },
    /// Stop what `up` started. Tables, queues, files and mails stay for the next `up`.
    Down(Place),
    /// Show what runs. Exit code 1 unless everything does.
    Status {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what the functions logged in the last ten minutes, or the log of a process.
    Logs(logs::Options),
    /// Install the tools alone: cargo-lambda, the SAM CLI, cfn-lint and the engine. `up` does it too.
    Tools {
        /// Also this one, which only tests use. May be given several times.
        #[arg(long, value_enum)]
        also: Vec<tools::Extra>,
    },
    /// The same system with its functions run from their sources: edit one, and its next call runs the new code. Until Ctrl-C.
    Dev(dev::Options),
    /// Run a command against a new, empty system of its own, then take it down. Exit code: the command's.
    Exec(exec::Options),
}

/// Which local system.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Folder of the system's state [default: .millrace in the clone].
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

/// How to bring a local system up.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    place: Place,
    /// Use the emulator of AWS that answers at this URL instead of an engine: the template leaves out what LocalStack lacks, and
    /// `cargo lambda watch` serves the API. What the emulator holds stays there.
    #[arg(long, value_name = "URL", value_parser = endpoint, conflicts_with_all = ["engine_port", "proxy"])]
    endpoint: Option<String>,
    /// Name of the stack.
    #[arg(long, default_value = "millrace", value_parser = stack_name)]
    name: String,
    /// Port of the engine on 127.0.0.1; 0 is the one it had before, at first 4566.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    engine_port: u16,
    /// Port of the mailbox on 127.0.0.1; 0 is the one it had before, at first 4567.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    mailbox_port: u16,
    /// Address at which the mailbox answers as SES to functions in containers: the gateway of their network [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS", requires = "endpoint")]
    ses_address: Option<IpAddr>,
    /// Port of `cargo lambda watch` on 127.0.0.1, for --endpoint and `dev`; 0 is the one it had before, at first 9000.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    watch_port: u16,
    /// Take free ports where none are asked for.
    #[arg(long)]
    free_ports: bool,
    /// Lead the functions' AWS calls through a proxy that counts and disturbs them, for tests.
    #[arg(long)]
    proxy: bool,
    /// A parameter of infra/template.yaml, instead of its local value. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = deploy::parse_parameter)]
    param: Vec<(String, String)>,
}

/// An address of HTTP, without a path.
fn endpoint(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("{error}: it is given as http://host:port"))?;
    let plain =
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" && url.query().is_none();
    if plain && url.username().is_empty() && url.fragment().is_none() {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err("it is given as http://host:port".to_owned())
    }
}

/// Short enough for the names of queues and functions that begin with it.
fn stack_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 40 lower-case letters, digits and hyphens and begins with a letter".to_owned())
    }
}

impl Place {
    fn folder(&self, project: &Project) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| project.state())
    }

    fn existing(&self, project: &Project) -> anyhow::Result<StateDir> {
        let folder = self.folder(project);
        match StateDir::open(&folder) {
            Some(state) => Ok(state),
            None => bail!("no local system in {}: start one with `millrace local up`", folder.display()),
        }
    }
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    match command {
        Command::Up { options, json } => {
            let state = StateDir::create(&options.place.folder(&project))?;
            let _lock = state.lock()?;
            let variables = up::up(&project, &state, &options).await?;
            if json {
                print::json(&variables)?;
            } else {
                line(format_args!("API:     {}", variables["MILLRACE_API_URL"]))?;
                line(format_args!("Mailbox: {}", variables["MILLRACE_MAILBOX_URL"]))?;
                line(format_args!("API key: {}", variables["MILLRACE_API_KEY"]))?;
                line(format_args!("All of it, to be sourced: {}", state.env_file().display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Down(place) => {
            // Nothing was ever started: there is nothing to stop.
            if let Some(state) = StateDir::open(&place.folder(&project)) {
                let _lock = state.lock()?;
                up::down(&state).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { place, json } => status::status(&place.existing(&project)?, json).await,
        Command::Logs(options) => logs::logs(&project, &options).await,
        Command::Tools { also } => Tools::install(&project, &also).await.map(|_| ExitCode::SUCCESS),
        Command::Dev(options) => dev::dev(&project, options).await,
        Command::Exec(options) => exec::exec(&project, &options).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_address_of_http() {
        assert_eq!(endpoint("http://127.0.0.1:4566/"), Ok("http://127.0.0.1:4566".to_owned()));
        assert_eq!(endpoint("https://localstack.test"), Ok("https://localstack.test".to_owned()));
        for wrong in
            ["", "127.0.0.1:4566", "localhost:4566", "ftp://x", "http://x/path", "http://x?y=1", "http://u:p@x"]
        {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
