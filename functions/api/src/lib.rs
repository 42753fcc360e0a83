//! The HTTP API: validates, records, enqueues, answers.
//!
//! [`app::app`] is the router; [`gateway::service`] puts it behind the Lambda runtime.

pub mod app;
pub mod auth;
mod claims;
pub mod compose;
mod document;
pub mod extract;
mod fields;
pub mod gateway;
mod middleware;
mod pages;
mod prefer;
pub mod problem;
mod query;
pub mod routes;
mod source;
