//! The kind `import-subscribers`.

use super::lines::{Line, Lines};
use super::{CHECKPOINT, Slice, has_time, load, patiently, save};
use crate::domain::address::EmailAddress;
use crate::domain::id::JobId;
use crate::domain::import::{Columns, Entry, Refusal, Tally, guarded};
use crate::domain::people::{Consent, ImportLine, Subscriber, SubscriberChange, SubscriberKey, SubscriberStatus};
use crate::job::{Failure, Outcome};
use crate::jobs::{Existing, ImportSubscribers};
use crate::large_file::{LargeFile, Store, Written};
use crate::ports::{Added, Checkpoints, Found, Newsletters, PortError, Subscribers, Suppressions};
use crate::worker::handlers::Attempt;
use anyhow::anyhow;
use futures::future::try_join_all;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::Arc;
use std::time::Duration;

/// Lines that are looked at together: as many addresses as one read of the suppressed ones takes.
const BATCH: usize = 100;
/// Subscribers that are written at the same time.
const WRITES: usize = 50;

/// Where the file of an import is uploaded to.
#[must_use]
pub fn upload_key(job: &JobId) -> String {
    format!("imports/{job}.csv")
}

/// Where the report of an import is: the lines that are not in the list, and why.
fn report_key(job: &JobId) -> String {
    format!("imports/{job}-report.csv")
}

/// Takes in lists of subscribers. Bounded in memory, and safe to be cut off anywhere: a line that is read again finds the
/// subscriber that it made itself, by the consent's note of job and line.
pub struct Importer {
    /// The newsletters.
    pub newsletters: Arc<dyn Newsletters>,
    /// Their subscribers.
    pub subscribers: Arc<dyn Subscribers>,
    /// Who gets no newsletter.
    pub suppressions: Arc<dyn Suppressions>,
    /// The uploaded files, and the reports.
    pub store: Store,
    /// How far each job is.
    pub checkpoints: Arc<dyn Checkpoints>,
}

/// How far an import is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    size: u64,
    tag: String,
    columns: Columns,
    separator: u8,
    offset: u64,
    breaks: u64,
    tally: Tally,
    report: Written,
    /// All lines are read.
    ended: bool,
}

/// What became of a line.
enum Verdict {
    Added,
    Updated,
    Unchanged,
    Refused(Refusal),
}

/// What became of some lines.
#[derive(Default)]
struct Decided {
    tally: Tally,
    /// The lines that are not in the list: number, address, reason.
    refused: Vec<(u64, String, Refusal)>,
}

impl Importer {
    /// Goes on with an import as far as its time allows.
    ///
    /// # Errors
    /// What the attempt comes to instead: a wait for the upload or for another slice, a retry, an end.
    pub async fn run(&self, job: ImportSubscribers, attempt: Attempt) -> Outcome {
        let newsletter = self.newsletters.get(&job.newsletter).await?;
        if newsletter.is_none_or(|newsletter| newsletter.tenant != attempt.tenant) {
            return Err(Failure::Dead(anyhow!("there is no such newsletter")));
        }
        let state = load::<State>(&*self.checkpoints, &attempt).await?;
        if let Some(state) = state.as_ref().filter(|state| state.ended) {
            return self.end(&attempt, state).await; // the file may be gone by now
        }
        let key = upload_key(&attempt.id);
        let found = self.store.files.find(&key).await?;
        let (mut state, mut lines) = match (state, found) {
            (None, None) => return Err(waiting(&job, &attempt)),
            (None, Some(found)) => {
                let lines = Lines::open(self.store.clone(), key, found.clone(), 0, 0).await?;
                begin(lines, found).await?
            }
            (Some(state), Some(found)) if found.tag == state.tag => {
                let lines = Lines::open(self.store.clone(), key, found, state.offset, state.breaks).await?;
                let separator = state.separator;
                (state, lines.separated_by(separator))
            }
            (Some(_), _) => {
                return Err(Failure::Dead(anyhow!("the file was replaced while it was read: please import it anew")));
            }
        };
        match self.slice(&job, &attempt, &mut state, &mut lines).await? {
            Slice::Ended => self.end(&attempt, &state).await,
            Slice::Paused => Err(Failure::Snooze(Duration::ZERO)),
        }
    }

