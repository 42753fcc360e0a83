//! What stands for an address or another trait of a person where the thing itself must not be kept. Without the key nobody
//! can tell whom it stands for, not even by trying all addresses there are.

use super::key::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// How many random bytes make a [`HashKey`].
pub const HASH_KEY_BYTES: usize = 32;

/// The key of all keyed hashes. It is never changed: every hash made with it would be lost. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; HASH_KEY_BYTES]);

impl HashKey {
    /// A key from random bytes drawn by the caller.
    #[must_use]
    pub fn generate(random: &[u8; HASH_KEY_BYTES]) -> Self {
        Self(*random)
    }

    /// The bytes it was made from, for the table.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// 128 bits of HMAC-SHA256 over the parts, as 32 hex digits. Each part is preceded by its length, so that no two lists
    /// of parts give the same input. The first part names the use, so that hashes of different uses cannot be compared.
    #[must_use]
    pub fn hash(&self, parts: &[&str]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes()[..16])
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_key_and_on_every_part() {
        let key = HashKey::generate(&[7; HASH_KEY_BYTES]);
        let hash = key.hash(&["use", "tenant", "ada@example.com"]);
        assert_eq!(hash.len(), 32);
        assert_eq!(hash, key.hash(&["use", "tenant", "ada@example.com"]));
        assert_ne!(hash, key.hash(&["use", "tenantada", "@example.com"]));
        assert_ne!(hash, key.hash(&["other", "tenant", "ada@example.com"]));
        assert_ne!(hash, HashKey::generate(&[8; HASH_KEY_BYTES]).hash(&["use", "tenant", "ada@example.com"]));
        assert_eq!(format!("{key:?}"), "HashKey(..)");
    }
}
