//! From "a function on one job" to "a Lambda on an SQS batch".
//!
//! [`batch`] fences the records of a batch from each other; [`runner`] takes one message through claim, handler and
//! finish: [`limits`] says whether its job may start yet, [`heartbeat`] holds the job meanwhile, [`ordered`] says what is
//! different on the ordered lane, and [`unstarted`] what becomes of a message whose job is not started. [`handlers`] is the
//! table of a worker's functions. [`serve`] ties them to the Lambda runtime.

pub mod batch;
pub mod handlers;
pub mod heartbeat;
pub mod limits;
mod ordered;
pub mod runner;
mod unstarted;

use crate::worker::handlers::Handlers;
use crate::worker::runner::Runner;
use aws_lambda_events::event::sqs::SqsEvent;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use std::time::Duration;

/// Kept of an invocation's time for writing down what came of it.
pub const RESERVE: Duration = Duration::from_millis(1_500);

/// Runs a worker's Lambda until the process ends.
///
/// # Errors
/// When the Lambda runtime's API is not there.
pub async fn serve(runner: Runner, handlers: Handlers) -> Result<(), Error> {
    batch::quiet_panics();
    let (runner, handlers) = (&runner, &handlers);
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<SqsEvent>| {
        let deadline = deadline(&event.context, Timestamp::now());
        Ok::<_, Error>(runner.batch(handlers, event.payload, deadline).await)
    }))
    .await
}

/// When the invocation ends. `cargo lambda watch` gives a deadline in the past: then a minute from now.
#[must_use]
pub fn deadline(context: &lambda_runtime::Context, now: Timestamp) -> Timestamp {
    let told = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    told.filter(|deadline| *deadline > now).unwrap_or(now + Duration::from_secs(60))
}

#[cfg(test)]
mod outcome_tests;
