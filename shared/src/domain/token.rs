//! Tokens in public links. A token says what it may be used for and on what, names nobody, and is signed, so it needs no
//! record of its own. One that unsubscribes does not expire: its link has to work years later. One that confirms says when
//! it was asked for, and whoever opens it decides by [`SignUp::confirmed_by`](super::sign_up::SignUp::confirmed_by).
//!
//! Layout, before base64url: version (1 byte), purpose (1), key id (8), length of tenant (1), tenant, length of subscriber
//! id (1), subscriber id, in a token that confirms the milliseconds since 1970 (8, big-endian), HMAC-SHA256 over all of
//! that (32).

use super::{
    id::{SubscriberId, Tenant},
    key::hex,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use std::fmt;

/// How many random bytes make a signing key: 8 for its id, 32 for its secret.
pub const TOKEN_KEY_BYTES: usize = 40;

/// Longest token, in characters. Anything longer is refused unread.
pub const MAX_TOKEN_LEN: usize = 400;

const VERSION: u8 = 1;
const UNSUBSCRIBE: u8 = 1;
const CONFIRM: u8 = 2;
const ID_LEN: usize = 8;
const MAC_LEN: usize = 32;

/// The token is not one of ours: garbled, tampered with, or signed by a key that is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

/// A key that signs tokens. `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey {
    id: [u8; ID_LEN],
    secret: [u8; 32],
}

impl TokenKey {
    /// A key from random bytes drawn by the caller.
    #[must_use]
    pub fn generate(random: &[u8; TOKEN_KEY_BYTES]) -> Self {
        let mut key = Self { id: [0; ID_LEN], secret: [0; 32] };
        key.id.copy_from_slice(&random[..ID_LEN]);
        key.secret.copy_from_slice(&random[ID_LEN..]);
        key
    }

    /// The key's id as 16 hex digits; no secret.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// The bytes it was made from, for the table: id, then secret.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.id.as_slice(), &self.secret].concat()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.chain_update(message)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.id())
    }
}

/// The signing keys: the current one signs, all of them verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeys {
    /// The key that signs.
    pub current: TokenKey,
    /// Keys that signed earlier; their tokens stay valid.
    pub earlier: Vec<TokenKey>,
}

impl From<TokenKey> for TokenKeys {
    fn from(current: TokenKey) -> Self {
        Self { current, earlier: Vec::new() }
    }
}

/// What a valid token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// End this subscription.
    Unsubscribe {
        /// Whose subscriber it is.
        tenant: Tenant,
        /// The subscription.
        subscriber: SubscriberId,
    },
    /// Confirm this subscription.
    Confirm {
        /// Whose subscriber it is.
        tenant: Tenant,
        /// The subscription.
        subscriber: SubscriberId,
        /// When it was asked for.
        asked_at: Timestamp,
    },
}

/// Signs and opens tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    keys: TokenKeys,
}

impl Tokens {
    /// Signs with the current key and opens with all.
    #[must_use]
    pub fn new(keys: TokenKeys) -> Self {
        Self { keys }
    }

    /// The token that ends this subscription: at most [`MAX_TOKEN_LEN`] characters of `[A-Za-z0-9_-]`. The same
    /// subscription and key give the same token.
    #[must_use]
    pub fn unsubscribe(&self, tenant: &Tenant, subscriber: &SubscriberId) -> String {
        self.sign(UNSUBSCRIBE, tenant, subscriber, &[])
    }

    /// The token that confirms this subscription, as it was asked for at `asked_at`, to the millisecond. The same length and
    /// alphabet.
    #[must_use]
    pub fn confirm(&self, tenant: &Tenant, subscriber: &SubscriberId, asked_at: Timestamp) -> String {
        self.sign(CONFIRM, tenant, subscriber, &asked_at.as_millisecond().to_be_bytes())
    }

