//! The mails kept: newest in memory up to a number, and in a file of JSON lines when one is given.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};

use crate::fate::is_simulator;
use crate::mail::Mail;

/// The mails of this mailbox, in the order they were accepted. Shared by all handlers; every call is short.
pub struct Store {
    inner: Mutex<Inner>,
    max: usize,
}

struct Inner {
    mails: VecDeque<Kept>,
    places: HashMap<String, u64>,
    /// The place of the next mail. Places only grow, so a cursor stays good while older mails are dropped.
    next: u64,
    file: Option<File>,
}

struct Kept {
    place: u64,
    /// Bare and in lower case, made once: every filter and count compares them.
    recipients: Vec<String>,
    mail: Arc<Mail>,
}

/// Which mails are asked for. An empty filter is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of the recipients has exactly this address (without regard to case).
    pub to: Option<String>,
    /// One of the recipients' addresses contains this (without regard to case).
    pub to_contains: Option<String>,
    /// It has the tag of this name with this value.
    pub tag: Option<(String, String)>,
}

/// How many mails match, and how many of them each address got.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) by_recipient: BTreeMap<String, usize>,
}

impl Store {
    /// An empty store that keeps the newest `max` mails, in memory only.
    pub fn in_memory(max: usize) -> Self {
        Self::with(max, None, Vec::new())
    }

