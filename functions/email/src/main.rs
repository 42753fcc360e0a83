//! SQS worker: welcome and other single mails.

mod confirm;
mod handler;
mod letters;
mod sequence;
mod test_letter;

use confirm::Door;
use handler::Desk;
use letters::Letters;
use millrace::accept::Intake;
use millrace::aws::{Aws, random_token_key};
use millrace::domain::token::Tokens;
use millrace::env;
use millrace::jobs::{ConfirmSubscription, SequenceStep, TestLetter, Welcome, Worker};
use millrace::ports::TokenKeys as _;
use millrace::single_mail::Post;
use millrace::telemetry;
use millrace::worker::{
    self,
    handlers::{Attempt, Handlers},
};
use sequence::Course;
use std::sync::Arc;
use std::time::Duration;
use test_letter::Proofs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let aws = Aws::load().await;
    let runner = aws.runner(Worker::Email).await?;
    let mail = Arc::new(aws.mail()?);
    let door = Door {
        sign_ups: mail.clone(),
        newsletters: mail.clone(),
        subscribers: mail,
        suppressions: Arc::new(aws.suppressions().await?),
        tokens: Tokens::new(aws.keys()?.ensure(&random_token_key()?).await?),
        public_url: env::required(env::PUBLIC_URL)?,
    };
    let desk = Arc::new(Desk {
        users: Box::new(aws.mail()?),
        door,
        ledger: Box::new(aws.mail_ledger()?),
        mailer: Box::new(aws.mailer()),
        letters: Letters::new()?,
        sender: env::required(env::MAIL_SENDER)?,
        settle: Duration::from_secs(env::parsed(env::SETTLE_SECONDS, "a whole number of seconds")?),
    });
    let (jobs, blobs) = (Arc::new(aws.jobs()?), Arc::new(aws.blobs()?));
    let letters = Arc::new(millrace::letters::Letters::new(blobs.clone()));
    let intake = Intake { jobs, blobs, queues: aws.job_queues()? };
    let course = Arc::new(Course { desk: desk.clone(), letters: letters.clone(), intake });
    let proofs = Arc::new(Proofs {
        campaigns: Box::new(aws.mail()?),
        subscribers: Box::new(aws.mail()?),
        suppressions: desk.door.suppressions.clone(),
        letters,
        tokens: Tokens::new(aws.keys()?.ensure(&random_token_key()?).await?),
        public_url: env::required(env::PUBLIC_URL)?,
    });
    let post_of = desk.clone();
    let test = move |job: TestLetter, attempt: Attempt| {
        let (proofs, desk) = (proofs.clone(), post_of.clone());
        async move {
            let post = Post { ledger: &*desk.ledger, mailer: &*desk.mailer, settle: desk.settle };
            proofs.send(post, job, &attempt).await
        }
    };
    let step = move |job: SequenceStep, attempt: Attempt| {
        let course = course.clone();
        async move { course.step(job, attempt).await }
    };
    let handlers = handlers(desk).on::<TestLetter, _, _>(test).on::<SequenceStep, _, _>(step);
    worker::serve(runner, handlers).await
}

/// What is done for each kind.
fn handlers(desk: Arc<Desk>) -> Handlers {
    let door = desk.clone();
    Handlers::new()
        .on::<Welcome, _, _>(move |job, attempt| {
            let desk = desk.clone();
            async move { desk.welcome(job, attempt).await }
        })
        .on::<ConfirmSubscription, _, _>(move |job, attempt| {
            let desk = door.clone();
            async move { desk.confirm_subscription(job, attempt).await }
        })
}

#[cfg(test)]
mod world;
