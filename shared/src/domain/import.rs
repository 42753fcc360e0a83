//! Lists of subscribers as CSV: what a line says, and what became of it.

use super::address::{EmailAddress, parse_name};
use super::local_time::Zone;
use super::people::{SubscriberStatus, parse_tags};
use super::suppression::Reason;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The columns of a list. Only `email` must be there; they may come in any order.
pub const COLUMNS: [&str; 4] = ["email", "name", "time_zone", "tags"];
/// What separates the tags in their column.
pub const TAG_SEPARATOR: char = ';';
/// What may separate the columns. The first line tells which one does.
pub const SEPARATORS: [u8; 3] = *b",;\t";
/// Columns of other names that are told in the result, at most.
const MOST_IGNORED: usize = 20;

/// What separates the columns: whichever is most often in the first line.
#[must_use]
pub fn separator(first_line: &[u8]) -> u8 {
    let count = |separator: u8| first_line.iter().filter(|byte| **byte == separator).count();
    // Of equals, `max_by_key` gives the last: the comma.
    SEPARATORS.into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(b',')
}

/// Where each column is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    email: usize,
    name: Option<usize>,
    time_zone: Option<usize>,
    tags: Option<usize>,
    count: usize,
    /// Columns that are not read, by their names.
    pub ignored: Vec<String>,
}

/// The first line does not say what the columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// There is no column of addresses.
    #[error(
        "the first line names the columns, and one of them is `email`; the others may be `name`, `time_zone` and `tags`"
    )]
    NoEmail,
    /// A column comes twice.
    #[error("the first line names the column `{0}` twice")]
    Twice(&'static str),
}

impl Columns {
    /// Reads the first line. Case and blanks around a name make no difference.
    ///
    /// # Errors
    /// When there is no `email`, or one of the columns comes twice.
    pub fn read(names: &[String]) -> Result<Self, BadHeader> {
        let mut places = [None; COLUMNS.len()];
        let mut ignored = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let name = name.trim();
            match COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name)) {
                Some(column) if places[column].is_some() => return Err(BadHeader::Twice(COLUMNS[column])),
                Some(column) => places[column] = Some(place),
                None if ignored.len() < MOST_IGNORED => ignored.push(name.chars().take(64).collect()),
                None => {}
            }
        }
        let [email, name, time_zone, tags] = places;
        Ok(Self { email: email.ok_or(BadHeader::NoEmail)?, name, time_zone, tags, count: names.len(), ignored })
    }

    /// What the field of addresses holds, as it is.
    #[must_use]
    pub fn email<'a>(&self, fields: &'a [String]) -> &'a str {
        fields.get(self.email).map_or("", String::as_str)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn entry(&self, fields: &[String]) -> Result<Entry, Refusal> {
        if fields.len() > self.count {
            return Err(Refusal::TooManyFields);
        }
        let field = |place: Option<usize>| place.and_then(|place| fields.get(place)).map_or("", |text| text.trim());
        let email = EmailAddress::parse(unguarded(self.email(fields).trim()))
            .map_err(|error| Refusal::Email(error.to_string()))?;
        let name = parse_name(unguarded(field(self.name))).map_err(|error| Refusal::Name(error.to_string()))?;
        let time_zone = match field(self.time_zone) {
            "" => None,
            text => Some(Zone::parse(text).map_err(|error| Refusal::TimeZone(error.to_string()))?),
        };
        let tags = unguarded(field(self.tags)).split(TAG_SEPARATOR).map(str::trim).filter(|tag| !tag.is_empty());
        let tags = parse_tags(tags.map(str::to_owned).collect()).map_err(Refusal::Tags)?;
        Ok(Entry { email, name, time_zone, tags })
    }
}

/// What a line says.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub email: EmailAddress,
    /// The name, when there is one.
    pub name: Option<String>,
    /// The time zone, when there is one.
    pub time_zone: Option<Zone>,
    /// Tags, sorted, each once.
    pub tags: Vec<String>,
}

/// Why a line is not in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is longer than any line of a list.
    TooLong,
    /// It is not UTF-8.
    NotText,
    /// It has more fields than the first line: mostly a comma that wants quotes.
    TooManyFields,
    /// What is wrong with the address.
    Email(String),
    /// What is wrong with the name.
    Name(String),
    /// What is wrong with the time zone.
    TimeZone(String),
    /// What is wrong with the tags.
    Tags(String),
    /// The address was on this line before.
    Duplicate(u64),
    /// The address is suppressed.
    Suppressed(Reason),
    /// The address is on the newsletter and gets no letters: it unsubscribed, or has not confirmed.
    Inactive(SubscriberStatus),
}

impl Refusal {
    /// Whether the report shows the address. Of somebody who was erased, nothing is written down again.
    #[must_use]
    pub fn shows_address(&self) -> bool {
        *self != Self::Suppressed(Reason::Erased)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the line is too long"),
            Self::NotText => f.write_str("the line is not UTF-8"),
            Self::TooManyFields => {
                f.write_str("the line has more fields than the first one; a comma in a field wants quotes")
            }
            Self::Email(why) => write!(f, "email: {why}"),
            Self::Name(why) => write!(f, "name: {why}"),
            Self::TimeZone(why) => write!(f, "time_zone: {why}"),
            Self::Tags(why) => write!(f, "tags: {why}"),
            Self::Duplicate(line) => write!(f, "the address is on line {line} already"),
            Self::Suppressed(reason) => write!(f, "suppressed: {}", reason.as_str()),
            Self::Inactive(SubscriberStatus::Pending) => f.write_str("the address waits for its owner to confirm"),
            Self::Inactive(_) => f.write_str("the address unsubscribed"),
        }
    }
}

