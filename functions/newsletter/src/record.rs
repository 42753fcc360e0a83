//! Writing down what sending came to, and what follows from it for the campaign and the rate.

use crate::handler::{Next, Sender};
use crate::send::{Outcome, Stop};
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::{LINE, finish, stop, trip};
use millrace::domain::campaign::StopReason;
use millrace::domain::chunk::{Again, Chunk, ChunkStatus, REDISPATCH_EVERY};
use millrace::domain::id::CampaignId;
use millrace::ports::{PortError, Written};
use std::time::Duration;

/// Campaigns that are halted when SES takes no mail from the account: more than send at the same time.
const MOST_CAMPAIGNS: usize = 1_000;

impl Sender {
    /// Writes down what sending came to, as long as there is time: what is not written has to wait for its events.
    pub(crate) async fn write_down(
        &self,
        mut claimed: Chunk,
        owner: &str,
        outcome: &Outcome,
        deadline: Timestamp,
    ) -> Next {
        let now = self.clock.now();
        self.react(&claimed.campaign, outcome, now).await;
        let (again, next) = match outcome.stop {
            // The message itself brings the rest.
            Some(Stop::Time | Stop::Rate) => (Again::Queued(now + REDISPATCH_EVERY), Next::Again(Duration::ZERO)),
            // It is not to hurry.
            Some(Stop::Unreachable | Stop::Throttled) => {
                (Again::At(now + Duration::from_secs(10) + self.jittered(20.0)), Next::Done)
            }
            // Nobody dispatches it before the campaign goes on.
            None | Some(Stop::Stopped | Stop::Quota | Stop::Sender | Stop::Account) => (Again::At(now), Next::Done),
        };
        let (recorded, written) = loop {
            let Ok(recorded) = claimed.record(owner, &outcome.sent, again, now + self.settings.settle) else {
                break (claimed, Ok(Written::Stale));
            };
            let in_time = self.clock.now() + SignedDuration::from_secs(1) < deadline;
            match self.chunks.update(&claimed, &recorded).await {
                // SES's events came meanwhile: what they told stays.
                Ok(Written::Stale) if in_time => match self.chunks.get(&claimed.campaign, claimed.number).await {
                    Ok(Some(chunk)) if chunk.is_of(owner) => claimed = chunk,
                    Ok(_) => break (recorded, Ok(Written::Stale)),
                    Err(error) if error.is_transient() => tokio::time::sleep(self.jittered(0.5)).await,
                    Err(error) => break (recorded, Err(error)),
                },
                Err(error) if error.is_transient() && in_time => {
                    tracing::warn!(campaign = %claimed.campaign, chunk = claimed.number, "not recorded yet: {error}");
                    tokio::time::sleep(self.jittered(0.5)).await;
                }
                done => break (recorded, done),
            }
        };
        self.tell(&recorded, outcome, &written);
        if matches!(written, Ok(Written::Done)) {
            self.look_after(&recorded).await;
            return next;
        }
        Next::Done
    }

    fn tell(&self, chunk: &Chunk, outcome: &Outcome, written: &Result<Written, PortError>) {
        let (campaign, number) = (&chunk.campaign, chunk.number);
        match written {
            Ok(Written::Done) => {
                let counts = chunk.counts();
                tracing::info!(
                    %campaign,
                    chunk = number,
                    sent = counts.accepted(),
                    pending = counts.pending,
                    unknown = counts.unknown,
                    failed = counts.failed,
                    stop = ?outcome.stop,
                    "a chunk was sent"
                );
            }
            Ok(Written::Stale) => tracing::error!(%campaign, chunk = number, "the chunk was lost before its end"),
            Err(error) => tracing::error!(%campaign, chunk = number, "not recorded: {error}"),
        }
    }

    /// What SES's refusals mean for those who send: less of it, or none at all. If it fails, the next refusal says it again.
    async fn react(&self, campaign: &CampaignId, outcome: &Outcome, now: Timestamp) {
        let code = outcome.code.as_deref();
        let done = match outcome.stop {
            Some(Stop::Throttled) => self.slow_down(now).await,
            Some(Stop::Quota) => stop(&*self.campaigns, campaign, StopReason::Quota, None, now).await,
            Some(Stop::Sender) => stop(&*self.campaigns, campaign, StopReason::Sender, code, now).await,
            Some(Stop::Account) => self.halt_all(code, now).await,
            None | Some(Stop::Time | Stop::Rate | Stop::Stopped | Stop::Unreachable) => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(%campaign, "what SES's refusal asks for was not done: {error}");
        }
    }

    async fn slow_down(&self, now: Timestamp) -> Result<(), PortError> {
        let line = self.line.line(LINE).await?;
        if let Some(cut) = line.cut(self.settings.limit, now)
            && self.line.cut(LINE, line.cut, cut).await? == Written::Done
        {
            tracing::warn!(rate = cut.left.get(), "SES is asked for too much: the rate is cut");
        }
        Ok(())
    }

    async fn halt_all(&self, code: Option<&str>, now: Timestamp) -> Result<(), PortError> {
        for id in self.campaigns.active(MOST_CAMPAIGNS).await? {
            stop(&*self.campaigns, &id, StopReason::Account, code, now).await?;
        }
        Ok(())
    }

    /// After a chunk's end the campaign may be at its own, and after failures it may have to halt. If this fails, the clock
    /// looks.
    pub(crate) async fn look_after(&self, chunk: &Chunk) {
        let (campaigns, id, now) = (&*self.campaigns, &chunk.campaign, self.clock.now());
        let looks = async {
            if chunk.counts().failed > 0 && trip(campaigns, id, now).await? {
                return Ok(());
            }
            if chunk.status == ChunkStatus::Done {
                finish(campaigns, id, now).await?;
            }
            Ok::<_, PortError>(())
        };
        if let Err(error) = looks.await {
            tracing::warn!(campaign = %id, "how the campaign stands is for the clock to see: {error}");
        }
    }
}
