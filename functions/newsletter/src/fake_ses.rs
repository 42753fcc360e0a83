//! SES as it behaves on a bad day: it refuses, loses answers, and tells of what it did late, twice and out of order.

use crate::world::dice;
use async_trait::async_trait;
use jiff::Timestamp;
use millrace::campaigns::Heard;
use millrace::domain::address::EmailAddress;
use millrace::domain::chunk::{EventKind, MailEvent};
use millrace::ports::{Clock, Mail, MailError, Mailer};
use millrace::testing::VirtualClock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Each is the share of sends it happens to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) throttled: f64,
    pub(crate) unreachable: f64,
    pub(crate) accepted_without_answer: f64,
    pub(crate) lost_on_the_way: f64,
    /// The sender's process ends while the request is under way; SES has accepted the mail or not.
    pub(crate) killed_before_acceptance: f64,
    pub(crate) killed_after_acceptance: f64,
    /// The share of accepted mails that bounce, hard or softly, and that are called spam after their delivery.
    pub(crate) hard_bounces: f64,
    pub(crate) soft_bounces: f64,
    pub(crate) complaints: f64,
    /// Seconds that an event takes, at most.
    pub(crate) event_delay: f64,
    /// The share of events that come twice.
    pub(crate) events_twice: f64,
    /// Seconds that a send takes, at most.
    pub(crate) latency: f64,
}

impl Faults {
    /// A good day: quick answers and quick events.
    pub(crate) const NONE: Self = Self {
        throttled: 0.0,
        unreachable: 0.0,
        accepted_without_answer: 0.0,
        lost_on_the_way: 0.0,
        killed_before_acceptance: 0.0,
        killed_after_acceptance: 0.0,
        hard_bounces: 0.0,
        soft_bounces: 0.0,
        complaints: 0.0,
        event_delay: 0.0,
        events_twice: 0.0,
        latency: 0.2,
    };
}

/// An event on the feedback queue.
struct Queued {
    visible_at: Timestamp,
    id: u64,
    heard: Heard,
}

/// The feedback queue: at least once, in no order.
#[derive(Default)]
struct Events {
    next: u64,
    queued: Vec<Queued>,
}

/// SES, its account of what it accepted, and the events it sends.
#[derive(Clone)]
pub(crate) struct FakeSes {
    pub(crate) accepted: Arc<Mutex<Vec<(Timestamp, Mail)>>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
    /// The next send comes to this.
    pub(crate) script: Arc<Mutex<Vec<MailError>>>,
    events: Arc<Mutex<Events>>,
    /// No event comes before this.
    held_until: Arc<Mutex<Timestamp>>,
    clock: VirtualClock,
}

impl FakeSes {
    pub(crate) fn new(clock: VirtualClock) -> Self {
        Self {
            accepted: Arc::default(),
            faults: Arc::new(Mutex::new(Faults::NONE)),
            script: Arc::default(),
            events: Arc::default(),
            held_until: Arc::new(Mutex::new(Timestamp::MIN)),
            clock,
        }
    }

    fn accept(&self, mail: &Mail) -> String {
        let (faults, now) = (*self.faults.lock().unwrap(), self.clock.now());
        let message_id = {
            let mut accepted = self.accepted.lock().unwrap();
            accepted.push((now, mail.clone()));
            format!("ses-{}", accepted.len())
        };
        let mut kinds = vec![EventKind::Send];
        let fate = dice();
        if fate < faults.hard_bounces {
            kinds.push(EventKind::HardBounce);
        } else if fate < faults.hard_bounces + faults.soft_bounces {
            kinds.extend([EventKind::Delay, EventKind::SoftBounce]);
        } else {
            kinds.push(EventKind::Delivery);
            if dice() < faults.complaints {
                kinds.push(EventKind::Complaint);
            }
        }
        for kind in kinds {
            self.tell(mail, &message_id, kind, now, faults);
        }
        message_id
    }

