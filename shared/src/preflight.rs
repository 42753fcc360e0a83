//! Before a deployment: what of the jobs in the table this build could not work on.

use crate::domain::job::{Job, Stored};
use crate::jobs::kind;
use crate::ports::{Blobs, JobScan, PortError, ScannedJob};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// A job that this build could not work on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its id.
    pub id: String,
    /// Its kind, as far as that can be read.
    pub kind: Option<String>,
    /// Its state, as far as that can be read.
    pub state: Option<&'static str>,
    /// What is wrong. What a payload holds in text is left out.
    pub why: String,
}

/// What was found in a part of the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Items that were looked at, whatever they are.
    pub looked_at: u64,
    /// Jobs that are not over.
    pub jobs: u64,
    /// Those of them whose payload is in the bucket and was not looked at.
    pub not_read: u64,
    /// Those that this build could not work on.
    pub unreadable: Vec<Unreadable>,
    /// Read capacity units that it took.
    pub units: f64,
}

impl Report {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: Self) {
        self.looked_at += other.looked_at;
        self.jobs += other.jobs;
        self.not_read += other.not_read;
        self.unreadable.extend(other.unreadable);
        self.units += other.units;
    }
}

/// Looks at the next page of a segment; gives what was found, and where the segment goes on. With `blobs`, payloads in the bucket
/// are read too.
///
/// # Errors
/// When the table or the bucket cannot be read.
pub async fn look(
    scan: &dyn JobScan,
    blobs: Option<&dyn Blobs>,
    segment: u32,
    of: u32,
    from: Option<&str>,
) -> Result<(Report, Option<String>), PortError> {
    let page = scan.scan(segment, of, from).await?;
    let mut report = Report { looked_at: page.looked_at, units: page.units, ..Report::default() };
    for ScannedJob { id, job } in page.jobs {
        report.jobs += 1;
        let job = match job {
            Ok(job) => job,
            Err(error) => {
                report.unreadable.push(Unreadable { id, kind: None, state: None, why: error.to_string() });
                continue;
            }
        };
        let why = match (&job.payload, blobs) {
            (Stored::Blob(_), None) => {
                report.not_read += 1;
                unknown(&job)
            }
            (Stored::Blob(key), Some(blobs)) => match blobs.get(key).await? {
                Some(bytes) => match serde_json::from_slice(&bytes) {
                    Ok(payload) => wrong(&job, &payload),
                    Err(_) => Some("its payload in the bucket is not JSON".to_owned()),
                },
                None => Some("its payload is not in the bucket".to_owned()),
            },
            (Stored::Inline(payload), _) => wrong(&job, payload),
        };
        if let Some(why) = why {
            report.unreadable.push(Unreadable { id, kind: Some(job.kind), state: Some(job.state.as_str()), why });
        }
    }
    Ok((report, page.next))
}

fn unknown(job: &Job) -> Option<String> {
    kind(&job.kind).is_none().then(|| "this build does not know its kind".to_owned())
}

/// What is wrong with a job, if anything is.
fn wrong(job: &Job, payload: &Value) -> Option<String> {
    match kind(&job.kind) {
        None => unknown(job),
        Some(kind) => (kind.check)(payload).err().map(|why| masked(&why)),
    }
}

/// The text with what stands in double quotes left out: that is where an error quotes what it refuses, which may be anybody's.
fn masked(text: &str) -> String {
    let parts = text.split('"').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { "\"...\"" } else { part }).collect()
}

/// How long to wait so that `units` taken in `spent` are no more than `rate` a second.
#[must_use]
pub fn pause(units: f64, spent: Duration, rate: f64) -> Duration {
    Duration::try_from_secs_f64(units / rate).unwrap_or(Duration::MAX).saturating_sub(spent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::State;
    use crate::ports::Jobs as _;
    use crate::testing::{MemoryBlobs, MemoryJobs, conformance::queued_job};
    use jiff::Timestamp;
    use serde_json::json;

    async fn report(jobs: &MemoryJobs, blobs: Option<&dyn Blobs>) -> Report {
        let (mut whole, of) = (Report::default(), 3);
        for segment in 0..of {
            let mut from = None;
            loop {
                let (part, next) = look(jobs, blobs, segment, of, from.as_deref()).await.unwrap();
                whole.add(part);
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
        whole.unreadable.sort_by(|a, b| a.kind.cmp(&b.kind).then(a.why.cmp(&b.why)));
        whole
    }

    #[tokio::test]
    async fn what_this_build_could_not_work_on_is_named() {
        let (jobs, blobs) = (MemoryJobs::default(), MemoryBlobs::default());
        let add = async |name: &str, change: &dyn Fn(&mut Job)| {
            let mut job = queued_job(name, Timestamp::UNIX_EPOCH);
            job.payload = Stored::Inline(json!({}));
            change(&mut job);
            jobs.create(&job, false).await.unwrap();
            job.id.to_string()
        };
        let inline = |payload: Value| move |job: &mut Job| job.payload = Stored::Inline(payload.clone());
        let blob = |key: &'static str| move |job: &mut Job| job.payload = Stored::Blob(key.to_owned());
        for i in 0..20 {
            add(&format!("fine-{i}"), &|_| ()).await;
        }
        let garbled = add("garbled", &inline(json!({"sleep_ms": "ann@example.com"}))).await;
        let unknown = add("unknown", &|job| job.kind = "gone".into()).await;
        let dead = add("dead", &|job| (job.state, job.kind) = (State::Dead, "went".into())).await;
        add("over", &|job| (job.state, job.kind) = (State::Succeeded, "gone".into())).await;
        let missing = add("missing", &blob("payloads/none")).await;
        let rotten = add("rotten", &blob("payloads/rotten")).await;
        add("sound", &blob("payloads/sound")).await;
        blobs.put("payloads/rotten", b"{".to_vec(), "application/json").await.unwrap();
        blobs.put("payloads/sound", b"{\"message\": 1}".to_vec(), "application/json").await.unwrap();

        let shallow = report(&jobs, None).await;
        assert_eq!((shallow.looked_at, shallow.jobs, shallow.not_read), (27, 26, 3));
        let ids = |report: &Report| -> Vec<String> { report.unreadable.iter().map(|job| job.id.clone()).collect() };
        assert_eq!(ids(&shallow), [garbled.clone(), unknown.clone(), dead.clone()]);
        assert_eq!(shallow.unreadable[2].state, Some("dead"));
        let deep = report(&jobs, Some(&blobs)).await;
        assert_eq!(deep.not_read, 0);
        assert_eq!(ids(&deep), [garbled, rotten, missing, unknown, dead]);
        assert!(!format!("{deep:?}").contains("ann@"), "{deep:?}");
        assert!(deep.unreadable[0].why.contains("invalid type: string \"...\""), "{deep:?}");
    }

    #[test]
    fn reading_is_slowed_down_to_the_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(50.0, second, 100.0), Duration::ZERO);
        assert_eq!(pause(300.0, second, 100.0), Duration::from_secs(2));
        assert_eq!(pause(0.0, Duration::ZERO, 0.5), Duration::ZERO);
    }
}