    fn sign(&self, purpose: u8, tenant: &Tenant, subscriber: &SubscriberId, more: &[u8]) -> String {
        let key = &self.keys.current;
        let mut token = vec![VERSION, purpose];
        token.extend(key.id);
        for part in [tenant.as_str(), subscriber.as_str()] {
            token.push(u8::try_from(part.len()).expect("identifiers are at most 128 bytes"));
            token.extend(part.as_bytes());
        }
        token.extend(more);
        let mac = key.mac(&token).finalize().into_bytes();
        token.extend(mac);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What the token allows.
    ///
    /// # Errors
    /// When it is not a token of ours. Nothing in it is believed before its signature is checked.
    pub fn open(&self, token: &str) -> Result<Claim, InvalidToken> {
        let bytes = decode(token)?;
        let (message, mac) = bytes.split_last_chunk::<MAC_LEN>().ok_or(InvalidToken)?;
        let (id, claim) = parse(message)?;
        let mut keys = std::iter::once(&self.keys.current).chain(&self.keys.earlier);
        let key = keys.find(|key| key.id == *id).ok_or(InvalidToken)?;
        key.mac(message).verify_slice(mac).map_err(|_| InvalidToken)?;
        Ok(claim)
    }
}

/// Whether a token has the form of one of ours: nothing of it was lost on the way. It may still be anybody's.
#[must_use]
pub fn is_whole(token: &str) -> bool {
    let message = |bytes: &[u8]| Ok(parse(bytes.split_last_chunk::<MAC_LEN>().ok_or(InvalidToken)?.0).is_ok());
    decode(token).and_then(|bytes| message(&bytes)).unwrap_or(false)
}

fn decode(token: &str) -> Result<Vec<u8>, InvalidToken> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(InvalidToken);
    }
    URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidToken)
}

/// Takes a token apart, without its signature: the id of its key, and what it says it allows.
fn parse(message: &[u8]) -> Result<(&[u8; ID_LEN], Claim), InvalidToken> {
    let [VERSION, purpose, rest @ ..] = message else { return Err(InvalidToken) };
    let (id, rest) = rest.split_first_chunk::<ID_LEN>().ok_or(InvalidToken)?;
    let (tenant, rest) = part(rest)?;
    let (subscriber, rest) = part(rest)?;
    let tenant = Tenant::parse(tenant).map_err(|_| InvalidToken)?;
    let subscriber = SubscriberId::parse(subscriber).map_err(|_| InvalidToken)?;
    let claim = match (*purpose, rest) {
        (UNSUBSCRIBE, []) => Claim::Unsubscribe { tenant, subscriber },
        (CONFIRM, rest) => {
            let at = i64::from_be_bytes(rest.try_into().map_err(|_| InvalidToken)?);
            let asked_at = Timestamp::from_millisecond(at).map_err(|_| InvalidToken)?;
            Claim::Confirm { tenant, subscriber, asked_at }
        }
        _ => return Err(InvalidToken),
    };
    Ok((id, claim))
}