    /// A store that also appends each mail to the file at `path`, beginning with the newest `max` mails found there.
    /// A last line cut short by a crash is dropped.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not a file of mails.
    pub fn open(max: usize, path: &Path) -> anyhow::Result<Self> {
        let (mut mails, mut tidy) = read(path).with_context(|| format!("reading the mails in {}", path.display()))?;
        if mails.len() > max {
            mails.drain(..mails.len() - max);
            tidy = false;
        }
        if !tidy {
            rewrite(path, &mails).with_context(|| format!("rewriting {}", path.display()))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {} to append to it", path.display()))?;
        Ok(Self::with(max, Some(file), mails))
    }

    fn with(max: usize, file: Option<File>, mails: Vec<Mail>) -> Self {
        let mut inner = Inner { mails: VecDeque::new(), places: HashMap::new(), next: 0, file };
        for mail in mails {
            inner.push(Arc::new(mail), max);
        }
        Self { inner: Mutex::new(inner), max }
    }

    /// Keeps a mail. With a file, it is in the file before it can be seen.
    ///
    /// # Errors
    /// The file could not be written; the mail is then not kept.
    pub fn insert(&self, mail: Mail) -> io::Result<Arc<Mail>> {
        let mail = Arc::new(mail);
        let mut inner = self.lock();
        if let Some(file) = &mut inner.file {
            let mut line = serde_json::to_vec(&*mail)?;
            line.push(b'\n');
            let whole = file.metadata()?.len();
            if let Err(error) = file.write_all(&line) {
                // Half a line would make the file unreadable once the next mail follows it.
                file.set_len(whole)?;
                return Err(error);
            }
        }
        inner.push(Arc::clone(&mail), self.max);
        Ok(mail)
    }

    /// The mail of this id.
    pub fn get(&self, id: &str) -> Option<Arc<Mail>> {
        let inner = self.lock();
        let index = inner.places.get(id)? - inner.mails.front()?.place;
        inner.mails.get(usize::try_from(index).ok()?).map(|kept| Arc::clone(&kept.mail))
    }

    /// The newest `limit` mails that match and are older than place `before`, newest first; and, when there are more, the
    /// `before` of the next page.
    pub fn page(&self, filter: &Filter, before: Option<u64>, limit: usize) -> (Vec<Arc<Mail>>, Option<u64>) {
        let inner = self.lock();
        let older = inner.mails.iter().rev().filter(|kept| before.is_none_or(|before| kept.place < before));
        let mut matching = older.filter(|kept| filter.matches(kept));
        let mut last = None;
        let mut mails = Vec::new();
        for kept in matching.by_ref().take(limit) {
            last = Some(kept.place);
            mails.push(Arc::clone(&kept.mail));
        }
        let more = matching.next().is_some();
        (mails, last.filter(|_| more))
    }

    /// Counts the mails that match, in all and per address.
    pub(crate) fn counts(&self, filter: &Filter) -> Counts {
        let inner = self.lock();
        let mut counts = Counts { total: 0, by_recipient: BTreeMap::new() };
        for kept in inner.mails.iter().filter(|kept| filter.matches(kept)) {
            counts.total += 1;
            for address in &kept.recipients {
                *counts.by_recipient.entry(address.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// How many mails match.
    pub fn count(&self, filter: &Filter) -> usize {
        let inner = self.lock();
        if *filter == Filter::default() {
            return inner.mails.len();
        }
        inner.mails.iter().filter(|kept| filter.matches(kept)).count()
    }

    /// How many recipients had a mail accepted for them in the 24 hours before `now`: what SES counts against a quota. Those
    /// of the simulator it does not count.
    pub(crate) fn sent_last_day(&self, now: Timestamp) -> usize {
        let since = now.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        let inner = self.lock();
        let recent = inner.mails.iter().rev().take_while(|kept| kept.mail.received_at > since);
        recent.flat_map(|kept| &kept.recipients).filter(|address| !is_simulator(address)).count()
    }

    /// Drops all mails, in memory and in the file.
    ///
    /// # Errors
    /// The file could not be emptied; then nothing was dropped.
    pub fn clear(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(file) = &inner.file {
            file.set_len(0)?;
        }
        inner.mails.clear();
        inner.places.clear();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, mail: Arc<Mail>, max: usize) {
        let place = self.next;
        self.next += 1;
        self.places.insert(mail.id.clone(), place);
        self.mails.push_back(Kept { place, recipients: mail.recipients().collect(), mail });
        while self.mails.len() > max {
            if let Some(oldest) = self.mails.pop_front() {
                self.places.remove(&oldest.mail.id);
            }
        }
    }
}

impl Filter {
    fn matches(&self, kept: &Kept) -> bool {
        let to = |address: &String| kept.recipients.iter().any(|own| own.eq_ignore_ascii_case(address));
        let part = |part: &String| kept.recipients.iter().any(|own| own.contains(&part.to_ascii_lowercase()));
        let tag = |(name, value): &(String, String)| kept.mail.tags.get(name) == Some(value);
        self.to.as_ref().is_none_or(to)
            && self.to_contains.as_ref().is_none_or(part)
            && self.tag.as_ref().is_none_or(tag)
    }
}

/// The mails in the file, and whether it can be appended to as it is.
fn read(path: &Path) -> anyhow::Result<(Vec<Mail>, bool)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), true)),
        Err(error) => return Err(error.into()),
    };
    let mut lines = BufReader::new(file);
    let mut mails = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') {
            tracing::warn!(line = number, "dropped a mail that was cut short while it was written");
            return Ok((mails, false));
        }
        let mail = serde_json::from_slice(&line);
        // The parser's own words may quote the line, and with it an address.
        ensure!(mail.is_ok(), "line {number} is not a mail; move the file away to begin anew");
        mails.extend(mail.ok());
    }
    Ok((mails, true))
}

