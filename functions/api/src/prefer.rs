//! The request header `Prefer` (RFC 7240), as far as this API knows it: `wait`.

use axum::http::{HeaderMap, HeaderName};
use std::time::Duration;

/// Longest wait. API Gateway gives up after 30 s, and the answer itself takes some of them.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(25);

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The header that tells what was heeded.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long the caller would wait for an answer, whole seconds, at most [`LONGEST_WAIT`]. The first `wait` counts. What is not
/// understood is passed over, as the RFC asks.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let seconds = lines.flat_map(|line| line.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let digits = value.trim().trim_matches('"');
        let fits = name.trim().eq_ignore_ascii_case("wait") && !digits.is_empty();
        // More than fits a number is more than the longest wait.
        (fits && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().unwrap_or(u64::MAX))
    });
    seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_found_and_bounded() {
        let wait = |lines: &[&str]| {
            let headers = lines.iter().map(|line| (PREFER, line.parse().unwrap()));
            super::wait(&headers.collect()).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&["wait=7"]), Some(7));
        assert_eq!(wait(&["respond-async, Wait = \"3\"; x=y, wait=9"]), Some(3));
        assert_eq!(wait(&["return=minimal", "wait=0"]), Some(0));
        assert_eq!(wait(&["wait=26"]), Some(25));
        assert_eq!(wait(&["wait=99999999999999999999999"]), Some(25));
        for nonsense in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=soon", "waits=3", ""] {
            assert_eq!(wait(&[nonsense]), None, "{nonsense}");
        }
    }
}
