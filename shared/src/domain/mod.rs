//! Pure decisions and the types they are about. Nothing here does IO, reads a clock or draws a random number.

pub mod address;
pub mod backoff;
pub mod campaign;
pub mod chunk;
pub mod id;
pub mod job;
pub mod key;
pub mod lane;
pub mod letter;
pub mod local_time;
pub mod pace;
pub mod people;
pub mod rate;
pub mod schedule;
pub mod token;
