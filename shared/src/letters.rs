//! Letters in the bucket, and what a mail is made of: the same for a campaign's chunk, a test and a step of a sequence.
//!
//! A letter never changes under its key, which holds a digest of it: a draft that is edited gets another version, and who
//! sends the old one still finds it.

use crate::domain::address::EmailAddress;
use crate::domain::campaign::Campaign;
use crate::domain::id::{NewsletterId, SubscriberId, Tenant, digest_hex};
use crate::domain::letter::{Letter, LetterError, Letterhead, Recipient, StoredLetter};
use crate::domain::people::Subscriber;
use crate::domain::token::Tokens;
use crate::ports::{Blobs, Mail, PortError};
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

/// Letters kept ready: more campaigns than this are seldom under way together, and a letter is read again in no time.
const KEPT: usize = 8;

/// The key of a version of a letter. Its owner is a campaign, or the newsletter that has it in its sequence.
#[must_use]
pub fn key(owner: impl Display, version: &str) -> String {
    format!("letters/{owner}/{version}.json")
}

/// Writes a letter of this owner, if it is not there, and gives its version.
///
/// # Errors
/// When the bucket does not take it.
pub async fn store(blobs: &dyn Blobs, owner: impl Display, letter: &StoredLetter) -> Result<String, PortError> {
    let body = serde_json::to_string(letter).map_err(|error| PortError::Refused(error.into()))?;
    let version = digest_hex(&[&body]);
    blobs.put_new(&key(owner, &version), body.into_bytes(), "application/json").await?;
    Ok(version)
}

/// Reads a letter.
///
/// # Errors
/// When the bucket cannot be read, or holds no letter under this key.
pub async fn load(blobs: &dyn Blobs, key: &str) -> Result<StoredLetter, PortError> {
    let body = blobs.get(key).await?.ok_or_else(|| corrupt("the letter is not in the bucket"))?;
    serde_json::from_slice(&body).map_err(|_| corrupt("the letter cannot be read"))
}

fn corrupt(what: &'static str) -> PortError {
    PortError::Corrupt(anyhow::anyhow!(what))
}

/// Letters ready to be sent, by key.
pub struct Letters {
    blobs: Arc<dyn Blobs>,
    kept: Mutex<VecDeque<(String, Arc<Ready>)>>,
}

impl Letters {
    /// Letters of this bucket. Reads nothing yet.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, kept: Mutex::default() }
    }

    /// The letter under this key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self, key: &str) -> Result<Arc<Ready>, PortError> {
        if let Some(ready) = self.kept(key) {
            return Ok(ready);
        }
        let ready = Arc::new(Ready::new(load(&*self.blobs, key).await?).map_err(|e| PortError::Corrupt(e.into()))?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key.to_owned(), ready.clone()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(ready)
    }

    fn kept(&self, key: &str) -> Option<Arc<Ready>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(its, _)| its == key).map(|(_, ready)| ready.clone())
    }
}

/// Whom a letter is for.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// Where the mail goes.
    pub email: &'a EmailAddress,
    /// The name, when it is known.
    pub name: Option<&'a str>,
    /// The tags.
    pub tags: &'a [String],
}

impl<'a> From<&'a Subscriber> for Reader<'a> {
    fn from(subscriber: &'a Subscriber) -> Self {
        Self { email: &subscriber.email, name: subscriber.name.as_deref(), tags: &subscriber.tags }
    }
}

/// The links in a mail.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    /// Base of them all, without a slash at its end.
    pub public_url: &'a str,
    /// What ends the subscription: see [`unsubscribe_url`].
    pub unsubscribe_url: &'a str,
    /// Where anybody can read the letter: see [`public_copy`].
    pub archive_url: Option<&'a str>,
}

/// A letter ready to be sent.
pub struct Ready {
    /// What it takes from its newsletter.
    pub head: Letterhead,
    letter: Letter,
}

impl Ready {
    /// Reads the templates.
    ///
    /// # Errors
    /// When one has an error.
    pub fn new(letter: StoredLetter) -> Result<Self, LetterError> {
        Ok(Self { letter: Letter::new(&letter.templates, &letter.head)?, head: letter.head })
    }

    /// The same letter under another head.
    #[must_use]
    pub fn under(&self, head: Letterhead) -> Self {
        Self { letter: self.letter.under(&head), head }
    }

