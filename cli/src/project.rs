//! Where the clone is that this command works on.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// The folder of the clone.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    root: PathBuf,
}

impl Project {
    /// The clone around the current folder.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current folder cannot be read")?;
        Self::around(&here)
    }

    /// The clone around a folder.
    pub(crate) fn around(folder: &Path) -> anyhow::Result<Self> {
        for root in folder.ancestors() {
            if root.join("infra/template.yaml").is_file() && root.join("Cargo.toml").is_file() {
                return Ok(Self { root: root.to_owned() });
            }
        }
        bail!("no Millrace project here: change into the clone, the folder with infra/template.yaml")
    }

    /// The folder of the clone.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the clone, by its path in it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Where installed tools and, unless said otherwise, the state of the local system are kept.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(".millrace")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_from_a_folder_inside_and_not_from_outside() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("clone");
        std::fs::create_dir_all(root.join("infra/local")).unwrap();
        std::fs::write(root.join("infra/template.yaml"), "").unwrap();
        std::fs::write(root.join("Cargo.toml"), "").unwrap();
        assert_eq!(Project::around(&root.join("infra/local")).unwrap().root(), root);
        assert!(Project::around(outside.path()).is_err());
    }
}
