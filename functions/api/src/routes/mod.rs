//! One file for each part of the API: its routes, and beside them what they take and give.

pub mod bulk_retry;
pub mod campaign_run;
pub mod campaign_view;
pub mod campaigns;
pub mod confirm;
pub mod groups;
pub mod job_batch;
pub mod job_list;
pub mod job_operations;
pub mod job_view;
pub mod jobs;
pub mod kinds;
pub mod meta;
pub mod newsletters;
pub mod recipients;
pub mod schedules;
pub mod stats;
pub mod subscribe;
pub mod subscriber_change;
pub mod subscriber_files;
pub mod subscriber_list;
pub mod subscriber_view;
pub mod subscribers;
pub mod suppressions;
pub mod unsubscribe;
pub mod users;