    fn tell(&self, mail: &Mail, message_id: &str, kind: EventKind, now: Timestamp, faults: Faults) {
        let tag = |name: &str| mail.tags.iter().find(|(tag, _)| tag == name).unwrap().1.clone();
        let event = MailEvent {
            place: tag("recipient").parse().unwrap(),
            attempt: tag("attempt").parse().unwrap(),
            message_id: message_id.to_owned(),
            kind,
            reason: (kind != EventKind::Send).then(|| format!("{kind:?}")),
        };
        let heard = Heard {
            campaign: tag("campaign").parse().unwrap(),
            chunk: tag("chunk").parse().unwrap(),
            event,
            sent_at: now,
            against: (kind >= EventKind::SoftBounce).then(|| EmailAddress::parse(mail.to.clone()).unwrap()),
        };
        let times = 1 + usize::from(faults.events_twice > 0.0 && dice() < faults.events_twice);
        let held_until = *self.held_until.lock().unwrap();
        let mut events = self.events.lock().unwrap();
        for _ in 0..times {
            let delay = if faults.event_delay > 0.0 { faults.event_delay * dice() } else { 0.0 };
            let (id, visible_at) = (events.next, (now + Duration::from_secs_f64(delay)).max(held_until));
            events.next += 1;
            events.queued.push(Queued { visible_at, id, heard: heard.clone() });
        }
    }

    /// At most `most` events that are visible, with their receipts, hidden for a minute. Any of them.
    pub(crate) fn receive(&self, most: usize) -> (Vec<u64>, Vec<Heard>) {
        let now = self.clock.now();
        let mut events = self.events.lock().unwrap();
        let mut visible: Vec<usize> =
            (0..events.queued.len()).filter(|at| events.queued[*at].visible_at <= now).collect();
        let mut taken = (Vec::new(), Vec::new());
        while taken.0.len() < most && !visible.is_empty() {
            let at = visible.swap_remove((dice() * visible.len() as f64) as usize);
            let queued = &mut events.queued[at];
            queued.visible_at = now + Duration::from_secs(60);
            taken.0.push(queued.id);
            taken.1.push(queued.heard.clone());
        }
        taken
    }

    /// Deletes events.
    pub(crate) fn delete(&self, ids: &[u64]) {
        self.events.lock().unwrap().queued.retain(|queued| !ids.contains(&queued.id));
    }

    /// Holds up all events from now on until then.
    pub(crate) fn hold_events(&self, until: Timestamp) {
        *self.held_until.lock().unwrap() = until;
    }

    /// How many events nobody has noted yet.
    pub(crate) fn untold(&self) -> usize {
        self.events.lock().unwrap().queued.len()
    }

    /// The mails accepted for each address.
    pub(crate) fn by_address(&self) -> HashMap<String, usize> {
        let mut mails = HashMap::new();
        for (_, mail) in self.accepted.lock().unwrap().iter() {
            *mails.entry(mail.to.clone()).or_default() += 1;
        }
        mails
    }

    async fn wait(&self, latency: f64) {
        if latency > 0.0 {
            tokio::time::sleep(Duration::from_millis((dice() * latency * 500.0) as u64)).await;
        }
    }
}

#[async_trait]
impl Mailer for FakeSes {
    async fn send(&self, mail: &Mail) -> Result<String, MailError> {
        let faults = *self.faults.lock().unwrap();
        self.wait(faults.latency).await;
        if let Some(error) = self.script.lock().unwrap().pop() {
            return Err(error);
        }
        let happens = |share: f64| share > 0.0 && dice() < share;
        if happens(faults.throttled) {
            return Err(MailError::Throttled("slow down".into()));
        }
        if happens(faults.unreachable) {
            return Err(MailError::NotSent("no connection".into()));
        }
        if happens(faults.lost_on_the_way) {
            return Err(MailError::Unknown("the connection broke".into()));
        }
        if happens(faults.killed_before_acceptance) {
            std::future::pending::<()>().await;
        }
        let message_id = self.accept(mail);
        self.wait(faults.latency).await;
        if happens(faults.killed_after_acceptance) {
            std::future::pending::<()>().await;
        }
        if happens(faults.accepted_without_answer) {
            return Err(MailError::Unknown("the connection broke".into()));
        }
        Ok(message_id)
    }
}
