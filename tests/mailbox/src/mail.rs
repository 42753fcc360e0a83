//! A mail as the mailbox keeps it, and the addresses in it.

use std::collections::BTreeMap;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use mail_parser::{HeaderValue, MessageParser};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// One accepted mail, whole. This is also its JSON form, in answers and in the state file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mail {
    /// The message id that `SendEmail` answered.
    pub id: String,
    /// When it was accepted, to the millisecond.
    pub received_at: Timestamp,
    /// The sender as it was given: `a@example.com` or `Name <a@example.com>`.
    pub from: String,
    /// Recipients as they were given.
    pub to: Vec<String>,
    /// Carbon-copy recipients as they were given.
    pub cc: Vec<String>,
    /// Blind-copy recipients as they were given; of a raw message also those whom only its envelope names.
    pub bcc: Vec<String>,
    /// Where answers go.
    pub reply_to: Vec<String>,
    /// The subject, decoded.
    pub subject: String,
    /// Of a simple message its additional headers, of a raw message all of its headers, in their order.
    pub headers: Vec<Header>,
    /// The message tags by name.
    pub tags: BTreeMap<String, String>,
    /// The configuration set it was sent with.
    pub configuration_set: Option<String>,
    /// The plain text part.
    pub text: Option<String>,
    /// The HTML part.
    pub html: Option<String>,
    /// The attached files.
    pub attachments: Vec<Attachment>,
    /// Of a raw message, the MIME message as it was sent (base64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Fields of the request that the mailbox does not interpret (`ListManagementOptions`, `TenantName`, ...), as sent.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
}

/// One header line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The field name.
    #[serde(alias = "Name")]
    pub name: String,
    /// The field value, unfolded.
    #[serde(alias = "Value")]
    pub value: String,
}

/// One attached file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The file name.
    #[serde(alias = "FileName")]
    pub file_name: String,
    /// The MIME type, where it is known.
    #[serde(alias = "ContentType", default)]
    pub content_type: Option<String>,
    /// The id by which an HTML part refers to it.
    #[serde(alias = "ContentId", default)]
    pub content_id: Option<String>,
    /// `ATTACHMENT` or `INLINE`, where it was said.
    #[serde(alias = "ContentDisposition", default)]
    pub disposition: Option<String>,
    /// What it is, in words.
    #[serde(alias = "ContentDescription", default)]
    pub description: Option<String>,
    /// The bytes (base64).
    #[serde(alias = "RawContent")]
    pub content: String,
}

impl Mail {
    /// The addresses of all recipients (to, cc, bcc), bare and in lower case.
    pub fn recipients(&self) -> impl Iterator<Item = String> {
        self.to.iter().chain(&self.cc).chain(&self.bcc).map(|given| bare(given).to_ascii_lowercase())
    }
}

/// Now, cut to the millisecond SES gives its times in.
pub(crate) fn now() -> Timestamp {
    let cut = TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc);
    let now = Timestamp::now();
    now.round(cut).unwrap_or(now)
}

/// A new message id in the form of SES's: the time in hex, a unique part, a counter that is always zero.
pub(crate) fn new_id(at: Timestamp) -> String {
    format!("0100{:012x}-{}-000000", at.as_millisecond().max(0), Uuid::now_v7())
}

/// The address alone, without a display name.
pub(crate) fn bare(given: &str) -> &str {
    let given = given.trim();
    match (given.rfind('<'), given.strip_suffix('>')) {
        (Some(start), Some(without_end)) if start < without_end.len() => without_end[start + 1..].trim(),
        _ => given,
    }
}

/// The part of an address after its last `@`.
pub(crate) fn domain(given: &str) -> &str {
    bare(given).rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// Checks an address as SES does. The error is SES's words for what is wrong; it never quotes the address.
pub(crate) fn check_address(given: &str) -> Result<(), &'static str> {
    let address = bare(given);
    let Some((local, domain)) = address.rsplit_once('@') else { return Err("Missing final '@domain'") };
    if address.len() > 320 {
        return Err("Address length is more than 320 characters long");
    }
    if local.is_empty() {
        return Err("Missing local part before '@domain'");
    }
    if local.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err("Local address contains control or whitespace");
    }
    if !local.is_ascii() {
        return Err("Local address contains non-ASCII characters");
    }
    if local.contains(['@', ',', ';', '<', '>']) && !(local.starts_with('"') && local.ends_with('"')) {
        return Err("Local address contains illegal character");
    }
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !domain.contains('.') || domain.len() > 255 || !domain.split('.').all(is_label) {
        return Err("Domain is missing, has no dot, or contains an illegal character");
    }
    Ok(())
}

/// An address for people to read: encoded words (`=?UTF-8?Q?Zo=C3=AB?=`) decoded.
pub(crate) fn readable(given: &str) -> String {
    if !given.contains("=?") {
        return given.to_owned();
    }
    let line = format!("From: {given}\r\n\r\n");
    let decoded = MessageParser::new().with_address_headers().parse(line.as_bytes()).and_then(|message| {
        let HeaderValue::Address(list) = message.header("From")? else { return None };
        let first = list.first()?;
        Some(format!("{} <{}>", first.name()?, first.address()?))
    });
    decoded.unwrap_or_else(|| given.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_beside_its_display_name() {
        for (given, wanted) in [
            ("a@example.com", "a@example.com"),
            (" a@example.com ", "a@example.com"),
            ("Ann <a@example.com>", "a@example.com"),
            ("\"O'Neil, Ann <x>\" <a@example.com>", "a@example.com"),
            ("<a@example.com>", "a@example.com"),
            ("broken <", "broken <"),
            ("><", "><"),
        ] {
            assert_eq!(bare(given), wanted, "{given}");
        }
    }

    #[test]
    fn addresses_are_checked() {
        for good in ["a@example.com", "a+b.c@mail.example.org", "Ann <a@example.com>", "a@xn--bcher-kva.example"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(320));
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@localhost",
            "a b@example.com",
            "a\nb@example.com",
            "ä@example.com",
            "a@exa mple.com",
            "a@b@example.com",
            "a@.example.com",
            "a@-x.example.com",
            "a@bücher.example",
            "a@example.com, b@example.com",
            &long,
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn encoded_names_become_readable() {
        assert_eq!(readable("=?UTF-8?Q?Zo=C3=AB?= <zoe@example.com>"), "Zoë <zoe@example.com>");
        assert_eq!(readable("Ann <a@example.com>"), "Ann <a@example.com>");
        assert_eq!(readable("=?broken"), "=?broken");
    }

    #[test]
    fn ids_have_the_form_of_ses() {
        let at: Timestamp = "2022-01-04T16:30:39.978Z".parse().unwrap();
        let id = new_id(at);
        assert!(id.starts_with("0100017e25edab6a-") && id.ends_with("-000000"), "{id}");
        assert_ne!(id, new_id(at));
    }
}
