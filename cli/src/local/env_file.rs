//! `local.env`: what scripts source to reach the local system. Each line is `NAME='value'`.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::state::replace;

/// Writes the file, for its owner alone: it holds the API key.
pub(crate) fn write(path: &Path, variables: &BTreeMap<String, String>) -> io::Result<()> {
    let quote = |(name, value): (&String, &String)| format!("{name}='{}'\n", value.replace('\'', r"'\''"));
    replace(path, variables.iter().map(quote).collect::<String>().as_bytes(), 0o600)
}

/// Reads the file. Other lines than its own form are passed over.
pub(crate) fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    Ok(fs::read_to_string(path)?.lines().filter_map(variable).collect())
}

fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some((name.to_owned(), value.replace(r"'\''", "'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_written_and_so_do_we() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("local.env");
        let variables = BTreeMap::from([
            ("A".to_owned(), "http://127.0.0.1:1/$default".to_owned()),
            ("B".to_owned(), "it's \"so\" `x` \\".to_owned()),
        ]);
        write(&path, &variables).unwrap();
        assert_eq!(read(&path).unwrap(), variables);
        let script = format!(". {}; printf '%s' \"$A|$B\"", path.display());
        let shell = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), format!("{}|{}", variables["A"], variables["B"]));
    }
}
