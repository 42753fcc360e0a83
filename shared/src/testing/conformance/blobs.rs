use crate::ports::{Blobs, Files, Found, PortError, PutBlob};
use std::time::Duration;

/// Bytes of a part that is not the last.
const PART: usize = 5 * 1024 * 1024;

/// Writes and reads blobs. `prefix` makes the keys unique to this run.
///
/// # Panics
/// When the store differs from what [`Blobs`] says.
pub async fn blobs(store: &dyn Blobs, prefix: &str) {
    let key = format!("{prefix}one.json");
    assert_eq!(store.get(&key).await.expect("get"), None);
    assert_eq!(store.put_new(&key, b"1".to_vec(), "application/json").await.expect("put_new"), PutBlob::New);
    assert_eq!(store.put_new(&key, b"2".to_vec(), "application/json").await.expect("put_new"), PutBlob::Exists);
    assert_eq!(store.get(&key).await.expect("get"), Some(b"1".to_vec()));
    store.put(&key, b"3".to_vec(), "application/json").await.expect("put");
    assert_eq!(store.get(&key).await.expect("get"), Some(b"3".to_vec()));
    assert!(store.url(&key, Duration::from_secs(60)).await.expect("url").contains(&key));
}

/// Writes objects in parts and reads them in pieces. `blobs` are the same objects, whole.
///
/// # Panics
/// When the store differs from what [`Files`] says.
pub async fn files(store: &dyn Files, blobs: &dyn Blobs, prefix: &str) {
    let (small, large) = (format!("{prefix}small.csv"), format!("{prefix}large.csv"));
    assert_eq!(store.find(&small).await.expect("find"), None);
    store.remove(&small).await.expect("nothing to remove is no error");
    blobs.put(&small, b"0123456789".to_vec(), "text/csv").await.expect("put");
    let Found { size, tag } = store.find(&small).await.expect("find").expect("an object");
    assert_eq!(size, 10);
    assert_eq!(store.read(&small, &tag, 0, 4).await.expect("read"), b"0123");
    assert_eq!(store.read(&small, &tag, 8, 4).await.expect("read"), b"89", "no more than there is");
    assert_eq!(store.read(&small, &tag, 9, 1).await.expect("read"), b"9");
    blobs.put(&small, b"9876543210".to_vec(), "text/csv").await.expect("put");
    let replaced = store.read(&small, &tag, 0, 4).await;
    assert!(matches!(replaced, Err(PortError::Refused(_))), "other bytes have another tag: {replaced:?}");
    store.remove(&small).await.expect("remove");
    assert_eq!(store.find(&small).await.expect("find"), None);
    assert!(store.upload_url(&small, Duration::from_secs(60)).await.expect("a url").contains(&small));

    let upload = store.begin(&large, "text/csv").await.expect("begin");
    store.part(&large, &upload, 1, vec![b'x'; PART]).await.expect("a part that is written again");
    let first = store.part(&large, &upload, 1, vec![b'a'; PART]).await.expect("part");
    let second = store.part(&large, &upload, 2, b"end".to_vec()).await.expect("part");
    assert_eq!(store.find(&large).await.expect("find"), None, "it is not there before it is complete");
    for _ in 0..2 {
        store.complete(&large, &upload, &[first.clone(), second.clone()]).await.expect("complete");
    }
    let Found { size, tag } = store.find(&large).await.expect("find").expect("an object");
    assert_eq!(size, PART as u64 + 3);
    assert_eq!(store.read(&large, &tag, PART as u64 - 2, 9).await.expect("read"), b"aaend");
}
