//! A copy of the project, to be changed and built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The project itself.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Copies sources: no build, no tools, nothing installed.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        match name.to_str() {
            Some("target" | ".millrace" | ".git" | "node_modules") => {}
            _ if path.is_dir() => copy(&path, &to.join(name)),
            _ => {
                fs::copy(&path, to.join(name)).unwrap();
            }
        }
    }
}

/// What a `cargo test` around a test has set is taken out: some build scripts would run again because of it.
pub(crate) fn without_cargo(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars() {
        if name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The folder above that of the triple, where the command line of the tests is.
pub(crate) fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_millrace"));
    program.ancestors().nth(3).unwrap().to_owned()
}