/// Writes the file anew beside itself and renames it, so that a crash leaves either the old or the new one.
fn rewrite(path: &Path, mails: &[Mail]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = BufWriter::new(File::create(&beside)?);
    for mail in mails {
        serde_json::to_writer(&mut file, mail)?;
        file.write_all(b"\n")?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mail;

    fn ids(mails: &[Arc<Mail>]) -> Vec<&str> {
        mails.iter().map(|mail| &*mail.id).collect()
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_and_end() {
        let store = Store::in_memory(100);
        for n in 0..5 {
            store.insert(mail(&n.to_string(), "a@example.com")).unwrap();
        }
        let (first, next) = store.page(&Filter::default(), None, 2);
        assert_eq!(ids(&first), ["4", "3"]);
        store.insert(mail("5", "a@example.com")).unwrap();
        let (second, next) = store.page(&Filter::default(), next, 2);
        assert_eq!(ids(&second), ["2", "1"]);
        let (third, next) = store.page(&Filter::default(), next, 2);
        assert_eq!((ids(&third), next), (vec!["0"], None));
    }

    #[test]
    fn the_oldest_give_way_beyond_the_maximum() {
        let store = Store::in_memory(2);
        for id in ["a", "b", "c"] {
            store.insert(mail(id, "a@example.com")).unwrap();
        }
        assert!(store.get("a").is_none());
        assert_eq!(store.get("b").unwrap().id, "b");
        assert_eq!(store.get("c").unwrap().id, "c");
        assert_eq!(store.count(&Filter::default()), 2);
    }

    #[test]
    fn filters_and_counts() {
        let store = Store::in_memory(100);
        let mut first = mail("1", "Ann <Ann@Example.com>");
        first.cc = vec!["bo@example.com".into()];
        first.tags.insert("campaign".into(), "cmp_1".into());
        store.insert(first).unwrap();
        store.insert(mail("2", "joann@example.com")).unwrap();
        assert_eq!(store.sent_last_day(crate::mail::now()), 3);
        store.insert(mail("3", "success@simulator.amazonses.com")).unwrap();
        let with = |filter: Filter| ids(&store.page(&filter, None, 10).0).join(",");
        assert_eq!(with(Filter { to: Some("ANN@example.com".into()), ..Filter::default() }), "1");
        assert_eq!(with(Filter { to_contains: Some("Ann@".into()), ..Filter::default() }), "2,1");
        assert_eq!(with(Filter { tag: Some(("campaign".into(), "cmp_1".into())), ..Filter::default() }), "1");
        let counts = store.counts(&Filter::default());
        assert_eq!(counts.total, 3);
        let wanted = [
            ("ann@example.com", 1),
            ("bo@example.com", 1),
            ("joann@example.com", 1),
            ("success@simulator.amazonses.com", 1),
        ];
        assert_eq!(counts.by_recipient, wanted.map(|(address, n)| (address.to_owned(), n)).into());
        assert_eq!(store.sent_last_day(crate::mail::now()), 3);
        let later = crate::mail::now() + SignedDuration::from_hours(25);
        assert_eq!(store.sent_last_day(later), 0);
    }

    #[test]
    fn a_file_keeps_the_mails_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mails.jsonl");
        let store = Store::open(10, &path).unwrap();
        for id in ["a", "b", "c"] {
            store.insert(mail(id, "zoë+1@example.com")).unwrap();
        }
        drop(store);

        let store = Store::open(2, &path).unwrap();
        assert_eq!(ids(&store.page(&Filter::default(), None, 10).0), ["c", "b"]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        store.clear().unwrap();
        store.insert(mail("d", "a@example.com")).unwrap();
        drop(store);

        let store = Store::open(2, &path).unwrap();
        assert_eq!(ids(&store.page(&Filter::default(), None, 10).0), ["d"]);
    }

    #[test]
    fn a_line_cut_short_is_dropped_and_another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mails.jsonl");
        let store = Store::open(10, &path).unwrap();
        store.insert(mail("a", "a@example.com")).unwrap();
        store.insert(mail("b", "a@example.com")).unwrap();
        drop(store);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        let store = Store::open(10, &path).unwrap();
        store.insert(mail("c", "a@example.com")).unwrap();
        drop(store);
        let store = Store::open(10, &path).unwrap();
        assert_eq!(ids(&store.page(&Filter::default(), None, 10).0), ["c", "a"]);

        fs::write(&path, "secret@example.com\n").unwrap();
        let error = format!("{:#}", Store::open(10, &path).err().unwrap());
        assert!(error.contains("line 1 is not a mail") && !error.contains("secret"), "{error}");
    }
}
