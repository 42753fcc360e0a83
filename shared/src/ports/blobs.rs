use super::PortError;
use async_trait::async_trait;
use std::time::Duration;

/// What a conditional put came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutBlob {
    /// Written.
    New,
    /// A blob was there already; it is unchanged.
    Exists,
}

/// Objects too large for a table: payloads, results, letters.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Writes a blob unless one is there under this key.
    async fn put_new(&self, key: &str, body: Vec<u8>, content_type: &str) -> Result<PutBlob, PortError>;

    /// Writes a blob, replacing what was there.
    async fn put(&self, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), PortError>;

    /// Reads a blob whole. `None` when there is none.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError>;

    /// A URL that reads the blob without credentials for `valid` (up to 7 days, and no longer than the signer's own
    /// session lives).
    async fn url(&self, key: &str, valid: Duration) -> Result<String, PortError>;
}
