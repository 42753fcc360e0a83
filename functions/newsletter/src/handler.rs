//! One chunk message: read, take a slot of the rate, decide about each recipient, claim, send, write down.

use crate::plan::Plan;
use crate::send::{Outcome, Schedule, Stop, send};
use aws_lambda_events::event::sqs::SqsMessage;
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::LINE;
use millrace::domain::campaign::Campaign;
use millrace::domain::chunk::{Chunk, ChunkStatus};
use millrace::domain::pace::{Grant, Line, SendRate};
use millrace::domain::token::Tokens;
use millrace::jobs::ChunkMessage;
use millrace::letters::{self, Letters};
use millrace::ports::{
    Campaigns, Chunks, Clock, Mail, Mailer, Pace, PortError, Queue, SendLine, Subscribers, Suppressions, Written,
};
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
/// How often a claim is tried whose answer was lost, or that others came before.
const CLAIM_TRIES: u32 = 5;
/// How often a campaign is looked at while a chunk of it is sent: so late a pause or another rate is heard of.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What does not change while the process lives.
pub(crate) struct Settings {
    /// The most mails a second that the operator wants; `None` is as many as SES allows.
    pub(crate) limit: Option<SendRate>,
    /// How long the events of a mail of unknown outcome are waited for.
    pub(crate) settle: SignedDuration,
    /// Base of the links in mails.
    pub(crate) public_url: String,
}

/// Sends chunks.
pub(crate) struct Sender {
    pub(crate) campaigns: Arc<dyn Campaigns>,
    pub(crate) chunks: Arc<dyn Chunks>,
    pub(crate) subscribers: Arc<dyn Subscribers>,
    pub(crate) suppressions: Arc<dyn Suppressions>,
    pub(crate) pace: Arc<dyn Pace>,
    pub(crate) line: Arc<dyn SendLine>,
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
    /// When the slot before it ends, whosever it is.
    after: Option<Timestamp>,
    every: SignedDuration,
    mails: usize,
}

/// What becomes of a message.
pub(crate) enum Next {
    /// It has served.
    Done,
    /// It is shown again after so long.
    Again(Duration),
}

