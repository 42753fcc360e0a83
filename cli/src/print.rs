//! Output that a person reads, apart from what a script does.

use serde::Serialize;
use std::io::{self, Write};

/// One line of what is being done, on standard error: `engine: starting on 127.0.0.1:4566`.
pub(crate) fn step(what: &str, text: impl std::fmt::Display) {
    eprintln!("{what}: {text}");
}

/// One line of an answer, on standard output. A reader that went away (`| head`) is not an error.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    quiet(writeln!(io::stdout(), "{text}"))
}

/// A whole answer as indented JSON, on standard output.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    quiet(io::stdout().write_all(&text))
}

fn quiet(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
