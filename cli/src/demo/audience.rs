//! The sample audience, and how it becomes subscribers.

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, time::Instant};

use super::campaign::progress;
use crate::{api::Api, print::step};

/// How many requests are under way at once.
const AT_ONCE: usize = 16;

/// A line of the audience.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Reader {
    /// The address.
    pub(crate) email: String,
    name: Option<String>,
    time_zone: Option<String>,
    #[serde(default)]
    tags: String,
}

impl Reader {
    /// A reader of whom nothing but the address is known.
    pub(crate) fn new(email: String) -> Self {
        Self { email, name: None, time_zone: None, tags: String::new() }
    }
}

/// Reads the audience. Each address may be in it once.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Reader>> {
    let named = || path.display().to_string();
    let mut file = csv::Reader::from_path(path).with_context(named)?;
    let readers: Vec<Reader> = file.deserialize().collect::<Result<_, _>>().with_context(named)?;
    let addresses: BTreeSet<String> = readers.iter().map(|reader| reader.email.to_lowercase()).collect();
    if readers.is_empty() || addresses.len() != readers.len() {
        bail!("{}: the audience is empty, or has an address twice", named());
    }
    Ok(readers)
}

/// Adds all of them to the newsletter.
pub(crate) async fn import(api: &Api, newsletter: &str, audience: &[Reader]) -> anyhow::Result<()> {
    let zones = audience.iter().filter_map(|reader| reader.time_zone.as_deref()).collect::<BTreeSet<_>>().len();
    step(
        "audience",
        format_args!("adding {} subscribers in {zones} time zones, {AT_ONCE} requests at once", audience.len()),
    );
    let (begin, mut bar, at) = (Instant::now(), progress(audience.len() as u64), Timestamp::now());
    let bodies = audience.iter().map(|reader| body(newsletter, reader, at));
    let mut added = stream::iter(bodies)
        .map(|body| async move { api.post("/v1/subscribers", &body).await })
        .buffer_unordered(AT_ONCE);
    let mut count = 0;
    while added.try_next().await?.is_some() {
        count += 1;
        bar.at(count);
    }
    bar.end();
    let seconds = begin.elapsed().as_secs_f64();
    step("audience", format_args!("{count} added in {seconds:.1} s ({:.0} a second)", count as f64 / seconds));
    Ok(())
}

fn body(newsletter: &str, reader: &Reader, at: Timestamp) -> Value {
    let mut body = json!({
        "newsletter": newsletter,
        "email": reader.email,
        "consent": {"source": "events/audience.csv", "at": at},
    });
    for (name, value) in [("name", &reader.name), ("time_zone", &reader.time_zone)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let tags: Vec<&str> = reader.tags.split(';').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    if !tags.is_empty() {
        body["tags"] = tags.into();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_zones_and_tags_that_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audience.csv");
        let text = "email,name,time_zone,tags\na@example.com,\"A, B\",Asia/Tokyo,x;y\nb@example.com,,,\n";
        std::fs::write(&path, text).unwrap();
        let readers = read(&path).unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let consent = json!({"source": "events/audience.csv", "at": "1970-01-01T00:00:00Z"});
        assert_eq!(
            body("nl_1", &readers[0], at),
            json!({"newsletter": "nl_1", "email": "a@example.com", "name": "A, B", "time_zone": "Asia/Tokyo",
                   "tags": ["x", "y"], "consent": consent})
        );
        assert_eq!(
            body("nl_1", &readers[1], at),
            json!({"newsletter": "nl_1", "email": "b@example.com", "consent": consent})
        );

        std::fs::write(&path, "email,name,time_zone,tags\na@example.com,,,\nA@example.com,,,\n").unwrap();
        assert!(read(&path).is_err());
    }
}