impl Sender {
    /// Takes one message as far as it goes before `deadline`, the end of the invocation.
    pub(crate) async fn run(&self, record: &SqsMessage, deadline: Timestamp) -> Verdict {
        let message = match ChunkMessage::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(message) => message,
            Err(error) => return park(&*self.dead_letters, record, &error.to_string()).await,
        };
        match self.chunk(&message, deadline).await {
            Ok(Next::Done) => Verdict::Acknowledge,
            Ok(Next::Again(wait)) => self.show_again(record, wait).await,
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

    /// Sends a chunk. An error, or another try, leaves it untouched or with some of it sent and recorded.
    async fn chunk(&self, message: &ChunkMessage, deadline: Timestamp) -> Result<Next, PortError> {
        let id = &message.campaign;
        let (campaign, chunk, line) =
            futures::try_join!(self.campaigns.meta(id), self.chunks.get(id, message.chunk), self.line.line(LINE))?;
        let (Some(campaign), Some(chunk)) = (campaign, chunk) else { return Ok(Next::Done) };
        if !campaign.state.sends() {
            return self.give_up(&chunk).await;
        }
        // Whatever is not to be sent now, the clock dispatches or settles when it is time.
        if chunk.status != ChunkStatus::Pending || chunk.due > self.clock.now() {
            return Ok(Next::Done);
        }
        let time = deadline.duration_since(self.clock.now());
        if time < LEAST_TIME {
            return Ok(Next::Again(Duration::ZERO)); // another invocation has more
        }
        let send_time = SEND_TIME.min(time * 2 / 5);
        let last_start = deadline - RECORD_TIME.min(time / 10) - send_time;
        let letter = self.letters.get(&letters::key(&campaign.id, &campaign.letter)).await?;
        let slot = match self.slot(&campaign, &chunk, &line, last_start).await? {
            Ok(slot) => slot,
            Err(wait) => return Ok(Next::Again(wait)),
        };
        if let Ok(wait) = Duration::try_from(slot.from.duration_since(self.clock.now())) {
            tokio::time::sleep(wait).await;
        }
        // Read after the wait, just before the claim: whoever pauses or unsubscribes until now is heard.
        let (still, plan) =
            futures::try_join!(self.campaigns.meta(id), self.plan(&campaign, &chunk, &letter, slot.mails))?;
        let Some(still) = still.filter(|still| still.state.sends()) else { return self.give_up(&chunk).await };
        if still.rate != campaign.rate {
            return Ok(Next::Again(Duration::ZERO)); // the slot was for another rate
        }
        // 64 bits drawn for this claim alone.
        let owner = format!("{:016x}", (self.dice)().to_bits() ^ (self.dice)().to_bits().rotate_left(32));
        let lease_until = deadline + LEASE_MARGIN;
        let Some(claimed) = self.claim(chunk, &owner, &plan, slot.after, lease_until).await? else {
            return Ok(Next::Done); // another worker has it
        };
        let mails: Vec<_> = plan.mails.into_iter().filter(|(place, _)| claimed.is_sending(*place)).collect();
        if mails.is_empty() {
            self.look_after(&claimed).await;
            return Ok(Next::Done);
        }
        let outcome = self.send(&campaign, &slot, last_start, send_time.unsigned_abs(), &mails).await;
        Ok(self.write_down(claimed, &owner, &outcome, deadline).await)
    }

    /// Leaves a chunk of a campaign that is stopped, so that it is there at once when the campaign goes on.
    async fn give_up(&self, chunk: &Chunk) -> Result<Next, PortError> {
        if chunk.status == ChunkStatus::Pending && chunk.queued {
            // Stale: somebody else has it in hand.
            self.chunks.put_back(chunk, self.clock.now().max(chunk.due)).await?;
        }
        Ok(Next::Done)
    }

    /// A slot for as many of the pending mails as can be sent before `last_start`; or how long to wait for one.
    async fn slot(
        &self,
        campaign: &Campaign,
        chunk: &Chunk,
        line: &Line,
        last_start: Timestamp,
    ) -> Result<Result<Slot, Duration>, PortError> {
        let now = self.clock.now();
        let room = last_start.duration_since(now);
        if room.is_negative() {
            return Ok(Err(Duration::ZERO)); // another invocation has more time
        }
        let shared = line.rate(self.settings.limit, now);
        let rate = campaign.rate.map_or(shared, |own| own.min(shared));
        let (mails, every) = (chunk.pending().len().min(rate.within(room)), rate.cost(1));
        let latest = |rate: SendRate| (now + LONGEST_WAIT + rate.cost(mails)).min(last_start + every);
        let mut from = now;
        let mut latest_shared = latest(shared);
        if campaign.rate.is_some() {
            // Its own line first: what is lost when the shared one has no slot is lost to itself. Another rate is another
            // line: slots taken at the old one are in nobody's way.
            let own = format!("campaign-{}-{}", campaign.id, u32::from(rate));
            match self.pace.take(&own, rate.cost(mails), now, latest(rate)).await? {
                Grant::Slot { from: own, .. } => from = own,
                Grant::Refused { free_at } => return Ok(Err(self.until(free_at, now))),
            }
            latest_shared = last_start + every;
        }
        match self.pace.take(LINE, shared.cost(mails), now, latest_shared).await? {
            Grant::Slot { from: shared, .. } => {
                let after = if shared > now { Some(shared) } else { line.taken_until };
                Ok(Ok(Slot { from: from.max(shared), after, every, mails }))
            }
            Grant::Refused { free_at } => Ok(Err(self.until(free_at, now))),
        }
    }

    /// How long a message waits on the queue for a line that is taken until then.
    fn until(&self, free_at: Timestamp, now: Timestamp) -> Duration {
        let wait = free_at.duration_since(now) - LONGEST_WAIT / 2;
        Duration::try_from(wait).unwrap_or_default() + self.jittered(3.0)
    }

    /// Claims the chunk as `owner`. Tries again when the answer was lost, for unanswered it would hold the chunk until the
    /// lease ends; and when SES's events changed the chunk meanwhile. `None` when another worker has it, or had it.
    async fn claim(
        &self,
        mut chunk: Chunk,
        owner: &str,
        plan: &Plan,
        after: Option<Timestamp>,
        lease_until: Timestamp,
    ) -> Result<Option<Chunk>, PortError> {
        let claims = chunk.owner.clone();
        let mut tries = 1;
        loop {
            let Ok(claimed) = chunk.claim(owner, &plan.decided, self.clock.now(), lease_until) else { return Ok(None) };
            let claimed = claimed.following(after);
            match self.chunks.update(&chunk, &claimed).await {
                Ok(Written::Done) => return Ok(Some(claimed)),
                Ok(Written::Stale) if tries < CLAIM_TRIES => {
                    match self.chunks.get(&chunk.campaign, chunk.number).await? {
                        Some(now) if now.is_of(owner) => return Ok(Some(now)),
                        Some(now) if now.owner == claims => chunk = now,
                        _ => return Ok(None),
                    }
                }
                Ok(Written::Stale) => return Ok(None),
                Err(error) if error.is_transient() && tries < CLAIM_TRIES => {
                    tokio::time::sleep(self.jittered(0.3)).await;
                }
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    async fn send(
        &self,
        campaign: &Campaign,
        slot: &Slot,
        last_start: Timestamp,
        timeout: Duration,
        mails: &[(usize, Mail)],
    ) -> Outcome {
        // The slot began while the chunk was claimed: the mails keep their distance all the same.
        let from = slot.from.max(self.clock.now());
        let schedule = Schedule { from, every: slot.every, last_start, timeout };
        send(&*self.mailer, &*self.clock, mails, schedule, self.watch(campaign)).await
    }

    /// Ends when the campaign is stopped or has another rate.
    async fn watch(&self, campaign: &Campaign) -> Stop {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            match self.campaigns.meta(&campaign.id).await {
                Ok(Some(now)) if !now.state.sends() => return Stop::Stopped,
                Ok(Some(now)) if now.rate != campaign.rate => return Stop::Rate,
                Ok(None) => return Stop::Stopped,
                // Not heard of is not stopped: the next look may tell.
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }

    /// A time between nothing and `most` seconds, so that workers do not move in step.
    pub(crate) fn jittered(&self, most: f64) -> Duration {
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
