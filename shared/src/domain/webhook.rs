//! Signatures of calls to customers' endpoints, as [Standard Webhooks](https://www.standardwebhooks.com) has them.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use std::fmt;

/// How many random bytes make a secret. The standard asks for 24 to 64.
pub const SECRET_BYTES: usize = 32;

/// The header with the message's identifier, the same at each try.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the try, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, one for each secret.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// What signs calls. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A secret from random bytes drawn by the caller.
    #[must_use]
    pub fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(random)
    }

    /// The bytes it was made from, for the table.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SECRET_BYTES] {
        self.0
    }

    /// As the receiver's library takes it: `whsec_` and base64.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        let mac = mac.chain_update(format!("{id}.{seconds}.")).chain_update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A tenant's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The one that stays.
    pub current: Secret,
    /// The one before, which signs as well until then: time for the receivers to take the new one.
    pub previous: Option<(Secret, Timestamp)>,
}

impl From<Secret> for Secrets {
    fn from(current: Secret) -> Self {
        Self { current, previous: None }
    }
}

impl Secrets {
    /// These secrets after `next` has become the current one. The old one signs until `until`; not at all when that is past.
    #[must_use]
    pub fn rotated(self, next: Secret, until: Timestamp, now: Timestamp) -> Self {
        Self { current: next, previous: (until > now).then_some((self.current, until)) }
    }

    /// The value of [`SIGNATURE_HEADER`] for a call at `now`: a signature of each secret that signs, the current one first.
    #[must_use]
    pub fn signatures(&self, id: &str, body: &[u8], now: Timestamp) -> String {
        let previous = self.previous.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
        let signing = [&self.current].into_iter().chain(previous);
        signing.map(|secret| secret.sign(id, now.as_second(), body)).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    // The library takes no call that is older than some minutes.
    fn at(second: i64) -> Timestamp {
        Timestamp::now() + jiff::SignedDuration::from_secs(second)
    }

    /// Whether the standard's own library takes a call signed so, with this secret.
    fn verifies(secret: &Secret, signatures: &str, id: &str, body: &[u8], now: Timestamp) -> bool {
        let mut headers = http::HeaderMap::new();
        let values = [
            (ID_HEADER, id.to_owned()),
            (TIMESTAMP_HEADER, now.as_second().to_string()),
            (SIGNATURE_HEADER, signatures.to_owned()),
        ];
        for (name, value) in values {
            headers.insert(name, value.parse().unwrap());
        }
        let receiver = Webhook::new(&secret.reveal()).unwrap();
        receiver.verify(body, &headers).is_ok()
    }

    proptest! {
        #[test]
        fn the_standards_library_takes_what_is_signed(
            random: [u8; SECRET_BYTES], other: [u8; SECRET_BYTES], id in "[A-Za-z0-9_-]{1,60}", body in ".*",
        ) {
            let (secret, now) = (Secret::new(random), Timestamp::now());
            let signatures = Secrets::from(secret.clone()).signatures(&id, body.as_bytes(), now);
            prop_assert!(verifies(&secret, &signatures, &id, body.as_bytes(), now));
            prop_assert!(!verifies(&secret, &signatures, &id, (body.clone() + "x").as_bytes(), now));
            prop_assert!(!verifies(&secret, &signatures, &(id.clone() + "x"), body.as_bytes(), now));
            let earlier = now - std::time::Duration::from_secs(1);
            prop_assert!(!verifies(&secret, &signatures, &id, body.as_bytes(), earlier));
            prop_assume!(random != other);
            prop_assert!(!verifies(&Secret::new(other), &signatures, &id, body.as_bytes(), now));
        }
    }

    #[test]
    fn the_old_secret_signs_until_its_time() {
        let [old, new] = [1, 2].map(|byte| Secret::new([byte; SECRET_BYTES]));
        let until = at(0);
        let secrets = Secrets::from(old.clone()).rotated(new.clone(), until, at(-100));
        let before = until - std::time::Duration::from_secs(1);
        for (now, old_signs) in [(before, true), (until, false)] {
            let signatures = secrets.signatures("m", b"{}", now);
            assert!(verifies(&new, &signatures, "m", b"{}", now));
            assert_eq!(verifies(&old, &signatures, "m", b"{}", now), old_signs);
        }
        assert_eq!(secrets.rotated(old, until, until).previous, None, "a lost secret signs no more");
    }

    #[test]
    fn debug_hides_the_secret() {
        let secrets = Secrets::from(Secret::new([7; SECRET_BYTES]));
        let text = format!("{secrets:?}");
        assert!(!text.contains('7') && !text.contains("Bwc"), "{text}");
    }
}
