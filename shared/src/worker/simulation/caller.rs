//! Those who submit jobs.

use super::*;
use crate::accept::{Accepted, NewJob, SubmitError, fingerprint};
use crate::domain::id::{JobId, Tenant};
use crate::domain::lane::{Lane, OrderingKey, Priority};
use crate::jobs::kind;
use fastrand::Rng;

/// Somebody who wants one job and asks again, with the same key, until the answer is good or patience ends.
pub(super) struct Caller {
    pub(super) key: Option<String>,
    pub(super) payload: Value,
    priority: Priority,
    pub(super) ordering_key: Option<OrderingKey>,
    pub(super) delay: Duration,
    expires_after: Option<Duration>,
    max_attempts: u32,
    /// The step at which it asks.
    pub(super) next: usize,
    pub(super) tries: usize,
    /// How often it has asked.
    pub(super) asks: usize,
    pub(super) accepted: Option<JobId>,
    created: usize,
}

impl Caller {
    /// The caller `i` of a storm. In every other storm most jobs have one of two ordering keys.
    pub(super) fn new(seed: u64, i: usize, dice: &mut Rng) -> Self {
        let fail = ["transient", "throttled", "panic", "permanent"].get(dice.usize(0..8));
        let mut payload = json!({ "message": "x".repeat(if dice.u8(0..8) == 0 { Stored::INLINE_MAX } else { 1 }) });
        if let Some(fail) = fail {
            payload["fail"] = json!(fail);
            if dice.bool() {
                payload["fail_attempts"] = json!(dice.u32(1..3));
            }
        } else if dice.u8(0..3) == 0 {
            payload["snooze_ms"] = json!(dice.u64(1..2_000));
        } else if dice.u8(0..3) == 0 {
            payload["sleep_ms"] = json!(dice.u64(1..25_000));
        }
        let ordered = dice.u8(0..10) < if (seed / PARTS).is_multiple_of(2) { 8 } else { 1 };
        let ordering_key = ordered.then(|| OrderingKey::parse(dice.u8(0..2).to_string()).unwrap());
        let delays = [0..1, 0..1, 1..60, 800..901, 901..4_000];
        let range = if ordered { 0..1 } else { delays[dice.usize(0..5)].clone() };
        let delay = Duration::from_secs(dice.u64(range));
        Self {
            key: (i > 0).then(|| format!("{seed}-{i}")),
            payload,
            priority: if ordered { Priority::Normal } else { Priority::ALL[dice.usize(0..3)] },
            ordering_key,
            delay,
            expires_after: (dice.u8(0..5) == 0).then(|| delay + Duration::from_secs(dice.u64(1..600))),
            max_attempts: dice.u32(1..5),
            next: dice.usize(0..STORM / 2),
            tries: dice.usize(2..8),
            asks: 0,
            accepted: None,
            created: 0,
        }
    }

    pub(super) fn lane(&self) -> Lane {
        if self.ordering_key.is_some() { Lane::Ordered } else { self.priority.into() }
    }

    /// Whether it will not ask again.
    pub(super) fn is_done(&self) -> bool {
        self.next == usize::MAX || self.tries == 0
    }

    pub(super) fn request(&self, unkeyed: usize, now: Timestamp) -> NewJob {
        let key = self.key.clone().unwrap_or_else(|| format!("fresh-{unkeyed}"));
        NewJob {
            id: JobId::derived(&[&key]),
            repeatable: self.key.is_some(),
            fingerprint: fingerprint(&self.payload),
            tenant: Tenant::parse("t").unwrap(),
            kind: kind("echo").unwrap(),
            payload: self.payload.clone(),
            priority: self.priority,
            ordering_key: self.ordering_key.clone(),
            run_at: (!self.delay.is_zero()).then(|| now + self.delay),
            expires_at: self.expires_after.map(|after| now + after),
            max_attempts: Some(self.max_attempts),
            timeout: None,
            callback_url: None,
            group: None,
            tags: vec![],
        }
    }

    /// Hears an answer, or none at all.
    pub(super) fn hears(&mut self, answer: Option<&Result<Accepted, SubmitError>>, step: usize, dice: &mut Rng) {
        match answer {
            Some(Ok(Accepted { job, replayed })) => {
                assert!(self.key.is_some() || !replayed, "{} is somebody else's", job.id);
                assert!(self.accepted.as_ref().is_none_or(|id| *id == job.id), "two jobs under one key");
                self.created += usize::from(!replayed);
                assert!(self.created <= 1, "{} was made twice", job.id);
                self.accepted = Some(job.id.clone());
                // Now and then the good answer is lost on its way, and the question repeated.
                self.next =
                    if self.key.is_some() && dice.u8(0..5) == 0 { step + dice.usize(0..20) } else { usize::MAX };
            }
            Some(Err(SubmitError::Mismatch)) => panic!("the same request is taken for another"),
            Some(Err(SubmitError::Unavailable(_))) | None => self.next = step + dice.usize(0..6),
        }
    }
}
