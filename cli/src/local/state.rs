//! The state folder of a local system: what is kept in it, and who may work on it.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What is remembered from one command to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Memory {
    /// Name of the stack.
    pub(crate) name: String,
    /// Port of the engine; 0 before the first start.
    pub(crate) engine_port: u16,
    /// Port of the mailbox; 0 before the first start.
    pub(crate) mailbox_port: u16,
    /// Where the mailbox answers as SES beside 127.0.0.1.
    pub(crate) ses_address: Option<IpAddr>,
    /// An emulator of AWS that runs by itself, in the engine's place.
    pub(crate) endpoint: Option<String>,
    /// Port of `cargo lambda watch`; 0 before the first start.
    pub(crate) watch_port: u16,
    /// Port of the proxy in front of the engine; 0 when there is none.
    pub(crate) proxy_port: u16,
    /// Fingerprint of what the engine has deployed.
    pub(crate) deployed: Option<String>,
    /// Fingerprint of the mailbox that was started last.
    pub(crate) mailbox: Option<String>,
    /// Whether the engine leads the calls of functions to `cargo lambda watch`.
    pub(crate) watched: bool,
    /// Outputs of the deployed stack.
    pub(crate) outputs: BTreeMap<String, String>,
}

/// The state folder.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The folder at `root`, made if it is missing.
    pub(crate) fn create(root: &Path) -> anyhow::Result<Self> {
        let made = || -> io::Result<PathBuf> {
            for folder in ["run", "log", "data", "tmp", "home"] {
                fs::create_dir_all(root.join(folder))?;
            }
            fs::canonicalize(root)
        };
        let root = made().with_context(|| format!("the state folder {} cannot be made", root.display()))?;
        Ok(Self { root })
    }

    /// The folder at `root`, if a local system was ever started in it.
    pub(crate) fn open(root: &Path) -> Option<Self> {
        let root = fs::canonicalize(root).ok()?;
        root.join("local.json").is_file().then_some(Self { root })
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The log of a process or tool.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join(format!("log/{name}.log"))
    }

    /// The file that scripts source: addresses and the API key.
    pub(crate) fn env_file(&self) -> PathBuf {
        self.root.join("local.env")
    }

    /// Keeps other commands from changing this system until the answer is dropped.
    pub(crate) fn lock(&self) -> anyhow::Result<File> {
        let path = self.root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).context("lock file")?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!("another `millrace local` command is at work in {}: wait for it, or stop it", self.root.display())
            }
            Err(TryLockError::Error(error)) => Err(error).context("lock file"),
        }
    }

    /// What was remembered, or nothing yet. A file that cannot be read counts as nothing.
    pub(crate) fn memory(&self) -> Memory {
        let read = fs::read(self.path("local.json")).ok();
        read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Remembers.
    pub(crate) fn remember(&self, memory: &Memory) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(memory)?;
        replace(&self.path("local.json"), &text, 0o644).context("the state file cannot be written")
    }

    /// Forgets everything but logs: tables, queues, files, mails, the deployed stack.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        for name in ["data", "tmp", "run"] {
            let folder = self.path(name);
            let emptied = fs::remove_dir_all(&folder).and_then(|()| fs::create_dir_all(&folder));
            emptied.with_context(|| format!("{} cannot be emptied", folder.display()))?;
        }
        for name in ["local.json", "local.env"] {
            match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("old state"),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes a file whole or not at all, readable as `mode` says.
pub(crate) fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    // A leftover may have other permissions, which opening would keep.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = File::options().create_new(true).write(true).mode(mode).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// SHA-256 of the parts, in hex; where one part ends counts.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn remembers_and_forgets() {
        let folder = tempfile::tempdir().unwrap();
        assert!(StateDir::open(folder.path()).is_none());
        let state = StateDir::create(folder.path()).unwrap();
        assert_eq!(state.memory(), Memory::default());
        let memory = Memory { name: "millrace".to_owned(), engine_port: 4566, ..Memory::default() };
        state.remember(&memory).unwrap();
        assert_eq!(StateDir::open(folder.path()).unwrap().memory(), memory);
        state.wipe().unwrap();
        assert_eq!(state.memory(), Memory::default());
    }

    #[test]
    fn one_command_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let held = state.lock().unwrap();
        assert!(state.lock().is_err());
        drop(held);
        assert!(state.lock().is_ok());
    }

    #[test]
    fn a_secret_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("local.env");
        fs::write(path.with_extension("new"), "left over").unwrap();
        replace(&path, b"secret", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"secret");
    }

    #[test]
    fn a_fingerprint_tells_parts_apart() {
        assert_ne!(fingerprint([b"ab".as_slice(), b"c"]), fingerprint([b"a".as_slice(), b"bc"]));
        assert_eq!(fingerprint([b"a".as_slice()]), fingerprint([b"a".as_slice()]));
    }
}
