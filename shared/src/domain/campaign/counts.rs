use crate::domain::chunk::RecipientState;
use std::ops::{Add, Sub};

/// How many recipients are in which state. One store keeps them in several parts, of which each may be below zero;
/// their sum is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// To be sent.
    pub pending: i64,
    /// In the hands of a worker.
    pub sending: i64,
    /// Accepted by SES, and no more is known.
    pub sent: i64,
    /// Perhaps accepted: no clear answer, and no event yet.
    pub unknown: i64,
    /// Taken by the recipient's mail server.
    pub delivered: i64,
    /// Given back, perhaps not for ever.
    pub soft_bounced: i64,
    /// Given back for ever.
    pub hard_bounced: i64,
    /// Called spam.
    pub complained: i64,
    /// Refused by SES, or not to be rendered.
    pub failed: i64,
    /// Accepted and then dropped by SES.
    pub rejected: i64,
    /// Unsubscribed since the audience was frozen, or on the suppression list: not sent.
    pub suppressed: i64,
    /// Erased since the audience was frozen, or not sent because their hour was past.
    pub skipped: i64,
    /// Chunks that still have something to do. No recipients.
    pub open_chunks: i64,
    /// Mails that SES accepted beyond a recipient's first. No recipients either: they are counted once above.
    pub repeated: i64,
    /// Of the pending ones, those of whom an earlier attempt was perhaps accepted. Counted once above too.
    pub doubtful: i64,
}

impl Counts {
    /// The recipients in all states.
    #[must_use]
    pub fn sum(&self) -> i64 {
        let not_accepted = self.pending + self.sending + self.unknown + self.failed + self.suppressed + self.skipped;
        not_accepted + self.accepted()
    }

    /// Mails that SES accepted, one for each recipient.
    #[must_use]
    pub fn accepted(&self) -> i64 {
        self.sent + self.rejected + self.delivered + self.soft_bounced + self.hard_bounced + self.complained
    }

    /// The recipients whose state is counted with this one.
    #[must_use]
    pub fn of(&self, state: RecipientState) -> i64 {
        let mut counts = *self;
        *counts.of_mut(state)
    }

    pub(crate) fn of_mut(&mut self, state: RecipientState) -> &mut i64 {
        match state {
            RecipientState::Pending => &mut self.pending,
            RecipientState::Sending => &mut self.sending,
            RecipientState::Failed => &mut self.failed,
            RecipientState::Suppressed => &mut self.suppressed,
            RecipientState::Skipped => &mut self.skipped,
            RecipientState::Unknown => &mut self.unknown,
            RecipientState::Sent | RecipientState::Delayed => &mut self.sent,
            RecipientState::Rejected => &mut self.rejected,
            RecipientState::Delivered => &mut self.delivered,
            RecipientState::SoftBounced => &mut self.soft_bounced,
            RecipientState::HardBounced => &mut self.hard_bounced,
            RecipientState::Complained => &mut self.complained,
        }
    }

    /// The stable names and values, in one order.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, i64); 15] {
        [
            ("pending", self.pending),
            ("sending", self.sending),
            ("sent", self.sent),
            ("unknown", self.unknown),
            ("delivered", self.delivered),
            ("soft_bounced", self.soft_bounced),
            ("hard_bounced", self.hard_bounced),
            ("complained", self.complained),
            ("failed", self.failed),
            ("rejected", self.rejected),
            ("suppressed", self.suppressed),
            ("skipped", self.skipped),
            ("open_chunks", self.open_chunks),
            ("repeated", self.repeated),
            ("doubtful", self.doubtful),
        ]
    }

    /// The counts from values by stable name.
    #[must_use]
    pub fn from_fields(value: impl Fn(&str) -> i64) -> Self {
        Self {
            pending: value("pending"),
            sending: value("sending"),
            sent: value("sent"),
            unknown: value("unknown"),
            delivered: value("delivered"),
            soft_bounced: value("soft_bounced"),
            hard_bounced: value("hard_bounced"),
            complained: value("complained"),
            failed: value("failed"),
            rejected: value("rejected"),
            suppressed: value("suppressed"),
            skipped: value("skipped"),
            open_chunks: value("open_chunks"),
            repeated: value("repeated"),
            doubtful: value("doubtful"),
        }
    }
}

fn combine(a: Counts, b: Counts, with: impl Fn(i64, i64) -> i64) -> Counts {
    let (a, b) = (a.fields(), b.fields());
    Counts::from_fields(|name| {
        let value = |fields: &[(&'static str, i64)]| fields.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v);
        with(value(&a), value(&b))
    })
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        combine(self, other, |a, b| a + b)
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        combine(self, other, |a, b| a - b)
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}