fn part(bytes: &[u8]) -> Result<(&str, &[u8]), InvalidToken> {
    let (len, rest) = bytes.split_first().ok_or(InvalidToken)?;
    let (text, rest) = rest.split_at_checked(usize::from(*len)).ok_or(InvalidToken)?;
    Ok((std::str::from_utf8(text).map_err(|_| InvalidToken)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::generate(&[byte; TOKEN_KEY_BYTES])
    }

    fn claim(tenant: &str, subscriber: &str) -> (Tenant, SubscriberId) {
        (Tenant::parse(tenant).unwrap(), SubscriberId::parse(subscriber).unwrap())
    }

    #[test]
    fn a_token_outlives_the_key_that_signed_it_being_current() {
        let (tenant, subscriber) = claim("acme", "sub_1");
        let token = Tokens::new(key(1).into()).unsubscribe(&tenant, &subscriber);
        let rotated = Tokens::new(TokenKeys { current: key(2), earlier: vec![key(1)] });
        assert_eq!(rotated.open(&token), Ok(Claim::Unsubscribe { tenant, subscriber }));
        assert_eq!(Tokens::new(key(2).into()).open(&token), Err(InvalidToken));
    }

    #[test]
    fn the_longest_identifiers_fit() {
        let (tenant, subscriber) = claim(&"t".repeat(64), &format!("sub_{}", "s".repeat(124)));
        let tokens = Tokens::new(key(1).into());
        let token = tokens.unsubscribe(&tenant, &subscriber);
        assert!(token.len() <= MAX_TOKEN_LEN, "{}", token.len());
        assert!(tokens.open(&token).is_ok());
    }

    #[test]
    fn what_was_cut_is_told_from_what_somebody_else_signed() {
        let (tenant, subscriber) = claim("acme", "sub_1");
        let theirs = Tokens::new(key(9).into());
        let at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        for token in [theirs.unsubscribe(&tenant, &subscriber), theirs.confirm(&tenant, &subscriber, at)] {
            assert!(is_whole(&token));
            assert_eq!(Tokens::new(key(1).into()).open(&token), Err(InvalidToken));
            for cut in 1..token.len() {
                assert!(!is_whole(&token[..token.len() - cut]), "{cut}");
            }
        }
        assert!(!is_whole("") && !is_whole(&"A".repeat(MAX_TOKEN_LEN + 1)));
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", key(9)), "TokenKey(0909090909090909)");
    }

    proptest! {
        #[test]
        fn a_token_reads_back(tenant in "[A-Za-z0-9_-]{1,64}", tail in "[A-Za-z0-9_-]{1,64}", seed: u8) {
            let (tenant, subscriber) = claim(&tenant, &format!("sub_{tail}"));
            let tokens = Tokens::new(key(seed).into());
            let token = tokens.unsubscribe(&tenant, &subscriber);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(tokens.open(&token), Ok(Claim::Unsubscribe { tenant, subscriber }));
        }

        #[test]
        fn a_token_that_confirms_reads_back_and_unsubscribes_nobody(tail in "[A-Za-z0-9_-]{1,124}", ms in 0i64..10_000_000_000_000) {
            let (tenant, subscriber) = claim(&"t".repeat(64), &format!("sub_{tail}"));
            let asked_at = Timestamp::from_millisecond(ms).unwrap();
            let tokens = Tokens::new(key(1).into());
            let token = tokens.confirm(&tenant, &subscriber, asked_at);
            prop_assert!(token.len() <= MAX_TOKEN_LEN);
            prop_assert_eq!(tokens.open(&token), Ok(Claim::Confirm { tenant, subscriber, asked_at }));
        }

        #[test]
        fn any_changed_byte_is_refused(tail in "[a-z0-9]{1,40}", at: prop::sample::Index, to in "[ -~]") {
            let (tenant, subscriber) = claim("acme", &format!("sub_{tail}"));
            let tokens = Tokens::new(key(3).into());
            let token = tokens.unsubscribe(&tenant, &subscriber);
            let at = at.index(token.len());
            let tampered = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assert_eq!(tokens.open(&tampered).is_ok(), tampered == token);
        }

        #[test]
        fn any_changed_bit_is_refused(at: prop::sample::Index) {
            let (tenant, subscriber) = claim("acme", "sub_0123456789abcdef");
            let tokens = Tokens::new(key(3).into());
            let mut bytes = URL_SAFE_NO_PAD.decode(tokens.unsubscribe(&tenant, &subscriber)).unwrap();
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(tokens.open(&URL_SAFE_NO_PAD.encode(bytes)), Err(InvalidToken));
        }

        #[test]
        fn cut_or_extended_is_refused(cut in 0_usize..120, more in "[A-Za-z0-9_-]{1,8}") {
            let (tenant, subscriber) = claim("acme", "sub_0123456789abcdef");
            let tokens = Tokens::new(key(3).into());
            let token = tokens.unsubscribe(&tenant, &subscriber);
            prop_assert_eq!(tokens.open(&format!("{token}{more}")), Err(InvalidToken));
            if cut < token.len() {
                prop_assert_eq!(tokens.open(&token[..cut]), Err(InvalidToken));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,500}", bytes: Vec<u8>) {
            let tokens = Tokens::new(key(3).into());
            let _ = tokens.open(&text);
            let _ = tokens.open(&URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}
