//! One chunk message: read, take a slot of the rate, decide about each recipient, claim, send, write down.

use crate::letters::{Letters, Ready};
use crate::send::{Outcome, Schedule, Stop, send};
use aws_lambda_events::event::sqs::SqsMessage;
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::finish;
use millrace::domain::campaign::Campaign;
use millrace::domain::chunk::{Chunk, ChunkStatus, Verdict as Decided};
use millrace::domain::letter::Recipient;
use millrace::domain::pace::{Grant, cost};
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::domain::token::Tokens;
use millrace::jobs::ChunkMessage;
use millrace::ports::{Campaigns, Chunks, Clock, Mail, Mailer, Pace, PortError, Queue, Subscribers, Written};
use millrace::worker::batch::{Verdict, park};
use std::sync::Arc;
use std::time::Duration;

/// The lease outlives the invocation by this much: when it ends, Lambda has ended the process, so nobody sends any more.
const LEASE_MARGIN: SignedDuration = SignedDuration::from_secs(2);
/// Kept of the invocation's time for the last send: so much, or two fifths of it when it is short.
const SEND_TIME: SignedDuration = SignedDuration::from_secs(12);
/// Kept of it for writing down what came of the sends: so much, or a tenth.
const RECORD_TIME: SignedDuration = SignedDuration::from_secs(3);
/// With less time than this nothing is begun.
const LEAST_TIME: SignedDuration = SignedDuration::from_millis(2_500);
/// How long a worker waits, at most, for its slot to begin. Further ahead, the message waits on the queue at no cost.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(10);
/// The line of [`Pace`] that all sending takes its slots from.
const LINE: &str = "newsletter";
/// How often a claim is tried whose answer was lost.
const CLAIM_TRIES: u32 = 3;

/// What does not change while the process lives.
pub(crate) struct Settings {
    /// Mails per second, over 0.
    pub(crate) rate: f64,
    /// How long the Send event of a mail of unknown outcome is waited for.
    pub(crate) settle: SignedDuration,
    /// Base of the links in mails.
    pub(crate) public_url: String,
}

/// Sends chunks.
pub(crate) struct Sender {
    pub(crate) campaigns: Arc<dyn Campaigns>,
    pub(crate) chunks: Arc<dyn Chunks>,
    pub(crate) subscribers: Arc<dyn Subscribers>,
    pub(crate) pace: Arc<dyn Pace>,
    pub(crate) mailer: Arc<dyn Mailer>,
    pub(crate) letters: Letters,
    pub(crate) tokens: Tokens,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) dead_letters: Arc<dyn Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Draws a number from 0 to 1.
    pub(crate) dice: fn() -> f64,
    pub(crate) settings: Settings,
}

/// A slot of the rate for so many mails.
struct Slot {
    from: Timestamp,
    every: SignedDuration,
    mails: usize,
}

/// What is to be done with a chunk: the decisions, and the mails of those to be sent.
struct Plan {
    decided: Vec<(usize, Decided)>,
    mails: Vec<(usize, Mail)>,
}