    /// The templates.
    #[must_use]
    pub fn letter(&self) -> &Letter {
        &self.letter
    }

    /// The mail for a reader, with these tags.
    ///
    /// Gmail and Yahoo ask bulk mail for `List-Unsubscribe` with one click (RFC 8058) and for `List-Id` (RFC 2919). SES adds
    /// `Feedback-ID` itself. `Precedence` is left out: no standard knows it, and who answers mail automatically looks at
    /// the `List-` headers (RFC 3834).
    ///
    /// # Errors
    /// When the letter cannot be rendered for this reader.
    pub fn mail(&self, reader: Reader<'_>, links: Links<'_>, tags: Vec<(String, String)>) -> Result<Mail, LetterError> {
        let unsubscribe_url = links.unsubscribe_url;
        let rendered = self.letter.render(&Recipient {
            name: reader.name,
            email: reader.email.as_str(),
            tags: reader.tags,
            unsubscribe_url,
            archive_url: links.archive_url,
        })?;
        let header = |name: &str, value: String| (name.to_owned(), value);
        let mut headers = vec![
            header("List-Unsubscribe", format!("<{unsubscribe_url}>")),
            header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
            header("List-Id", self.list_id()),
        ];
        if links.archive_url.is_some() {
            headers.push(header("List-Archive", format!("<{}>", archive_url(links.public_url, &self.head.newsletter))));
        }
        Ok(Mail {
            from: self.head.from.to_header(),
            reply_to: self.head.reply_to.as_ref().map(|reply_to| reply_to.to_header()),
            to: reader.email.as_str().to_owned(),
            subject: rendered.subject,
            text: rendered.text,
            html: rendered.html,
            headers,
            tags,
            tracked: false,
        })
    }

    /// RFC 2919: a name in the sender's own domain, which stays the same whatever the newsletter is called.
    fn list_id(&self) -> String {
        let list = self.head.newsletter.as_str().replace('_', "-");
        format!("<{list}.{}>", self.head.from.address.domain())
    }
}

/// The mail as one whose opens and clicks SES tracks. Its links that unsubscribe and that lead to the archive are left as they
/// are, by the attribute [`ses:no-track`](https://docs.aws.amazon.com/ses/latest/dg/faqs-metrics.html): who leaves must not
/// have to pass by a tracker. This looks at the links as they are rendered, so whatever expression they were written with;
/// letters are composed with their attributes between double quotes.
#[must_use]
pub fn tracked(mail: Mail, links: Links<'_>) -> Mail {
    let mut html = mail.html;
    for link in [Some(links.unsubscribe_url), links.archive_url].into_iter().flatten() {
        html = html.replace(&format!(" href=\"{link}"), &format!(" ses:no-track href=\"{link}"));
    }
    Mail { html, tracked: true, ..mail }
}

/// The link that ends a subscription, with one click or on a page that asks.
#[must_use]
pub fn unsubscribe_url(tokens: &Tokens, public_url: &str, tenant: &Tenant, subscriber: &SubscriberId) -> String {
    format!("{public_url}/unsubscribe?token={}", tokens.unsubscribe(tenant, subscriber))
}

/// Where a newsletter's archive is.
#[must_use]
pub fn archive_url(public_url: &str, newsletter: &NewsletterId) -> String {
    format!("{public_url}/archive/{newsletter}")
}

/// Whom a letter in the archive is for: nobody in particular. Where a mail has the link that unsubscribes, it leads to `home`.
#[must_use]
pub fn anonymous<'a>(home: &'a str, archive_url: Option<&'a str>) -> Recipient<'a> {
    Recipient { name: None, email: "", tags: &[], unsubscribe_url: home, archive_url }
}

/// Where anybody can read a campaign's letter: nowhere unless its newsletter has an archive. What is written to some of the
/// readers is not for everybody.
#[must_use]
pub fn public_copy(public_url: &str, head: &Letterhead, campaign: &Campaign) -> Option<String> {
    let open = head.archive && campaign.segment.tags_any.is_empty() && campaign.segment.tags_all.is_empty();
    open.then(|| format!("{}/{}", archive_url(public_url, &campaign.newsletter), campaign.id))
}

#[cfg(test)]
#[path = "letters_tests.rs"]
mod tests;
