//! The queues that jobs cross, by worker and lane.

use crate::domain::lane::Lane;
use crate::jobs::Worker;
use crate::ports::{Message, PortError, Queue};
use std::collections::HashMap;
use std::sync::Arc;

/// Where jobs are sent: every lane of every worker.
#[derive(Clone)]
pub struct JobQueues(HashMap<(Worker, Lane), Arc<dyn Queue>>);

impl JobQueues {
    /// Every lane's queue, opened by its name after the stack's.
    #[must_use]
    pub fn open(open: impl Fn(&str) -> Arc<dyn Queue>) -> Self {
        let lanes = Worker::ALL.into_iter().flat_map(|worker| worker.lanes().iter().map(move |lane| (worker, *lane)));
        Self(lanes.map(|(worker, lane)| ((worker, lane), open(&worker.queue(lane)))).collect())
    }

    /// Sends messages to a lane, as [`Queue::send`] does.
    pub async fn send(&self, worker: Worker, lane: Lane, messages: &[Message]) -> Vec<Result<(), PortError>> {
        let missing = || PortError::Refused(anyhow::anyhow!("{} has no lane {}", worker.name(), lane.as_str()));
        match self.0.get(&(worker, lane)) {
            Some(queue) => queue.send(messages).await,
            None => messages.iter().map(|_| Err(missing())).collect(),
        }
    }

    /// Sends one message to a lane.
    ///
    /// # Errors
    /// When the queue did not take it, or the worker has no such lane.
    pub async fn send_one(&self, worker: Worker, lane: Lane, message: Message) -> Result<(), PortError> {
        self.send(worker, lane, &[message]).await.pop().unwrap_or(Ok(()))
    }
}

/// The queues of one lane, as its worker has them.
#[derive(Clone)]
pub struct OwnLane {
    /// Which lane it is.
    pub lane: Lane,
    /// Where its jobs come from, and where they are sent to be tried again.
    pub queue: Arc<dyn Queue>,
    /// Where messages go that nobody can read.
    pub dead_letters: Arc<dyn Queue>,
}

/// The queues that a worker takes its jobs from.
#[derive(Clone)]
pub struct OwnQueues {
    worker: Worker,
    normal: OwnLane,
    others: Vec<OwnLane>,
}

impl OwnQueues {
    /// The queues of the worker's lanes, opened by their names after the stack's.
    #[must_use]
    pub fn open(worker: Worker, open: impl Fn(&str) -> Arc<dyn Queue>) -> Self {
        let own = |lane| {
            let (queue, dead_letters) = (open(&worker.queue(lane)), open(&worker.dead_letters(lane)));
            OwnLane { lane, queue, dead_letters }
        };
        let others = worker.lanes().iter().filter(|lane| **lane != Lane::Normal);
        Self { worker, normal: own(Lane::Normal), others: others.map(|lane| own(*lane)).collect() }
    }

    /// The lane of a record by the ARN of its queue; the normal one when that is none of the worker's, as in an event made
    /// by hand.
    #[must_use]
    pub fn of(&self, arn: Option<&str>) -> &OwnLane {
        let lane = arn.and_then(|arn| self.worker.lane(arn.rsplit(':').next().unwrap_or(arn)));
        self.others.iter().find(|own| Some(own.lane) == lane).unwrap_or(&self.normal)
    }
}
