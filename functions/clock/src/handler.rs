//! One tick: whatever is due is brought on its way, and nothing is asked of the event.

use jiff::Timestamp;
use millrace::campaigns::{Keeper, Ticked};
use millrace::ports::Jobs;
use millrace::queues::JobQueues;
use millrace::release::{Released, release_due};
use serde::Serialize;

/// Most jobs that one tick releases, and most chunks that it dispatches. What is left over is the next tick's: it is due
/// all the more.
const LIMIT: usize = 2_000;

/// What the clock works with.
pub(crate) struct Tower {
    pub(crate) jobs: Box<dyn Jobs>,
    pub(crate) queues: JobQueues,
    pub(crate) keeper: Keeper,
}

/// What a tick did.
#[derive(Debug, Serialize)]
pub(crate) struct Tick {
    pub(crate) jobs: Released,
    pub(crate) campaigns: Ticked,
}

/// Part of a tick failed. The next one tries again; a run of failures is what the alarm on this function is for.
#[derive(Debug, thiserror::Error)]
#[error("part of the tick failed: {0}")]
pub(crate) struct Missed(String);

impl Tower {
    /// Safe to run twice or at the same time as another tick.
    pub(crate) async fn tick(&self, now: Timestamp) -> Result<Tick, Missed> {
        let (jobs, campaigns) =
            tokio::join!(release_due(&*self.jobs, &self.queues, now, LIMIT), self.keeper.tick(now, LIMIT));
        let jobs = jobs.map_err(|error| Missed(error.to_string()))?;
        tracing::info!(
            due = jobs.due,
            released = jobs.released,
            dispatched = campaigns.dispatched.chunks,
            settled = campaigns.settled,
            finished = campaigns.finished,
            errors = jobs.failed + campaigns.errors,
            "tick"
        );
        if jobs.failed + campaigns.errors > 0 {
            return Err(Missed(format!("{} jobs, {} campaigns or chunks", jobs.failed, campaigns.errors)));
        }
        Ok(Tick { jobs, campaigns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use millrace::campaigns::Dispatcher;
    use millrace::domain::job::{Job, State};
    use millrace::ports::Clock as _;
    use millrace::testing::{ManualClock, MemoryCampaigns, MemoryJobs, MemoryQueue, MemoryQueues, conformance};
    use std::sync::Arc;
    use std::time::Duration;

    struct World {
        clock: ManualClock,
        jobs: MemoryJobs,
        echo: MemoryQueue,
        tower: Tower,
    }

    fn world() -> World {
        let (clock, jobs) = (ManualClock::default(), MemoryJobs::default());
        let queues = MemoryQueues::new(Arc::new(clock.clone()));
        let campaigns = Arc::new(MemoryCampaigns::default());
        let dispatcher = Dispatcher {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            pace: campaigns,
            queue: queues.open("newsletter"),
            rate: 10.0,
        };
        let settle = SignedDuration::from_secs(900);
        let tower = Tower {
            jobs: Box::new(jobs.clone()),
            queues: JobQueues::open(|name| queues.open(name)),
            keeper: Keeper { dispatcher, planner_queue: queues.open("newsletter-run"), settle },
        };
        World { clock, jobs, echo: queues.get("echo"), tower }
    }

    impl World {
        async fn scheduled(&self, seconds: u64) -> Job {
            let now = self.clock.now();
            let run_at = Some(now + Duration::from_secs(seconds));
            let job = Job { state: State::Scheduled, run_at, ..conformance::queued_job("one", now) };
            self.jobs.create(&job, true).await.unwrap();
            job
        }
    }

    #[tokio::test]
    async fn a_job_leaves_ahead_of_its_time_and_arrives_at_it() {
        let world = world();
        let job = world.scheduled(50).await;
        let tick = world.tower.tick(world.clock.now()).await.unwrap();
        assert_eq!((tick.jobs.due, tick.jobs.released, tick.jobs.failed), (1, 1, 0));
        assert_eq!(world.jobs.get(&job.id).await.unwrap().unwrap().state, State::Queued);
        assert_eq!(Some(world.echo.all()[0].visible_at), job.run_at);
        assert_eq!(world.tower.tick(world.clock.now()).await.unwrap().jobs.due, 0, "it is released once");
    }

    #[tokio::test]
    async fn what_is_far_away_waits() {
        let world = world();
        world.scheduled(3_600).await;
        assert_eq!(world.tower.tick(world.clock.now()).await.unwrap().jobs.due, 0);
        world.clock.advance(Duration::from_secs(3_590));
        assert_eq!(world.tower.tick(world.clock.now()).await.unwrap().jobs.released, 1);
    }

    #[tokio::test]
    async fn a_tick_that_fails_in_part_says_so_and_the_next_makes_it_good() {
        let world = world();
        world.scheduled(1).await;
        world.echo.faults.refuse_next("send");
        assert!(world.tower.tick(world.clock.now()).await.is_err());
        assert_eq!(world.tower.tick(world.clock.now()).await.unwrap().jobs.released, 1);
    }

    #[test]
    fn the_sample_event_is_what_the_schedule_sends() {
        let event: serde_json::Value = serde_json::from_str(include_str!("../../../events/clock.json")).unwrap();
        assert_eq!(event, serde_json::json!({}), "a tick takes no input");
    }
}
