//! Lines put into files that list what there is. `cargo fmt` puts them in order afterwards.

use anyhow::{Context, bail, ensure};

/// The table of functions with one more row.
pub(super) fn table(text: &str, row: &str) -> anyhow::Result<String> {
    let rows = text.trim_end().strip_suffix("\n  ]\n}").context("does not end with its rows")?;
    Ok(format!("{rows},\n{row}\n  ]\n}}\n"))
}

/// `shared/src/jobs.rs` with one more job.
pub(super) fn with_module(text: &str, module: &str, job: &str) -> anyhow::Result<String> {
    free(text, job)?;
    let text = before(text, "mod kinds;\n", &format!("mod {module};\n"))?;
    before(&text, "pub use kinds::", &format!("pub use {module}::{job};\n"))
}

/// `shared/src/jobs/kinds.rs` with one more kind, on a worker of its own with the normal lane.
pub(super) fn with_kind(text: &str, name: &str, job: &str) -> anyhow::Result<String> {
    free(text, job)?;
    let text = after(text, "use super::{", &format!("{job}, "))?;
    let text = at_end(&text, "pub enum Worker {", "\n}", &format!("\n    /// `functions/{name}`.\n    {job},"))?;
    let text = one_more(&text, "pub const ALL: [Self; ")?;
    let text = at_end(&text, "pub const ALL: ", "];", &format!(", Self::{job}"))?;
    let text = at_end(&text, "pub fn name(self)", "\n        }", &format!("\n            Self::{job} => \"{name}\","))?;
    let lanes = format!("\n            Self::{job} => &[Lane::Normal],");
    let text = at_end(&text, "pub fn lanes(self)", "\n        }", &lanes)?;
    at_end(&text, "pub const KINDS: &[Kind] = &[", "\n];", &format!("\n    of::<{job}>(Worker::{job}),"))
}

/// That no word of a file is this one.
fn free(text: &str, word: &str) -> anyhow::Result<()> {
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    ensure!(words.all(|other| other != word), "{word} means something else here");
    Ok(())
}

fn before(text: &str, anchor: &str, more: &str) -> anyhow::Result<String> {
    let at = find(text, anchor)?;
    Ok([&text[..at], more, &text[at..]].concat())
}

fn after(text: &str, anchor: &str, more: &str) -> anyhow::Result<String> {
    let at = find(text, anchor)? + anchor.len();
    Ok([&text[..at], more, &text[at..]].concat())
}

/// Before the first `end` that follows the start of a list.
fn at_end(text: &str, start: &str, end: &str, more: &str) -> anyhow::Result<String> {
    let start = find(text, start)?;
    let at = start + find(&text[start..], end)?;
    Ok([&text[..at], more, &text[at..]].concat())
}

/// Counts the number behind an anchor up.
fn one_more(text: &str, anchor: &str) -> anyhow::Result<String> {
    let at = find(text, anchor)? + anchor.len();
    let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
    let count: usize = text[at..at + digits].parse().with_context(|| format!("no number after {anchor:?}"))?;
    Ok(format!("{}{}{}", &text[..at], count + 1, &text[at + digits..]))
}

fn find(text: &str, anchor: &str) -> anyhow::Result<usize> {
    match text.find(anchor) {
        Some(at) => Ok(at),
        None => bail!("{anchor:?} is not there any more, so the new worker has to be put in by hand"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gets_one_more() {
        let text = "use super::{A};\npub enum Worker {\n    /// a\n    A,\n}\npub const ALL: [Self; 9] = [Self::A];\n\
                    pub fn name(self) {\n        match self {\n            Self::A => \"a\",\n        }\n}\n\
                    pub fn lanes(self) {\n        match self {\n            Self::A => &[],\n        }\n}\n\
                    pub const KINDS: &[Kind] = &[\n    of::<A>(Worker::A),\n];\n";
        let expected = "use super::{B, A};\npub enum Worker {\n    /// a\n    A,\n    /// `functions/b`.\n    B,\n}\n\
                    pub const ALL: [Self; 10] = [Self::A, Self::B];\n\
                    pub fn name(self) {\n        match self {\n            Self::A => \"a\",\n            Self::B => \"b\",\n        }\n}\n\
                    pub fn lanes(self) {\n        match self {\n            Self::A => &[],\n            Self::B => &[Lane::Normal],\n        }\n}\n\
                    pub const KINDS: &[Kind] = &[\n    of::<A>(Worker::A),\n    of::<B>(Worker::B),\n];\n";
        assert_eq!(with_kind(text, "b", "B").unwrap(), expected);
        assert!(with_kind(text, "worker", "Worker").unwrap_err().to_string().contains("something else"));
        assert!(with_kind("", "b", "B").unwrap_err().to_string().contains("by hand"));
    }
}
