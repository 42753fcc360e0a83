//! What a raw (MIME) message says of itself.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Address, Message, MessageParser, MimeHeaders};

use crate::mail::{Attachment, Header};

/// The fields of a parsed MIME message that a [`crate::Mail`] is made of.
pub(crate) struct RawMessage {
    pub(crate) from: Option<String>,
    pub(crate) to: Vec<String>,
    pub(crate) cc: Vec<String>,
    pub(crate) bcc: Vec<String>,
    pub(crate) reply_to: Vec<String>,
    pub(crate) subject: String,
    pub(crate) headers: Vec<Header>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) configuration_set: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) html: Option<String>,
    pub(crate) attachments: Vec<Attachment>,
}

/// Reads a MIME message. `None` when it has no header.
pub(crate) fn parse(bytes: &[u8]) -> Option<RawMessage> {
    let message = MessageParser::default().parse(bytes)?;
    if message.headers().is_empty() {
        return None;
    }
    let part = |html: bool| {
        let mut parts: Box<dyn Iterator<Item = _>> =
            if html { Box::new(message.html_bodies()) } else { Box::new(message.text_bodies()) };
        // The parser offers the text part as HTML and the reverse where one is missing; only what was sent is kept.
        parts.find(|part| part.is_text() && part.is_text_html() == html)?.text_contents().map(str::to_owned)
    };
    let headers: Vec<Header> =
        message.headers_raw().map(|(name, value)| Header { name: name.to_owned(), value: unfold(value) }).collect();
    let own = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| &*h.value);
    Some(RawMessage {
        from: addresses(message.from()).into_iter().next(),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        bcc: addresses(message.bcc()),
        reply_to: addresses(message.reply_to()),
        subject: message.subject().unwrap_or_default().to_owned(),
        tags: own("X-SES-MESSAGE-TAGS").map(header_tags).unwrap_or_default(),
        configuration_set: own("X-SES-CONFIGURATION-SET").map(str::to_owned),
        text: part(false),
        html: part(true),
        attachments: attachments(&message),
        headers,
    })
}

fn addresses(given: Option<&Address<'_>>) -> Vec<String> {
    let Some(given) = given else { return Vec::new() };
    given
        .iter()
        .filter_map(|one| match (one.name(), one.address()?) {
            (Some(name), address) => Some(format!("{name} <{address}>")),
            (None, address) => Some(address.to_owned()),
        })
        .collect()
}

fn attachments(message: &Message<'_>) -> Vec<Attachment> {
    message
        .attachments()
        .map(|part| Attachment {
            file_name: part.attachment_name().unwrap_or("unnamed").to_owned(),
            content_type: part.content_type().map(|kind| match kind.subtype() {
                Some(subtype) => format!("{}/{subtype}", kind.ctype()),
                None => kind.ctype().to_owned(),
            }),
            content_id: part.content_id().map(str::to_owned),
            disposition: part.content_disposition().map(|given| given.ctype().to_ascii_uppercase()),
            description: part.content_description().map(str::to_owned),
            content: STANDARD.encode(part.contents()),
        })
        .collect()
}

/// `X-SES-MESSAGE-TAGS: name=value, name=value`
fn header_tags(value: &str) -> BTreeMap<String, String> {
    value
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// A header value on one line, as RFC 5322 unfolds it: the line break goes, the white space after it stays.
fn unfold(value: &str) -> String {
    value.replace("\r\n", "").replace('\n', "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: &str = concat!(
        "From: =?UTF-8?Q?Zo=C3=AB?= <zoe@example.com>\r\nTo: a@example.com, Bo <b@example.com>\r\nReply-To: r@example.com\r\n",
        "Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\nX-SES-CONFIGURATION-SET: letters\r\n",
        "X-SES-MESSAGE-TAGS: campaign=cmp_1,\r\n recipient=sub_2\r\nMIME-Version: 1.0\r\n",
        "Content-Type: multipart/mixed; boundary=o\r\n\r\n",
        "--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n",
        "--i\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHällo\r\n",
        "--i\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hällo</p>\r\n--i--\r\n",
        "--o\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--o--\r\n",
    );

    #[test]
    fn a_mime_message_is_read_whole() {
        let raw = parse(LETTER.as_bytes()).unwrap();
        assert_eq!(raw.from.as_deref(), Some("Zoë <zoe@example.com>"));
        assert_eq!(raw.to, ["a@example.com", "Bo <b@example.com>"]);
        assert_eq!(raw.reply_to, ["r@example.com"]);
        assert_eq!(raw.subject, "Grüße");
        assert_eq!(raw.configuration_set.as_deref(), Some("letters"));
        assert_eq!(raw.tags["campaign"], "cmp_1");
        assert_eq!(raw.tags["recipient"], "sub_2");
        assert_eq!(raw.text.as_deref().map(str::trim), Some("Hällo"));
        assert_eq!(raw.html.as_deref().map(str::trim), Some("<p>Hällo</p>"));
        assert_eq!(raw.attachments.len(), 1);
        assert_eq!(raw.attachments[0].file_name, "a.pdf");
        assert_eq!(raw.attachments[0].content, "JVBERg==");
        assert!(raw.headers.iter().any(|h| h.name == "Subject" && h.value == "=?UTF-8?B?R3LDvMOfZQ==?="));
    }

    #[test]
    fn a_missing_part_is_not_made_up() {
        let raw = parse(b"From: a@example.com\r\nTo: b@example.com\r\nSubject: s\r\n\r\nonly text\r\n").unwrap();
        assert_eq!(raw.text.as_deref().map(str::trim), Some("only text"));
        assert_eq!(raw.html, None);
        let raw = parse(b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n<p>only</p>\r\n").unwrap();
        assert_eq!((raw.text, raw.html.as_deref().map(str::trim)), (None, Some("<p>only</p>")));
        assert!(parse(b"").is_none());
    }
}
