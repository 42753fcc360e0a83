//! Pure decisions and the types they are about. Nothing here does IO, reads a clock or draws a random number.

pub mod account;
pub mod address;
pub mod backoff;
pub mod campaign;
pub mod change;
pub mod chunk;
pub mod effects;
pub mod group;
pub mod id;
pub mod job;
pub mod key;
pub mod keyed_hash;
pub mod lane;
pub mod letter;
pub mod local_time;
pub mod pace;
pub mod people;
pub mod rate;
pub mod schedule;
pub mod stats;
pub mod suppression;
pub mod target;
pub mod token;
pub mod webhook;
