//! Mail addresses as SES takes them: ASCII, no quoted local part, a domain with a dot.

use super::id::digest_hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest address, in bytes (RFC 5321: a path of 256 less its angle brackets).
pub const MAX_ADDRESS_LEN: usize = 254;
/// Longest name of a person or a sender, in characters.
pub const MAX_NAME_CHARS: usize = 200;

/// Why a text is not an address or a name. It never quotes the text: it would end up in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(&'static str);

/// One address. Its `Debug` shows no address, so that none gets into a log by accident.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads an address: white space around it is dropped, the domain is put in lower case.
    ///
    /// # Errors
    /// When it is not an address SES can deliver to. Quoted local parts, address literals and non-ASCII letters are
    /// refused; a domain in another script must be written in punycode.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidAddress> {
        let text = text.as_ref().trim();
        if text.len() > MAX_ADDRESS_LEN {
            return Err(InvalidAddress("an address has at most 254 characters"));
        }
        if !text.is_ascii() {
            return Err(InvalidAddress("an address has ASCII characters only; write the domain in punycode (xn--...)"));
        }
        let (local, domain) = text.split_once('@').ok_or(InvalidAddress("an address has an @"))?;
        let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c);
        if local.is_empty()
            || local.len() > 64
            || !local.split('.').all(|part| !part.is_empty() && part.chars().all(atom))
        {
            return Err(InvalidAddress("the part before the @ is not valid"));
        }
        let label = |part: &str| {
            !part.is_empty()
                && part.len() <= 63
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if !domain.contains('.') || !domain.split('.').all(label) {
            return Err(InvalidAddress("the domain after the @ is not valid"));
        }
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    /// The address as it is written to.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as it is compared: all in lower case, because no provider of note tells local parts apart by case.
    #[must_use]
    pub fn normalised(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// What follows the @.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }

    /// 32 hex digits that stand for the normalised address within `scope`. One address gives different digests in
    /// different scopes.
    #[must_use]
    pub fn digest(&self, scope: &str) -> String {
        digest_hex(&[scope, &self.normalised()])
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(..)")
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::parse(text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

impl std::str::FromStr for EmailAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        Self::parse(text)
    }
}

/// Reads a person's or a sender's name: trimmed, 1 to [`MAX_NAME_CHARS`] characters, no control characters. An empty
/// text is no name.
///
/// # Errors
/// When it is too long or has a control character (a line break would forge a header).
pub fn parse_name(text: &str) -> Result<Option<String>, InvalidAddress> {
    let text = text.trim();
    if text.chars().count() > MAX_NAME_CHARS {
        return Err(InvalidAddress("a name has at most 200 characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidAddress("a name has no control characters"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A sender: an address, perhaps with a name. Read from `address` or `Name <address>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mailbox {
    /// The name shown beside the address.
    pub name: Option<String>,
    /// The address.
    pub address: EmailAddress,
}

impl Mailbox {
    /// Reads `address` or `Name <address>`; quotes around the name are dropped.
    ///
    /// # Errors
    /// When the address or the name is not valid.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        let Some(inner) = text.strip_suffix('>') else {
            return Ok(Self { name: None, address: EmailAddress::parse(text)? });
        };
        let (name, address) = inner.rsplit_once('<').ok_or(InvalidAddress("a sender is `Name <address>`"))?;
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        if name.contains(['<', '>', '"', '\\']) {
            return Err(InvalidAddress("a sender's name has none of < > \" \\"));
        }
        Ok(Self { name: parse_name(name)?, address: EmailAddress::parse(address)? })
    }

    /// The sender as a header's value: ASCII only, a name in another script as RFC 2047 encoded words.
    #[must_use]
    pub fn to_header(&self) -> String {
        let address = self.address.as_str();
        match &self.name {
            None => address.to_owned(),
            Some(name) if name.is_ascii() => format!("\"{name}\" <{address}>"),
            Some(name) => format!("{} <{address}>", encoded_words(name)),
        }
    }
}

/// RFC 2047 section 2: an encoded word has at most 75 characters, so 45 bytes of text each.
fn encoded_words(text: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= 45 => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join(" ")
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => f.write_str(self.address.as_str()),
            Some(name) => write!(f, "{name} <{}>", self.address.as_str()),
        }
    }
}

impl TryFrom<String> for Mailbox {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::parse(&text)
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_or_refused() {
        for good in ["a@example.com", " Ada.L+x@Mail.Example.ORG ", "o'neil@xn--bcher-kva.example"] {
            assert!(EmailAddress::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "a",
            "a@",
            "@example.com",
            "a@b",
            "a b@example.com",
            "a@b@example.com",
            "a..b@example.com",
            "ä@example.com",
            "\"a\"@example.com",
            "a@-x.com",
            "a@exa_mple.com",
            "a@example.com\r\nBcc: x@example.com",
            &long,
        ] {
            assert!(EmailAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_does_not_make_a_second_address() {
        let one = EmailAddress::parse("Ada@Example.com").unwrap();
        let two = EmailAddress::parse("ada@example.COM").unwrap();
        assert_eq!(one.as_str(), "Ada@example.com");
        assert_eq!(one.digest("x"), two.digest("x"));
        assert_ne!(one.digest("x"), two.digest("y"));
        assert!(!format!("{one:?}").contains("Ada"));
    }

    #[test]
    fn senders_become_ascii_headers() {
        let plain = Mailbox::parse("news@example.com").unwrap();
        assert_eq!(plain.to_header(), "news@example.com");
        let named = Mailbox::parse("The Weekly, Ltd. <news@example.com>").unwrap();
        assert_eq!(named.to_header(), "\"The Weekly, Ltd.\" <news@example.com>");
        assert_eq!(Mailbox::parse(&named.to_string()).unwrap(), named);
        assert_eq!(Mailbox::parse(&named.to_header()).unwrap(), named);
        let umlaut = Mailbox::parse("Mühlbach <news@example.com>").unwrap();
        assert_eq!(umlaut.to_header(), "=?UTF-8?B?TcO8aGxiYWNo?= <news@example.com>");
        assert!(Mailbox::parse("A\nBcc: b@example.com <news@example.com>").is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_again(text in "[a-zA-Z0-9.+_-]{1,20}@[a-zA-Z0-9.-]{1,20}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert_eq!(EmailAddress::parse(address.as_str()).unwrap(), address);
            }
        }

        #[test]
        fn headers_are_printable_ascii(name in "\\PC{1,60}") {
            if let Ok(mailbox) = Mailbox::parse(&format!("{name} <news@example.com>")) {
                prop_assert!(mailbox.to_header().bytes().all(|b| (0x20..0x7f).contains(&b)));
            }
        }
    }
}
