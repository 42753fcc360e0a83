use super::Faults;
use crate::ports::{Blobs, PortError, PutBlob};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Blobs in memory.
#[derive(Clone, Default)]
pub struct MemoryBlobs {
    items: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put_new(&self, key: &str, body: Vec<u8>, _content_type: &str) -> Result<PutBlob, PortError> {
        self.faults.before("put_new").await?;
        let put = {
            let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            if items.contains_key(key) {
                PutBlob::Exists
            } else {
                items.insert(key.to_owned(), body);
                PutBlob::New
            }
        };
        self.faults.after("put_new").await?;
        Ok(put)
    }

    async fn put(&self, key: &str, body: Vec<u8>, _content_type: &str) -> Result<(), PortError> {
        self.faults.before("put").await?;
        self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), body);
        self.faults.after("put").await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.faults.before("get").await?;
        Ok(self.items.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn url(&self, key: &str, valid: Duration) -> Result<String, PortError> {
        Ok(format!("memory://{key}?valid={}", valid.as_secs()))
    }
}
