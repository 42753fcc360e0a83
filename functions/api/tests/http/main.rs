//! The API through its router, as the Lambda runs it, on ports in memory.

#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

mod archive;
mod bulk_retry;
mod campaign_run;
mod campaigns;
mod document;
mod events;
mod fences;
mod groups;
mod hits;
mod hostile;
mod job_batch;
mod job_list;
mod job_operations;
mod jobs;
mod keys;
mod letters;
mod newsletters;
mod people;
mod schedules;
mod sequences;
mod site;
mod stats;
mod subscribe;
mod subscriber_files;
mod subscribers;
mod unsubscribe;
