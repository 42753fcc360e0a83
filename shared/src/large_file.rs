//! Writing an object that is larger than memory, over as many attempts of a job as it takes.

use crate::ports::{Blobs, Files, PortError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of a part: S3 wants 5 MiB at least, and 10,000 parts at most.
const PART: usize = 8 * 1024 * 1024;

/// Where large objects are.
#[derive(Clone)]
pub struct Store {
    /// In parts.
    pub files: Arc<dyn Files>,
    /// Whole.
    pub blobs: Arc<dyn Blobs>,
}

/// What is written so far: what a checkpoint keeps of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The upload, once a part is full.
    upload: Option<String>,
    /// Its parts.
    parts: Vec<String>,
    /// The object that holds what is no full part yet. `None`: it was not paused yet.
    tail: Option<String>,
    /// Bytes written, those of the tail included.
    pub bytes: u64,
}

/// An object that is being written. What is written after the last [`LargeFile::pause`] is written anew by whoever resumes.
pub struct LargeFile {
    store: Store,
    key: String,
    content_type: &'static str,
    written: Written,
    tail: Vec<u8>,
    /// Of the job's attempt: what a worker writes that lost the job is never what the next one goes on from.
    fence: u64,
    pauses: u32,
    /// The tail of the pause before.
    before: Option<String>,
}

impl LargeFile {
    /// Goes on where `written` was paused; the default begins anew. `fence` is that of the attempt.
    ///
    /// # Errors
    /// When the tail cannot be read.
    pub async fn resume(
        store: Store,
        key: String,
        content_type: &'static str,
        written: Written,
        fence: u64,
    ) -> Result<Self, PortError> {
        let tail = match &written.tail {
            None => Vec::new(),
            Some(tail) => store
                .blobs
                .get(tail)
                .await?
                .ok_or_else(|| PortError::Corrupt(anyhow::anyhow!("the tail of a large file is gone")))?,
        };
        Ok(Self { store, key, content_type, written, tail, fence, pauses: 0, before: None })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// When a part cannot be written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.tail.extend_from_slice(bytes);
        self.written.bytes += bytes.len() as u64;
        while self.tail.len() >= PART {
            let rest = self.tail.split_off(PART);
            let part = std::mem::replace(&mut self.tail, rest);
            self.part(part).await?;
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written.bytes
    }

    /// Puts down what is no full part yet. What it gives is to be kept in a checkpoint.
    ///
    /// # Errors
    /// When the tail cannot be written.
    pub async fn pause(&mut self) -> Result<Written, PortError> {
        self.pauses += 1;
        let tail = format!("{}.tail-{}-{}", self.key, self.fence, self.pauses);
        self.store.blobs.put(&tail, self.tail.clone(), self.content_type).await?;
        self.before = self.written.tail.replace(tail);
        Ok(self.written.clone())
    }

    /// Removes the tail of the pause before, once the checkpoint that names a later one is kept.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn paused(&self) -> Result<(), PortError> {
        match &self.before {
            None => Ok(()),
            Some(before) => self.store.files.remove(before).await,
        }
    }

    /// Writes the rest. The object is there then. To be safe against a death right after it, a checkpoint of all that is
    /// written comes first: the same call after the same checkpoint does no harm. The last tail stays; the bucket's own rules
    /// remove it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn finish(mut self) -> Result<(), PortError> {
        let tail = std::mem::take(&mut self.tail);
        let Some(upload) = self.written.upload.clone() else {
            return self.store.blobs.put(&self.key, tail, self.content_type).await;
        };
        if self.store.files.find(&self.key).await?.is_some_and(|found| found.size == self.written.bytes) {
            return Ok(()); // it was finished before
        }
        if !tail.is_empty() {
            self.part(tail).await?;
        }
        self.store.files.complete(&self.key, &upload, &self.written.parts).await
    }

    async fn part(&mut self, body: Vec<u8>) -> Result<(), PortError> {
        let upload = match &self.written.upload {
            Some(upload) => upload.clone(),
            None => {
                let upload = self.store.files.begin(&self.key, self.content_type).await?;
                self.written.upload = Some(upload.clone());
                upload
            }
        };
        let number = u16::try_from(self.written.parts.len() + 1)
            .map_err(|_| PortError::Refused(anyhow::anyhow!("a file has at most 10,000 parts")))?;
        let part = self.store.files.part(&self.key, &upload, number, body).await?;
        self.written.parts.push(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryBlobs;

    fn store(blobs: &MemoryBlobs) -> Store {
        Store { files: Arc::new(blobs.clone()), blobs: Arc::new(blobs.clone()) }
    }

    async fn file(blobs: &MemoryBlobs, written: &Written, fence: u64) -> LargeFile {
        LargeFile::resume(store(blobs), "out.csv".into(), "text/csv", written.clone(), fence).await.unwrap()
    }

    /// Whether a worker wrote it that had lost the job.
    fn lost_tail(key: &str) -> bool {
        let fence = key.split_once(".tail-").and_then(|(_, rest)| rest.split('-').next()?.parse::<u64>().ok());
        fence.is_some_and(|fence| fence % 2 == 0)
    }

    /// Chunks of three megabytes, each of one byte of its own.
    fn chunk(i: u8) -> Vec<u8> {
        vec![i; 3_000_000]
    }

    #[tokio::test]
    async fn a_file_is_whole_however_often_it_is_cut_off() {
        let blobs = MemoryBlobs::default();
        let mut written = Written::default();
        for i in 0..10 {
            // An attempt that dies after it wrote, before its checkpoint: what it wrote is written anew.
            let fence = u64::from(i) * 2;
            let mut lost = file(&blobs, &written, fence).await;
            lost.write(&chunk(99)).await.unwrap();
            let mut file = file(&blobs, &written, fence + 1).await;
            file.write(&chunk(i)).await.unwrap();
            written = file.pause().await.unwrap();
            file.paused().await.unwrap();
            // It lives on, and does not know yet that the job is another's.
            let _ = lost.pause().await.unwrap();
        }
        assert_eq!(written.bytes, 30_000_000);
        // Whoever dies right after the end does it once more.
        for fence in 20..23 {
            file(&blobs, &written, fence).await.finish().await.unwrap();
            let whole = blobs.get("out.csv").await.unwrap().unwrap();
            assert!(whole == (0..10).flat_map(chunk).collect::<Vec<_>>());
        }
        let committed = blobs.keys().into_iter().filter(|key| !lost_tail(key)).collect::<Vec<_>>();
        assert_eq!(committed, ["out.csv", "out.csv.tail-19-1"], "only the last tail is left beside it");
    }

    #[tokio::test]
    async fn a_small_file_is_one_object() {
        let blobs = MemoryBlobs::default();
        let mut small = file(&blobs, &Written::default(), 1).await;
        small.write(b"a,b\n").await.unwrap();
        assert_eq!(small.bytes(), 4);
        small.finish().await.unwrap();
        assert_eq!(blobs.get("out.csv").await.unwrap().unwrap(), b"a,b\n");
        assert_eq!(blobs.keys(), ["out.csv"]);
    }
}
