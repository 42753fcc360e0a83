//! One tick: whatever is due is brought on its way, and nothing is asked of the event.

use jiff::Timestamp;
use millrace::accept::Intake;
use millrace::campaigns::{CHUNKS_PER_TICK, Keeper, Ticked};
use millrace::ports::{PortError, Schedules};
use millrace::release::{Released, release_due};
use millrace::schedules::{Fired, fire_due};
use serde::Serialize;

/// Most jobs that one tick releases, and most schedules that it fires. What is left over is the next tick's: it is due all
/// the more.
const LIMIT: usize = 2_000;

/// What the clock works with.
pub(crate) struct Tower {
    pub(crate) intake: Intake,
    pub(crate) schedules: Box<dyn Schedules>,
    pub(crate) keeper: Keeper,
}

/// What a tick did.
#[derive(Debug, Serialize)]
pub(crate) struct Tick {
    pub(crate) jobs: Released,
    pub(crate) schedules: Fired,
    pub(crate) campaigns: Ticked,
}

/// Part of a tick failed. The next one tries again; a run of failures is what the alarm on this function is for.
#[derive(Debug, thiserror::Error)]
#[error("part of the tick failed: {0}")]
pub(crate) struct Missed(String);

impl Tower {
    /// Safe to run twice or at the same time as another tick.
    pub(crate) async fn tick(&self, now: Timestamp) -> Result<Tick, Missed> {
        let (jobs, schedules, campaigns) = tokio::join!(
            release_due(&*self.intake.jobs, &self.intake.queues, now, LIMIT),
            fire_due(&*self.schedules, &self.intake, now, LIMIT),
            self.keeper.tick(now, CHUNKS_PER_TICK)
        );
        let missed = |error: PortError| Missed(error.to_string());
        let (jobs, schedules) = (jobs.map_err(missed)?, schedules.map_err(missed)?);
        tracing::info!(
            due = jobs.due,
            released = jobs.released,
            fired = schedules.jobs,
            dispatched = campaigns.dispatched.chunks,
            settled = campaigns.settled,
            finished = campaigns.finished,
            errors = jobs.failed + schedules.failed + campaigns.errors,
            "tick"
        );
        if jobs.failed + schedules.failed + campaigns.errors > 0 {
            let (jobs, schedules, campaigns) = (jobs.failed, schedules.failed, campaigns.errors);
            return Err(Missed(format!("{jobs} jobs, {schedules} schedules, {campaigns} campaigns or chunks")));
        }
        Ok(Tick { jobs, schedules, campaigns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use millrace::campaigns::Dispatcher;
    use millrace::domain::id::Tenant;
    use millrace::domain::job::{Job, State};
    use millrace::domain::lane::Priority;
    use millrace::domain::local_time::Zone;
    use millrace::domain::schedule::{Cron, ScheduleName, Template, Wanted};
    use millrace::ports::{Clock as _, Jobs as _};
    use millrace::queues::JobQueues;
    use millrace::schedules::put;
    use millrace::testing::{
        ManualClock, MemoryAccount, MemoryBlobs, MemoryCampaigns, MemoryJobs, MemoryPace, MemoryQueue, MemoryQueues,
        MemorySchedules, conformance,
    };
    use std::sync::Arc;
    use std::time::Duration;

    struct World {
        clock: ManualClock,
        jobs: MemoryJobs,
        schedules: MemorySchedules,
        echo: MemoryQueue,
        tower: Tower,
    }

    fn world() -> World {
        let (clock, jobs) = (ManualClock::default(), MemoryJobs::default());
        let queues = MemoryQueues::new(Arc::new(clock.clone()));
        let campaigns = Arc::new(MemoryCampaigns::default());
        let dispatcher = Dispatcher {
            campaigns: campaigns.clone(),
            chunks: campaigns,
            line: Arc::new(MemoryPace::default()),
            queue: queues.open("newsletter"),
            limit: None,
        };
        let settle = SignedDuration::from_secs(900);
        let job_queues = JobQueues::open(|name| queues.open(name));
        let schedules = MemorySchedules::default();
        let tower = Tower {
            intake: Intake {
                jobs: Arc::new(jobs.clone()),
                blobs: Arc::new(MemoryBlobs::default()),
                queues: job_queues,
            },
            schedules: Box::new(schedules.clone()),
            keeper: Keeper {
                dispatcher,
                account: Arc::new(MemoryAccount::default()),
                planner_queue: queues.open("newsletter-run"),
                settle,
            },
        };
        World { clock, jobs, schedules, echo: queues.get("echo"), tower }
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
    async fn a_schedule_ticks_ahead_and_its_job_arrives_on_time() {
        let world = world();
        let now = world.clock.now();
        let job = Template {
            kind: "echo".into(),
            payload: serde_json::json!({}),
            priority: Priority::Normal,
            max_attempts: None,
            timeout: None,
            callback_url: None,
            tags: vec![],
        };
        let wanted = Wanted { cron: Cron::parse("* * * * *").unwrap(), time_zone: Zone::parse("UTC").unwrap(), job };
        let (tenant, name) = (Tenant::parse("t").unwrap(), ScheduleName::parse("n").unwrap());
        let (schedule, _) = put(&world.schedules, &tenant, &name, &wanted, now).await.unwrap();
        let tick = world.tower.tick(now).await.unwrap();
        assert_eq!((tick.schedules.due, tick.schedules.jobs, tick.schedules.failed), (1, 1, 0));
        assert_eq!(Some(world.echo.all()[0].visible_at), schedule.next);
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
