//! Jobs that live through anything, and what the stream of their table tells of it.

use crate::domain::change::{Change, Sequence, Step};
use crate::domain::id::Tenant;
use crate::domain::job::{Carrier, Event, Job, JobError, transition};
use crate::testing::conformance::queued_job;
use jiff::Timestamp;
use std::time::Duration;

/// What became of some jobs.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The jobs there are in the end.
    pub jobs: Vec<Job>,
    /// Every change on the way, in its order.
    pub changes: Vec<Change>,
}

impl History {
    fn tell(&mut self, step: Step) {
        let sequence = Sequence::parse(&(self.changes.len() + 1).to_string()).expect("a number");
        self.changes.push(Change { sequence, step });
    }
}

/// Lets `steps` things happen to `jobs` jobs of two kinds and of the tenants `0-<salt>` and `1-<salt>`, from `now` on. `dice` draws numbers from 0 to 1;
/// the same numbers give the same history.
///
/// # Panics
/// Never: the names are valid.
pub fn history(salt: &str, jobs: usize, steps: usize, now: Timestamp, mut dice: impl FnMut() -> f64) -> History {
    let mut history = History::default();
    let mut now = now;
    let mut made = 0;
    for _ in 0..steps {
        now += Duration::from_millis((dice() * 20_000.0) as u64);
        let pick = (dice() * jobs as f64) as usize;
        if made <= pick.min(jobs - 1) {
            let tenant = Tenant::parse(format!("{}-{salt}", made % 2)).expect("a tenant");
            let kind = if made % 3 == 0 { "welcome" } else { "echo" }.to_owned();
            let job = Job { tenant, kind, max_attempts: 3, ..queued_job(&format!("{salt}-history-{made}"), now) };
            history.tell(Step::Created(Box::new(job.clone())));
            history.jobs.push(job);
            made += 1;
            continue;
        }
        let at = (dice() * history.jobs.len() as f64) as usize;
        let Some(old) = history.jobs.get(at).cloned() else { continue };
        let event = event(&old, now, &mut dice);
        match transition(&old, &event, now) {
            Ok(new) => {
                history.jobs[at] = new.clone();
                history.tell(Step::Changed { old: Box::new(old), new: Box::new(new) });
            }
            // Now and then one is deleted that has been over for long.
            Err(_) if old.state.is_final() && dice() < 0.3 => {
                history.jobs.remove(at);
                history.tell(Step::Deleted(Box::new(old)));
            }
            Err(_) => {}
        }
    }
    history
}

/// Something that may happen to a job, or may not be possible.
fn event(job: &Job, now: Timestamp, dice: &mut impl FnMut() -> f64) -> Event {
    let (fence, soon) = (job.fence, now + Duration::from_millis((dice() * 30_000.0) as u64));
    let error = JobError::new("transient", "no", job.attempt, now);
    let by = if dice() < 0.5 { Carrier::Queue } else { Carrier::Clock };
    let spent = dice() < 0.7;
    match (dice() * 12.0) as u8 {
        0..=2 => Event::Claim { lease_until: soon, owner: 1 },
        3..=4 => Event::Succeed { fence, result: None },
        5 => Event::Bury { fence, error },
        6..=7 => Event::GiveBack { fence, run_at: soon, spent, by, error: spent.then_some(error) },
        8 => Event::Condemn { error },
        9 => Event::Cancel,
        10 => Event::AskCancel,
        _ => Event::Retry { payload: None, death: None },
    }
}