impl Sender {
    /// Takes one message as far as it goes before `deadline`, the end of the invocation.
    pub(crate) async fn run(&self, record: &SqsMessage, deadline: Timestamp) -> Verdict {
        let message = match ChunkMessage::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(message) => message,
            Err(error) => return park(&*self.dead_letters, record, &error.to_string()).await,
        };
        match self.chunk(&message, deadline).await {
            Ok(None) => Verdict::Acknowledge,
            Ok(Some(wait)) => self.show_again(record, wait).await,
            Err(error) if error.is_transient() => {
                tracing::warn!(campaign = %message.campaign, chunk = message.chunk, "the chunk has to wait: {error}");
                self.show_again(record, self.jittered(10.0)).await
            }
            Err(error) => {
                // The clock dispatches it again, at its slower pace, until what is wrong is put right.
                tracing::error!(campaign = %message.campaign, chunk = message.chunk, "not to be sent as it is: {error}");
                Verdict::Acknowledge
            }
        }
    }

    /// Sends a chunk. `Some` when it is to be tried again after that long; the chunk is untouched then.
    async fn chunk(&self, message: &ChunkMessage, deadline: Timestamp) -> Result<Option<Duration>, PortError> {
        let Some(campaign) = self.campaigns.meta(&message.campaign).await? else { return Ok(None) };
        let Some(chunk) = self.chunks.get(&message.campaign, message.chunk).await? else { return Ok(None) };
        // Whatever is not to be sent now, the clock dispatches or settles when it is time.
        if !campaign.state.sends() || chunk.status != ChunkStatus::Pending || chunk.due > self.clock.now() {
            return Ok(None);
        }
        let time = deadline.duration_since(self.clock.now());
        if time < LEAST_TIME {
            return Ok(Some(Duration::ZERO)); // another invocation has more
        }
        let send_time = SEND_TIME.min(time * 2 / 5);
        let last_start = deadline - RECORD_TIME.min(time / 10) - send_time;
        let letter = self.letters.get(&campaign.id).await?;
        let slot = match self.slot(&chunk, last_start).await? {
            Ok(slot) => slot,
            Err(wait) => return Ok(Some(wait)),
        };
        if let Ok(wait) = Duration::try_from(slot.from.duration_since(self.clock.now())) {
            tokio::time::sleep(wait).await;
        }
        // Read after the wait, just before the claim: whoever unsubscribes until now is heard.
        let plan = self.plan(&campaign, &chunk, &letter, slot.mails).await?;
        // 64 bits drawn for this claim alone.
        let owner = format!("{:016x}", (self.dice)().to_bits() ^ (self.dice)().to_bits().rotate_left(32));
        let claimed = chunk.claim(&owner, &plan.decided, self.clock.now(), deadline + LEASE_MARGIN);
        let Ok(claimed) = claimed else { return Ok(None) };
        if self.claim(&chunk, &claimed).await? == Written::Stale {
            return Ok(None); // another worker has it
        }
        if plan.mails.is_empty() {
            self.finished(&claimed).await;
            return Ok(None);
        }
        let timeout = send_time.unsigned_abs();
        let schedule = Schedule { from: slot.from, every: slot.every, last_start, timeout };
        let outcome = send(&*self.mailer, &*self.clock, plan.mails, schedule).await;
        self.write_down(&claimed, &owner, &outcome, deadline).await;
        Ok(None)
    }

    /// A slot for as many of the pending mails as can be sent before `last_start`; or how long to wait for one.
    async fn slot(&self, chunk: &Chunk, last_start: Timestamp) -> Result<Result<Slot, Duration>, PortError> {
        let now = self.clock.now();
        let every = cost(1, self.settings.rate);
        let room = last_start.duration_since(now);
        if room.is_negative() {
            return Ok(Err(Duration::ZERO)); // another invocation has more time
        }
        // The first one starts with the slot, so there is always room for it.
        let fit = usize::try_from(room.as_millis() / every.as_millis().max(1)).unwrap_or(usize::MAX).saturating_add(1);
        let mails = chunk.pending().len().min(fit);
        let length = cost(mails, self.settings.rate);
        let latest = (now + LONGEST_WAIT + length).min(last_start + every);
        match self.pace.take(LINE, length, now, latest).await? {
            Grant::Slot { from, .. } => Ok(Ok(Slot { from, every, mails })),
            Grant::Refused { free_at } => {
                let wait = free_at.duration_since(now) - LONGEST_WAIT / 2;
                Ok(Err(Duration::try_from(wait).unwrap_or_default() + self.jittered(3.0)))
            }
        }
    }

    /// Decides about the first `most` pending recipients, and renders the mails of those to be sent.
    async fn plan(&self, campaign: &Campaign, chunk: &Chunk, letter: &Ready, most: usize) -> Result<Plan, PortError> {
        let places: Vec<usize> = chunk.pending().into_iter().take(most).collect();
        let keys: Result<Vec<_>, _> = places
            .iter()
            .map(|&place| SubscriberKey::new(campaign.newsletter.clone(), &chunk.recipients[place].digest))
            .collect();
        let keys = keys.map_err(|error| PortError::Corrupt(error.into()))?;
        // An earlier attempt of unknown outcome may have been accepted after all.
        let events =
            if chunk.repeats() { self.chunks.events(&chunk.campaign, chunk.number).await? } else { Vec::new() };
        let subscribers = self.subscribers.get(&keys).await?;
        let mut plan = Plan { decided: Vec::new(), mails: Vec::new() };
        for (place, subscriber) in places.into_iter().zip(subscribers) {
            let event = events.iter().find(|event| event.recipient == place);
            let decided = match (event, subscriber) {
                (Some(event), _) => Decided::AlreadySent(event.message_id.clone()),
                (None, None) => Decided::Skip,
                (None, Some(one)) if one.status == SubscriberStatus::Unsubscribed => Decided::Suppress,
                (None, Some(one)) => match self.mail(campaign, chunk, place, &one, letter) {
                    Ok(mail) => {
                        plan.mails.push((place, mail));
                        Decided::Send
                    }
                    Err(error) => {
                        tracing::error!(campaign = %campaign.id, chunk = chunk.number, place, "not rendered: {error}");
                        Decided::Fail
                    }
                },
            };
            plan.decided.push((place, decided));
        }
        Ok(plan)
    }

    fn mail(
        &self,
        campaign: &Campaign,
        chunk: &Chunk,
        place: usize,
        subscriber: &Subscriber,
        ready: &Ready,
    ) -> Result<Mail, millrace::domain::letter::LetterError> {
        let token = self.tokens.unsubscribe(&campaign.tenant, &subscriber.id());
        let unsubscribe_url = format!("{}/unsubscribe?token={token}", self.settings.public_url);
        let rendered = ready.letter.render(&Recipient {
            name: subscriber.name.as_deref(),
            email: subscriber.email.as_str(),
            unsubscribe_url: &unsubscribe_url,
        })?;
        let source = &ready.source;
        // RFC 2919: a name in the sender's own domain.
        let list = campaign.newsletter.as_str().replace('_', "-");
        let tag = |name: &str, value: String| (name.to_owned(), value);
        Ok(Mail {
            from: source.from.to_header(),
            reply_to: source.reply_to.as_ref().map(|reply_to| reply_to.to_header()),
            to: subscriber.email.as_str().to_owned(),
            subject: rendered.subject,
            text: rendered.text,
            html: rendered.html,
            headers: vec![
                ("List-Unsubscribe".to_owned(), format!("<{unsubscribe_url}>")),
                ("List-Unsubscribe-Post".to_owned(), "List-Unsubscribe=One-Click".to_owned()),
                ("List-Id".to_owned(), format!("<{list}.{}>", source.from.address.domain())),
            ],
            tags: vec![
                tag("campaign", campaign.id.to_string()),
                tag("chunk", chunk.number.to_string()),
                tag("recipient", place.to_string()),
                tag("attempt", chunk.recipients[place].attempt.to_string()),
            ],
        })
    }

    /// Writes the claim, again when the answer was lost: unanswered, it would hold the chunk until the lease ends.
    async fn claim(&self, before: &Chunk, claimed: &Chunk) -> Result<Written, PortError> {
        let mut tries = 1;
        loop {
            match self.chunks.update(before, claimed).await {
                Err(error) if error.is_transient() && tries < CLAIM_TRIES => {
                    tries += 1;
                    tokio::time::sleep(self.jittered(0.3)).await;
                }
                done => return done,
            }
        }
    }

    /// Writes down what sending came to, as long as there is time: what is not written has to wait for its events.
    async fn write_down(&self, claimed: &Chunk, owner: &str, outcome: &Outcome, deadline: Timestamp) {
        let now = self.clock.now();
        let wait = match outcome.stop {
            None | Some(Stop::Time) => Duration::ZERO,
            Some(Stop::Unreachable | Stop::Throttled) => Duration::from_secs(10) + self.jittered(20.0),
            Some(Stop::Quota | Stop::Halted) => Duration::from_secs(15 * 60),
        };
        if outcome.stop == Some(Stop::Halted) {
            tracing::error!(campaign = %claimed.campaign, "SES accepts no mail: see to the account and the sender");
        }
        let Ok(recorded) = claimed.record(owner, &outcome.sent, now + wait, now + self.settings.settle) else {
            return;
        };
        let written = loop {
            match self.chunks.update(claimed, &recorded).await {
                Err(error) if error.is_transient() && self.clock.now() + SignedDuration::from_secs(1) < deadline => {
                    tracing::warn!(campaign = %claimed.campaign, chunk = claimed.number, "not recorded yet: {error}");
                    tokio::time::sleep(self.jittered(0.5)).await;
                }
                done => break done,
            }
        };
        match written {
            Ok(Written::Done) => {
                let counts = recorded.counts();
                tracing::info!(
                    campaign = %recorded.campaign,
                    chunk = recorded.number,
                    sent = counts.sent,
                    pending = counts.pending,
                    unknown = counts.unknown,
                    failed = counts.failed,
                    stop = ?outcome.stop,
                    "a chunk was sent"
                );
                self.finished(&recorded).await;
            }
            Ok(Written::Stale) => {
                tracing::error!(campaign = %claimed.campaign, chunk = claimed.number, "the chunk was lost before its end");
            }
            Err(error) => {
                tracing::error!(campaign = %claimed.campaign, chunk = claimed.number, "not recorded: {error}");
            }
        }
    }

    /// After a chunk's end the campaign may be at its own. If this fails, the clock looks.
    async fn finished(&self, chunk: &Chunk) {
        if chunk.status == ChunkStatus::Done
            && let Err(error) = finish(&*self.campaigns, &chunk.campaign, self.clock.now()).await
        {
            tracing::warn!(campaign = %chunk.campaign, "whether it is finished is for the clock to see: {error}");
        }
    }

    /// A time between nothing and `most` seconds, so that workers do not move in step.
    fn jittered(&self, most: f64) -> Duration {
        Duration::from_secs_f64(most * (self.dice)().clamp(0.0, 1.0))
    }

    async fn show_again(&self, record: &SqsMessage, wait: Duration) -> Verdict {
        if let Some(receipt) = &record.receipt_handle
            && let Err(error) = self.queue.hide(receipt, wait).await
        {
            // Its own visibility timeout brings it back, later.
            tracing::warn!(message_id = record.message_id, "the visibility timeout could not be changed: {error}");
        }
        Verdict::Keep
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
