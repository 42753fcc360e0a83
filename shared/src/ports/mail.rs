use super::PortError;
use async_trait::async_trait;
use jiff::Timestamp;

/// One mail to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The From header: an address, or `Name <address>`.
    pub from: String,
    /// Where replies go, when not to `from`.
    pub reply_to: Option<String>,
    /// The recipient's address.
    pub to: String,
    /// The subject; any Unicode.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// Further headers, at most 15, printable ASCII ([SES](https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_MessageHeader.html)).
    pub headers: Vec<(String, String)>,
    /// SES tags, `[A-Za-z0-9_-]{1,256}` each. They come back in every event, and so join it to this mail.
    pub tags: Vec<(String, String)>,
    /// Whether SES is to track opens and clicks of it.
    pub tracked: bool,
}

/// Why a mail was not, or perhaps was, accepted. The classes follow what may be done next.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// Not accepted: too fast. Send it later.
    #[error("the sending rate is exceeded: {0}")]
    Throttled(String),
    /// Not accepted: the day's quota is used up. Send it when the quota has recovered.
    #[error("the daily sending quota is used up: {0}")]
    Quota(String),
    /// Not accepted, and no other mail of this sender or configuration will be until somebody acts.
    #[error("the sender or the configuration is refused: {0}")]
    Sender(String),
    /// Not accepted, and no other mail of the account will be until somebody acts: sending is paused, the account is
    /// suspended.
    #[error("sending is halted: {0}")]
    Halted(String),
    /// Not accepted, and never will be: this mail is at fault.
    #[error("the mail was rejected: {0}")]
    Rejected(String),
    /// Not accepted: the request never left.
    #[error("the mail service was not reached: {0}")]
    NotSent(String),
    /// Nobody knows: the request left and no clear answer came.
    #[error("no clear answer from the mail service: {0}")]
    Unknown(String),
}

/// Sends mail. One call is one request: no implementation may repeat it, because SES has no idempotency key and a hidden
/// repeat is a second mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one mail and gives SES's message id.
    async fn send(&self, mail: &Mail) -> Result<String, MailError>;
}

/// What the ledger says when a single mail is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The intent is now recorded and nothing was sent before: send.
    Fresh,
    /// It is sent already. Do not send.
    Sent {
        /// SES's message id.
        message_id: String,
    },
    /// An earlier attempt recorded its intent and never an outcome: it may have been sent.
    Unsettled {
        /// When that attempt began.
        since: Timestamp,
    },
}

/// The ledger of single mails: the intent before the call, the outcome after it, and what SES's events said in between.
/// `mail` names the
/// mail: `[A-Za-z0-9_-]{1,256}`.
#[async_trait]
pub trait MailLedger: Send + Sync {
    /// Records the intent to send, unless an intent or outcome is there.
    async fn open(&self, mail: &str, now: Timestamp) -> Result<Opened, PortError>;

    /// Replaces an intent older than `since` by a new one, after it was decided to send again. `false` when it has an
    /// outcome or a newer intent by now.
    async fn reopen(&self, mail: &str, since: Timestamp, now: Timestamp) -> Result<bool, PortError>;

    /// Takes back an intent: the mail was certainly not accepted.
    async fn withdraw(&self, mail: &str) -> Result<(), PortError>;

    /// Records that SES accepted the mail, as its answer or its Send event told. Idempotent: the first id stays.
    async fn accepted(&self, mail: &str, message_id: &str, now: Timestamp) -> Result<(), PortError>;
}