    /// Reads lines until there is no time or no line left. What is done is in the checkpoint then.
    async fn slice(
        &self,
        job: &ImportSubscribers,
        attempt: &Attempt,
        state: &mut State,
        lines: &mut Lines,
    ) -> Result<Slice, Failure> {
        let began = attempt.now();
        let mut saved = began;
        let mut report = self.report(attempt, &state.report).await?;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH {
                let Some(line) = lines.next().await? else { break };
                batch.push(line);
            }
            let ended = batch.len() < BATCH;
            self.batch(job, attempt, state, &batch, &mut report).await?;
            (state.offset, state.breaks, state.ended) = (lines.offset(), lines.breaks(), ended);
            let more = has_time(attempt, began);
            if ended || !more || attempt.now().duration_since(saved) > CHECKPOINT {
                state.report = report.pause().await?;
                save(&*self.checkpoints, attempt, state).await?;
                report.paused().await?;
                saved = attempt.now();
                progress(attempt, state).await?;
            }
            if ended {
                return Ok(Slice::Ended);
            }
            if !more {
                return Ok(Slice::Paused);
            }
        }
    }

    async fn report(&self, attempt: &Attempt, written: &Written) -> Result<LargeFile, PortError> {
        let key = report_key(&attempt.id);
        LargeFile::resume(self.store.clone(), key, "text/csv", written.clone(), attempt.fence).await
    }

    /// Adds whom some lines name, and reports whom not.
    async fn batch(
        &self,
        job: &ImportSubscribers,
        attempt: &Attempt,
        state: &mut State,
        lines: &[Line],
        report: &mut LargeFile,
    ) -> Result<(), Failure> {
        let decided = patiently(|| self.decide(job, attempt, &state.columns, lines)).await?;
        state.tally.add(&decided.tally);
        if !decided.refused.is_empty() {
            report.write(&rows(report.bytes() == 0, &decided.refused)?).await?;
        }
        Ok(())
    }

    /// Decides about some lines and adds whom they name. Safe to be done again.
    async fn decide(
        &self,
        job: &ImportSubscribers,
        attempt: &Attempt,
        columns: &Columns,
        lines: &[Line],
    ) -> Result<Decided, PortError> {
        let mut entries: Vec<(u64, Entry)> = Vec::new();
        let Decided { mut tally, mut refused } = Decided::default();
        let mut seen: HashMap<SubscriberKey, u64> = HashMap::new();
        for Line { number, fields } in lines {
            let (email, entry) = match fields {
                Ok(fields) => (columns.email(fields).to_owned(), columns.entry(fields)),
                Err(refusal) => (String::new(), Err(refusal.clone())),
            };
            match entry {
                // Of a batch, the first line wins here; over batches, by what it wrote.
                Ok(entry) => match seen.entry(SubscriberKey::of(&job.newsletter, &entry.email)) {
                    Occupied(first) => refused.push((*number, email, Refusal::Duplicate(*first.get()))),
                    Vacant(free) => {
                        free.insert(*number);
                        entries.push((*number, entry));
                    }
                },
                Err(refusal) => refused.push((*number, email, refusal)),
            }
        }
        let emails: Vec<EmailAddress> = entries.iter().map(|(_, entry)| entry.email.clone()).collect();
        let suppressed = self.suppressions.check(&attempt.tenant, &emails).await?;
        let (mut free, emails) = (Vec::new(), emails.into_iter().map(String::from));
        for (((number, entry), suppression), email) in entries.into_iter().zip(suppressed).zip(emails) {
            match suppression {
                Some(suppression) => refused.push((number, email, Refusal::Suppressed(suppression.reason))),
                None => free.push((number, entry)),
            }
        }
        let mut verdicts = Vec::with_capacity(free.len());
        for some in free.chunks(WRITES) {
            verdicts
                .extend(try_join_all(some.iter().map(|(number, entry)| self.one(job, attempt, *number, entry))).await?);
        }
        let added = free.iter().zip(&mut verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Added)).collect();
        self.look_again(job, attempt, added).await?;
        for ((number, entry), verdict) in free.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Added => tally.added += 1,
                Verdict::Updated => tally.updated += 1,
                Verdict::Unchanged => tally.unchanged += 1,
                Verdict::Refused(refusal) => {
                    refused.push((number, entry.email.into(), refusal));
                    continue;
                }
            }
            tally.lines += 1;
        }
        refused.sort_by_key(|(number, ..)| *number);
        for (_, _, refusal) in &refused {
            tally.refuse(refusal);
        }
        Ok(Decided { tally, refused })
    }

    /// Takes back whom this batch added when they were suppressed meanwhile: whoever is being erased is not to be left behind.
    async fn look_again(
        &self,
        job: &ImportSubscribers,
        attempt: &Attempt,
        added: Vec<(&(u64, Entry), &mut Verdict)>,
    ) -> Result<(), PortError> {
        let emails: Vec<EmailAddress> = added.iter().map(|((_, entry), _)| entry.email.clone()).collect();
        let suppressed = self.suppressions.check(&attempt.tenant, &emails).await?;
        for (((_, entry), verdict), suppression) in added.into_iter().zip(suppressed) {
            if let Some(suppression) = suppression {
                self.subscribers.remove(&SubscriberKey::of(&job.newsletter, &entry.email)).await?;
                *verdict = Verdict::Refused(Refusal::Suppressed(suppression.reason));
            }
        }
        Ok(())
    }

    /// Adds whom a line names.
    async fn one(
        &self,
        job: &ImportSubscribers,
        attempt: &Attempt,
        number: u64,
        entry: &Entry,
    ) -> Result<Verdict, PortError> {
        let mut consent = Consent::told(job.consent_source.clone(), job.consent_at);
        consent.import = Some(ImportLine { job: attempt.id.clone(), line: number });
        let subscriber = Subscriber {
            key: SubscriberKey::of(&job.newsletter, &entry.email),
            tenant: attempt.tenant.clone(),
            email: entry.email.clone(),
            name: entry.name.clone(),
            time_zone: entry.time_zone.clone(),
            tags: entry.tags.clone(),
            status: SubscriberStatus::Active,
            consent: Some(consent),
            created_at: attempt.now(),
            unsubscribed_at: None,
            sequence: None,
        };
        let old = match self.subscribers.add(&subscriber).await? {
            Added::New => return Ok(Verdict::Added),
            Added::Exists(old) => old,
        };
        let import = old.consent.as_ref().and_then(|consent| consent.import.as_ref());
        if let Some(import) = import.filter(|import| import.job == attempt.id) {
            // Put there by an earlier attempt at this very line, or by an earlier line.
            let same = import.line == number;
            return Ok(if same { Verdict::Added } else { Verdict::Refused(Refusal::Duplicate(import.line)) });
        }
        if old.status != SubscriberStatus::Active {
            return Ok(Verdict::Refused(Refusal::Inactive(old.status)));
        }
        let change = update(entry);
        if job.existing == Existing::Keep || change.is_empty() || change.of((*old).clone()) == *old {
            return Ok(Verdict::Unchanged);
        }
        self.subscribers.change(&old.key, &change).await?;
        Ok(Verdict::Updated)
    }

    /// Puts the report together. What is done is in the checkpoint, so this may be done again.
    async fn end(&self, attempt: &Attempt, state: &State) -> Outcome {
        let report = if state.report.bytes > 0 {
            self.report(attempt, &state.report).await?.finish().await?;
            Some(report_key(&attempt.id))
        } else {
            None
        };
        let result = result(state, report.as_deref());
        // The addresses are in the table now; the report has those that are not.
        self.store.files.remove(&upload_key(&attempt.id)).await?;
        Ok(result)
    }
}

