use serde::{Deserialize, Serialize};

/// What SES tells of one attempt to reach one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailEvent {
    /// The recipient's place in its chunk.
    pub place: usize,
    /// The attempt, from 1.
    pub attempt: u8,
    /// SES's message id.
    pub message_id: String,
    /// What happened.
    pub kind: EventKind,
    /// Why, in SES's words for it, such as `Permanent/General`. Never an address, never free text.
    pub reason: Option<String>,
}

/// What may happen to a mail that SES has accepted, the more telling later: of two events the later one here counts,
/// whichever came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// SES accepted it.
    Send,
    /// It is under way for longer than usual.
    Delay,
    /// SES dropped it: a virus, or a template that it could not fill in.
    Reject,
    /// The recipient's mail server took it.
    Delivery,
    /// It was given back, perhaps not for ever: SES has tried for hours.
    SoftBounce,
    /// It was given back, and every other mail will be.
    HardBounce,
    /// The recipient called it spam.
    Complaint,
}

/// How far one recipient is. In a chunk that is done, nothing but SES's events changes it any more.
///
/// The states up to [`Unknown`](Self::Unknown) are those that sending leaves a recipient in; the others are what SES told,
/// and only a more telling event replaces them. So the order in which events come, and how often, does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecipientState {
    /// To be sent.
    #[serde(rename = "p")]
    Pending,
    /// A worker may be sending it.
    #[serde(rename = "s")]
    Sending,
    /// Refused by SES, or not to be rendered.
    #[serde(rename = "f")]
    Failed,
    /// Unsubscribed or on the suppression list: not sent.
    #[serde(rename = "x")]
    Suppressed,
    /// Erased since, or its hour was past: not sent.
    #[serde(rename = "e")]
    Skipped,
    /// Perhaps accepted.
    #[serde(rename = "u")]
    Unknown,
    /// Accepted by SES.
    #[serde(rename = "a")]
    Sent,
    /// Accepted, and on its way for longer than usual.
    #[serde(rename = "l")]
    Delayed,
    /// Accepted and then dropped by SES.
    #[serde(rename = "r")]
    Rejected,
    /// Taken by the recipient's mail server.
    #[serde(rename = "d")]
    Delivered,
    /// Given back, perhaps not for ever.
    #[serde(rename = "b")]
    SoftBounced,
    /// Given back for ever.
    #[serde(rename = "h")]
    HardBounced,
    /// Called spam.
    #[serde(rename = "c")]
    Complained,
}

impl RecipientState {
    /// Every state, in the order of what they tell.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::Sending,
        Self::Failed,
        Self::Suppressed,
        Self::Skipped,
        Self::Unknown,
        Self::Sent,
        Self::Delayed,
        Self::Rejected,
        Self::Delivered,
        Self::SoftBounced,
        Self::HardBounced,
        Self::Complained,
    ];

    /// Whether SES is known to have accepted a mail.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        self >= Self::Sent
    }

    /// The count it is shown under: `pending`, `sending`, `sent`, `unknown`, `delivered`, `bounced`, `complained`,
    /// `failed`, `suppressed` or `skipped`.
    #[must_use]
    pub fn shown(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Sent | Self::Delayed => "sent",
            Self::Unknown => "unknown",
            Self::Delivered => "delivered",
            Self::SoftBounced | Self::HardBounced => "bounced",
            Self::Complained => "complained",
            Self::Failed | Self::Rejected => "failed",
            Self::Suppressed => "suppressed",
            Self::Skipped => "skipped",
        }
    }
}

impl From<EventKind> for RecipientState {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Send => Self::Sent,
            EventKind::Delay => Self::Delayed,
            EventKind::Reject => Self::Rejected,
            EventKind::Delivery => Self::Delivered,
            EventKind::SoftBounce => Self::SoftBounced,
            EventKind::HardBounce => Self::HardBounced,
            EventKind::Complaint => Self::Complained,
        }
    }
}

/// One recipient in a chunk. Written as a JSON array, because fifty of them are one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Recipient {
    /// The digest of the subscriber's key.
    pub digest: String,
    /// How far.
    pub state: RecipientState,
    /// The number of its attempt: the one to come while pending, else the last. From 1.
    pub attempt: u8,
    /// SES's message id for the first attempt that it accepted.
    pub message_id: Option<String>,
    /// The attempts that SES accepted, as bits: the lowest is attempt 1. More than one is a mail too many.
    pub accepted: u32,
    /// Why it is in its state, where that needs a reason.
    pub reason: Option<String>,
    /// Whether one of its attempts was perhaps accepted: without another one, it is unknown and not unsent.
    pub doubtful: bool,
}

/// The last is 1 for a doubtful one, else 0: shorter than a word.
type Stored = (String, RecipientState, u8, Option<String>, u32, Option<String>, u8);

impl From<Stored> for Recipient {
    fn from((digest, state, attempt, message_id, accepted, reason, doubtful): Stored) -> Self {
        Self { digest, state, attempt, message_id, accepted, reason, doubtful: doubtful != 0 }
    }
}

impl From<Recipient> for Stored {
    fn from(one: Recipient) -> Self {
        (one.digest, one.state, one.attempt, one.message_id, one.accepted, one.reason, one.doubtful.into())
    }
}

impl Recipient {
    /// A recipient that is to be sent.
    #[must_use]
    pub fn new(digest: String) -> Self {
        let state = RecipientState::Pending;
        Self { digest, state, attempt: 1, message_id: None, accepted: 0, reason: None, doubtful: false }
    }

    /// Mails that SES accepted beyond the first.
    #[must_use]
    pub fn repeats(&self) -> u32 {
        self.accepted.count_ones().saturating_sub(1)
    }

    /// Joins what SES told of an attempt. The outcome is the same in whatever order and however often it is told.
    pub(super) fn join(&mut self, attempt: u8, message_id: &str, state: RecipientState, reason: Option<&str>) {
        // Attempts beyond the last bit share it: nobody gets near so many.
        let bit = u32::from(attempt.max(1) - 1).min(u32::BITS - 1);
        let first = self.accepted.trailing_zeros();
        if bit < first || (bit == first && self.message_id.is_none()) {
            self.message_id = Some(message_id.to_owned());
        }
        self.accepted |= 1 << bit;
        self.doubtful = false;
        if state > self.state {
            self.state = state;
            self.reason = reason.map(str::to_owned);
        } else if state == self.state && reason > self.reason.as_deref() {
            self.reason = reason.map(str::to_owned);
        }
    }

    /// Sets a state that sending leaves it in, unless SES has told more. Who perhaps has the mail already stays unknown when
    /// it is not sent another one.
    pub(super) fn set(&mut self, state: RecipientState, reason: Option<String>) {
        if self.state.is_accepted() {
            return;
        }
        let open = matches!(state, RecipientState::Pending | RecipientState::Sending);
        self.doubtful |= state == RecipientState::Unknown;
        self.state = if self.doubtful && !open { RecipientState::Unknown } else { state };
        self.reason = reason;
    }
}
