//! The kind `export-subscribers`.

use super::{CHECKPOINT, has_time, load, patiently, save};
use crate::domain::id::JobId;
use crate::domain::import::{TAG_SEPARATOR, guarded};
use crate::domain::people::Subscriber;
use crate::job::{Failure, Outcome};
use crate::jobs::ExportSubscribers;
use crate::large_file::{LargeFile, Store, Written};
use crate::ports::{Checkpoints, Newsletters, Subscribers};
use crate::worker::handlers::Attempt;
use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Subscribers of one read.
const PAGE: usize = 2_000;

/// The columns of an export: those of an import first, so that what was exported can be imported.
const COLUMNS: [&str; 12] = [
    "email",
    "name",
    "time_zone",
    "tags",
    "id",
    "status",
    "created_at",
    "unsubscribed_at",
    "consent_source",
    "consent_at",
    "consent_ip",
    "confirmed_at",
];

/// Writes lists of subscribers. Bounded in memory, and safe to be cut off anywhere.
pub struct Exporter {
    /// The newsletters.
    pub newsletters: Arc<dyn Newsletters>,
    /// Their subscribers.
    pub subscribers: Arc<dyn Subscribers>,
    /// The files.
    pub store: Store,
    /// How far each job is.
    pub checkpoints: Arc<dyn Checkpoints>,
}

/// How far an export is.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    after: Option<String>,
    looked_at: u64,
    subscribers: u64,
    file: Written,
    /// All subscribers are written.
    ended: bool,
}

fn file_key(job: &JobId) -> String {
    format!("exports/{job}.csv")
}

impl Exporter {
    /// Goes on with an export as far as its time allows.
    ///
    /// # Errors
    /// What the attempt comes to instead: a wait for another slice, a retry, an end.
    pub async fn run(&self, job: ExportSubscribers, attempt: Attempt) -> Outcome {
        let newsletter = self.newsletters.get(&job.newsletter).await?;
        if newsletter.is_none_or(|newsletter| newsletter.tenant != attempt.tenant) {
            return Err(Failure::Dead(anyhow!("there is no such newsletter")));
        }
        let mut state = load::<State>(&*self.checkpoints, &attempt).await?.unwrap_or_default();
        let key = file_key(&attempt.id);
        let mut file =
            LargeFile::resume(self.store.clone(), key.clone(), "text/csv", state.file.clone(), attempt.fence).await?;
        let began = attempt.now();
        let mut saved = began;
        while !state.ended {
            let page = patiently(|| self.subscribers.page(&job.newsletter, state.after.as_deref(), PAGE)).await?;
            state.looked_at += page.subscribers.len() as u64;
            state.after = page.subscribers.last().map(|last| last.key.digest().to_owned()).or(state.after);
            state.ended = page.last;
            let wanted: Vec<_> = page.subscribers.iter().filter(|one| fits(&job, one)).collect();
            state.subscribers += wanted.len() as u64;
            file.write(&rows(file.bytes() == 0, &wanted)?).await?;
            let more = has_time(&attempt, began);
            if state.ended || !more || attempt.now().duration_since(saved) > CHECKPOINT {
                state.file = file.pause().await?;
                save(&*self.checkpoints, &attempt, &state).await?;
                file.paused().await?;
                saved = attempt.now();
                progress(&attempt, &state).await?;
            }
            if !more && !state.ended {
                return Err(Failure::Snooze(Duration::ZERO));
            }
        }
        file.finish().await?;
        Ok(json!({ "subscribers": state.subscribers, "bytes": state.file.bytes, "file": key }))
    }
}

fn fits(job: &ExportSubscribers, subscriber: &Subscriber) -> bool {
    job.status.is_none_or(|status| subscriber.status == status)
        && job.tag.as_ref().is_none_or(|tag| subscriber.tags.contains(tag))
}

fn rows(first: bool, subscribers: &[&Subscriber]) -> Result<Vec<u8>, Failure> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    if first {
        rows.write_record(COLUMNS)?;
    }
    for one in subscribers {
        let text = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let consent = one.consent.as_ref();
        let separator = TAG_SEPARATOR.to_string();
        rows.write_record([
            guarded(one.email.as_str()),
            guarded(one.name.as_deref().unwrap_or_default()),
            one.time_zone.as_ref().map(ToString::to_string).unwrap_or_default(),
            guarded(&one.tags.join(&separator)),
            one.id().to_string(),
            one.status.as_str().to_owned(),
            one.created_at.to_string(),
            text(one.unsubscribed_at),
            guarded(consent.map(|consent| consent.source.as_str()).unwrap_or_default()),
            text(consent.map(|consent| consent.at)),
            consent.and_then(|consent| consent.ip.clone()).unwrap_or_default(),
            text(consent.and_then(|consent| consent.confirmed.as_ref()).map(|confirmed| confirmed.at)),
        ])?;
    }
    Ok(rows.into_inner().map_err(|error| anyhow!("the rows could not be written: {error}"))?)
}

/// How far: the digests are spread evenly, so the place of the last one says it.
async fn progress(attempt: &Attempt, state: &State) -> Result<(), Failure> {
    let place = state.after.as_deref().and_then(|digest| u8::from_str_radix(digest.get(..2)?, 16).ok()).unwrap_or(0);
    let percent = if state.ended { 100 } else { u8::try_from(u32::from(place) * 100 / 256).unwrap_or(100) };
    let note = format!("{} subscribers of {} looked at", state.subscribers, state.looked_at);
    attempt.progress(percent, Some(&note)).await
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