/// Nothing is uploaded yet: come back, more and more seldom, until the link is no longer valid.
fn waiting(job: &ImportSubscribers, attempt: &Attempt) -> Failure {
    let now = attempt.now();
    if now >= job.upload_until {
        return Failure::Dead(anyhow!("no file was uploaded in time"));
    }
    let waited = now.duration_since(job.created_at);
    let wait = (waited / 4).clamp(SignedDuration::from_secs(2), SignedDuration::from_secs(60));
    Failure::Snooze(Duration::try_from(wait).unwrap_or_default())
}

/// Reads the first line.
async fn begin(lines: Lines, found: Found) -> Result<(State, Lines), Failure> {
    let separator = lines.guess();
    let mut lines = lines.separated_by(separator);
    let dead = |why: &str| Failure::Dead(anyhow!("{why}"));
    let first = lines.next().await?.ok_or_else(|| dead("the file is empty"))?;
    let names = first.fields.map_err(|refusal| dead(&format!("the first line: {refusal}")))?;
    let columns = Columns::read(&names).map_err(|error| dead(&error.to_string()))?;
    let state = State {
        size: found.size,
        tag: found.tag,
        columns,
        separator,
        offset: lines.offset(),
        breaks: lines.breaks(),
        tally: Tally::default(),
        report: Written::default(),
        ended: false,
    };
    Ok((state, lines))
}

/// What a line changes of a subscriber that is there: what it has. An empty field empties nothing.
fn update(entry: &Entry) -> SubscriberChange {
    SubscriberChange {
        name: entry.name.clone().map(Some),
        time_zone: entry.time_zone.clone().map(Some),
        tags: (!entry.tags.is_empty()).then(|| entry.tags.clone()),
    }
}

fn rows(first: bool, refused: &[(u64, String, Refusal)]) -> Result<Vec<u8>, Failure> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    if first {
        rows.write_record(["line", "email", "reason"])?;
    }
    for (number, email, refusal) in refused {
        let email = if refusal.shows_address() { guarded(email) } else { String::new() };
        rows.write_record([number.to_string(), email, refusal.to_string()])?;
    }
    Ok(rows.into_inner().map_err(|error| anyhow!("the report could not be written: {error}"))?)
}

async fn progress(attempt: &Attempt, state: &State) -> Result<(), Failure> {
    let percent = u8::try_from(state.offset.saturating_mul(100) / state.size.max(1)).unwrap_or(100);
    let tally = &state.tally;
    let note = format!("{} lines: {} added, {} refused", tally.lines, tally.added, tally.refused);
    attempt.progress(percent, Some(&note)).await
}

fn result(state: &State, report: Option<&str>) -> Value {
    let mut result = json!(state.tally);
    if let Some(report) = report {
        result["file"] = json!(report);
    }
    if !state.columns.ignored.is_empty() {
        result["ignored_columns"] = json!(state.columns.ignored);
    }
    result
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
