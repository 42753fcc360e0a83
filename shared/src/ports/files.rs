use super::PortError;
use async_trait::async_trait;
use std::time::Duration;

/// An object, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How many bytes it has.
    pub size: u64,
    /// Another one when the object is replaced by other bytes (its entity tag).
    pub tag: String,
}

/// Objects too large to be held in memory. They are the [`Blobs`](super::Blobs) of the same names, read and written in parts.
#[async_trait]
pub trait Files: Send + Sync {
    /// What the object is like now. `None` when there is none.
    async fn find(&self, key: &str) -> Result<Option<Found>, PortError>;

    /// Reads at most `len` bytes (1 or more) that begin at the byte `from`, which must be below its size. Refused when the
    /// object is no longer the one with this [`Found::tag`].
    async fn read(&self, key: &str, tag: &str, from: u64, len: u64) -> Result<Vec<u8>, PortError>;

    /// A URL to which anybody may `PUT` the object, once or again, without credentials for `valid` (up to 7 days, and no longer
    /// than the signer's own session lives). At most 5 GiB.
    async fn upload_url(&self, key: &str, valid: Duration) -> Result<String, PortError>;

    /// Begins an object that is written in parts; it is not there before it is completed. Gives the upload's name.
    async fn begin(&self, key: &str, content_type: &str) -> Result<String, PortError>;

    /// Writes a part, in place of one of the same number (1 to 10,000). All parts but the last have at least 5 MiB. Gives what
    /// stands for it in [`Files::complete`].
    async fn part(&self, key: &str, upload: &str, number: u16, body: Vec<u8>) -> Result<String, PortError>;

    /// Puts the parts together, in this order from number 1. An upload that was completed before is no error.
    async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<(), PortError>;

    /// Removes an object. One that is not there is no error.
    async fn remove(&self, key: &str) -> Result<(), PortError>;
}