/// What became of the lines of a list. They add up to `lines`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Lines, without the first one and blank ones.
    pub lines: u64,
    /// New subscribers.
    pub added: u64,
    /// Subscribers that were there and were given what the line says.
    pub updated: u64,
    /// Subscribers that were there and stay as they were.
    pub unchanged: u64,
    /// Lines whose address had come before in the file.
    pub duplicates: u64,
    /// Addresses that are suppressed, unsubscribed or not confirmed.
    pub suppressed: u64,
    /// Lines that cannot be read.
    pub refused: u64,
}

impl Tally {
    /// Adds the counts of further lines.
    pub fn add(&mut self, more: &Self) {
        let Self { lines, added, updated, unchanged, duplicates, suppressed, refused } = more;
        self.lines += lines;
        self.added += added;
        self.updated += updated;
        self.unchanged += unchanged;
        self.duplicates += duplicates;
        self.suppressed += suppressed;
        self.refused += refused;
    }

    /// Counts a line that is not in the list.
    pub fn refuse(&mut self, refusal: &Refusal) {
        self.lines += 1;
        match refusal {
            Refusal::Duplicate(_) => self.duplicates += 1,
            Refusal::Suppressed(_) | Refusal::Inactive(_) => self.suppressed += 1,
            _ => self.refused += 1,
        }
    }
}

/// The text as a spreadsheet may open it: what it would take for a formula gets an apostrophe in front. Anybody can sign up
/// under any name.
#[must_use]
pub fn guarded(text: &str) -> String {
    if wants_guard(text) { format!("'{text}") } else { text.to_owned() }
}

fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| wants_guard(rest)).unwrap_or(text)
}

/// A formula, or what looks like one that is guarded already: so that every text reads back.
fn wants_guard(text: &str) -> bool {
    is_formula(text.trim_start_matches('\''))
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_first_line_tells_columns_and_separator() {
        let columns = Columns::read(&fields(&[" Name ", "points", "EMAIL", "tags"])).unwrap();
        assert_eq!(columns.ignored, ["points"]);
        let entry = columns.entry(&fields(&["Ada, Countess", "7", " Ada@Example.com ", "b; a;;b"])).unwrap();
        assert_eq!((entry.email.as_str(), entry.name.as_deref()), ("Ada@example.com", Some("Ada, Countess")));
        assert_eq!((entry.time_zone, entry.tags), (None, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(Columns::read(&fields(&["ada@example.com", "Ada"])), Err(BadHeader::NoEmail));
        assert_eq!(Columns::read(&fields(&["email", "Email"])), Err(BadHeader::Twice("email")));
        let lines: [(&[u8], u8); 5] =
            [(b"email,name", b','), (b"email;name", b';'), (b"email\tname", b'\t'), (b"email", b','), (b"a;b,c", b',')];
        for (line, expected) in lines {
            assert_eq!(separator(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_line_says_what_is_wrong_with_it() {
        let columns = Columns::read(&fields(&["email", "name", "time_zone", "tags"])).unwrap();
        let why = |texts: &[&str]| columns.entry(&fields(texts)).err().map(|refusal| refusal.to_string());
        assert_eq!(why(&["ada@example.com"]), None, "what is missing is empty");
        assert_eq!(why(&["ada@example.com", "", "europe/london", ""]), None);
        for (line, expected) in [
            (&[""][..], "email: "),
            (&["ada"], "email: an address has an @"),
            (&["ada@example.com", "a\nb"], "name: "),
            (&["ada@example.com", "", "Mars/Base"], "time_zone: "),
            (&["ada@example.com", "", "", &"x".repeat(65)], "tags: "),
            (&["ada@example.com", "", "", "", ""], "the line has more fields"),
        ] {
            assert!(why(line).unwrap().starts_with(expected), "{line:?}");
        }
    }

    #[test]
    fn nothing_is_written_down_of_the_erased() {
        assert!(!Refusal::Suppressed(Reason::Erased).shows_address());
        assert!(Refusal::Suppressed(Reason::HardBounce).shows_address() && Refusal::Duplicate(3).shows_address());
    }

    proptest! {
        #[test]
        fn no_line_panics_and_each_is_counted_once(texts in prop::collection::vec("\\PC{0,20}", 0..6)) {
            let columns = Columns::read(&fields(&["email", "name", "time_zone", "tags"])).unwrap();
            let mut tally = Tally::default();
            if let Err(refusal) = columns.entry(&texts) {
                tally.refuse(&refusal);
                let Tally { lines, added, updated, unchanged, duplicates, suppressed, refused } = tally;
                prop_assert_eq!(lines, added + updated + unchanged + duplicates + suppressed + refused);
            }
            let _ = Columns::read(&texts);
        }

        #[test]
        fn what_is_guarded_reads_back(text in "['=+@-]{0,2}[a-z]{0,5}") {
            let guarded = guarded(&text);
            prop_assert!(!is_formula(&guarded));
            prop_assert_eq!(unguarded(&guarded), text);
        }
    }
}
