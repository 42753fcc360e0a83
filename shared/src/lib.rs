//! The crate every function of Millrace shares.
//!
//! In reading order: [`domain`] decides and does no IO; [`job`] says what one attempt can come to; [`jobs`] lists every
//! message that crosses a queue; [`ports`] are the capabilities the outside world offers; [`worker`] turns a function
//! on one job into a Lambda on an SQS batch; [`aws`] holds all effects. `tests/architecture.rs` holds who may import whom.

pub mod domain;
pub mod job;
pub mod jobs;
pub mod ports;

pub mod accept;
pub mod campaigns;
pub mod groups;
pub mod large_file;
pub mod letters;
pub mod lists;
pub mod operate;
pub mod outbox;
pub mod own_job;
pub mod person;
pub mod preflight;
pub mod queues;
pub mod redrive;
pub mod release;
pub mod schedules;
pub mod sequences;
pub mod single_mail;

pub mod worker;

pub mod aws;
pub mod env;
pub mod telemetry;

#[cfg(feature = "testing")]
pub mod testing;
