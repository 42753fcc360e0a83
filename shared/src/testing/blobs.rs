use super::Faults;
use crate::ports::{Blobs, Files, Found, PortError, PutBlob};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Parts = BTreeMap<u16, Vec<u8>>;

/// A blob with its tag, made once: long files are read in many ranges.
struct Blob {
    body: Vec<u8>,
    tag: String,
}

impl From<Vec<u8>> for Blob {
    fn from(body: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self { body, tag: format!("{:x}", hasher.finish()) }
    }
}

/// Blobs in memory, whole and in parts.
#[derive(Clone, Default)]
pub struct MemoryBlobs {
    items: Arc<Mutex<BTreeMap<String, Blob>>>,
    uploads: Arc<Mutex<BTreeMap<String, Parts>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryBlobs {
    /// The keys of all blobs, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
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
                items.insert(key.to_owned(), body.into());
                PutBlob::New
            }
        };
        self.faults.after("put_new").await?;
        Ok(put)
    }

    async fn put(&self, key: &str, body: Vec<u8>, _content_type: &str) -> Result<(), PortError> {
        self.faults.before("put").await?;
        self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), body.into());
        self.faults.after("put").await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.faults.before("get").await?;
        Ok(self.items.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(|blob| blob.body.clone()))
    }

    async fn url(&self, key: &str, valid: Duration) -> Result<String, PortError> {
        Ok(format!("memory://{key}?valid={}", valid.as_secs()))
    }
}

fn no_upload() -> PortError {
    PortError::Refused(anyhow::anyhow!("there is no such upload"))
}

#[async_trait]
impl Files for MemoryBlobs {
    async fn find(&self, key: &str) -> Result<Option<Found>, PortError> {
        self.faults.before("find").await?;
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(items.get(key).map(|blob| Found { size: blob.body.len() as u64, tag: blob.tag.clone() }))
    }

    async fn read(&self, key: &str, tag: &str, from: u64, len: u64) -> Result<Vec<u8>, PortError> {
        self.faults.before("read").await?;
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = items.get(key).ok_or_else(|| PortError::Refused(anyhow::anyhow!("there is no such blob")))?;
        if blob.tag != tag {
            return Err(PortError::Refused(anyhow::anyhow!("the blob was replaced")));
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = blob.body.get(from..).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| PortError::Refused(anyhow::anyhow!("the blob is not so long")))?;
        Ok(rest[..rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))].to_vec())
    }

    async fn upload_url(&self, key: &str, valid: Duration) -> Result<String, PortError> {
        self.faults.before("upload_url").await?;
        Ok(format!("memory://{key}?put&valid={}", valid.as_secs()))
    }

    async fn begin(&self, key: &str, _content_type: &str) -> Result<String, PortError> {
        self.faults.before("begin").await?;
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{key}-{}", uploads.len() + 1);
        uploads.insert(name.clone(), Parts::new());
        Ok(name)
    }

    async fn part(&self, _key: &str, upload: &str, number: u16, body: Vec<u8>) -> Result<String, PortError> {
        self.faults.before("part").await?;
        let tag = {
            let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            let parts = uploads.get_mut(upload).ok_or_else(no_upload)?;
            let tag = format!("part-{number}-{}", body.len());
            parts.insert(number, body);
            tag
        };
        self.faults.after("part").await?;
        Ok(tag)
    }

    async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<(), PortError> {
        self.faults.before("complete").await?;
        let whole = {
            let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.remove(upload).map(|bodies| {
                let bodies =
                    (1..).zip(parts).map(|(number, _): (u16, _)| bodies.get(&number).cloned().unwrap_or_default());
                bodies.flatten().collect::<Vec<u8>>()
            })
        };
        if let Some(whole) = whole {
            self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), whole.into());
        }
        self.faults.after("complete").await
    }

    async fn remove(&self, key: &str) -> Result<(), PortError> {
        self.faults.before("remove").await?;
        self.items.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.faults.after("remove").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn blobs_in_memory_conform() {
        let blobs = MemoryBlobs::default();
        conformance::blobs(&blobs, "memory/").await;
        conformance::files(&blobs, &blobs, "memory/").await;
    }
}
