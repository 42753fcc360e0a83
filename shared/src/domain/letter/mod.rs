//! Letters as they are sent: a subject, an HTML part and a text part, each a plain template, with what they take from their
//! newsletter.
//!
//! Templates are [minijinja](https://docs.rs/minijinja), strict: what does not exist is an error. They may use
//! [`VARIABLES`]; values are escaped in HTML. What an author writes as MJML, HTML or Markdown is made into such templates
//! once, by the API; whoever sends only renders.

use super::address::Mailbox;
use super::id::NewsletterId;
use super::people::Newsletter;
use serde::{Deserialize, Serialize};

mod render;

pub use render::{Letter, Recipient, Rendered, environment, template_error};

/// What a template may use.
pub const VARIABLES: [&str; 7] =
    ["name", "email", "tags", "unsubscribe_url", "archive_url", "newsletter.name", "newsletter.postal_address"];

/// Longest part, in bytes, as written and as rendered. Gmail cuts a letter at [`GMAIL_CUTS`] already.
pub const MAX_PART: usize = 512 * 1024;
/// Gmail shows so many bytes of a letter's HTML and hides the rest, and with it the link that unsubscribes.
pub const GMAIL_CUTS: usize = 102 * 1024;

/// A letter's body as its author wrote it: a template in one of three languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// [MJML](https://documentation.mjml.io/).
    Mjml(String),
    /// HTML, a whole document or a part of one.
    Html(String),
    /// [CommonMark](https://commonmark.org/) with tables and strikethrough; HTML in it stays.
    Markdown(String),
}

impl Body {
    /// The stable name of its language.
    #[must_use]
    pub fn language(&self) -> &'static str {
        match self {
            Self::Mjml(_) => "mjml",
            Self::Html(_) => "html",
            Self::Markdown(_) => "markdown",
        }
    }

    /// What was written.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::Mjml(source) | Self::Html(source) | Self::Markdown(source) => source,
        }
    }
}

/// A letter as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manuscript {
    /// The subject, a template.
    pub subject: String,
    /// The body.
    pub body: Body,
    /// The text part, a template; made from the body when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A letter as it is rendered: three plain templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Templates {
    /// The subject.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The text part.
    pub text: String,
}

/// What a letter takes from its newsletter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letterhead {
    /// The newsletter.
    pub newsletter: NewsletterId,
    /// Its title.
    pub name: String,
    /// The sender's postal address.
    pub postal_address: String,
    /// The From header.
    pub from: Mailbox,
    /// Where replies go, when not to `from`.
    pub reply_to: Option<Mailbox>,
    /// Whether its letters are shown in a public archive.
    pub archive: bool,
}

impl Letterhead {
    /// What a letter takes from this newsletter.
    #[must_use]
    pub fn of(newsletter: &Newsletter) -> Self {
        Self {
            newsletter: newsletter.id.clone(),
            name: newsletter.name.clone(),
            postal_address: newsletter.postal_address.clone(),
            from: newsletter.from.clone(),
            reply_to: newsletter.reply_to.clone(),
            archive: newsletter.archive,
        }
    }
}

/// A letter as it is kept in the bucket. Whoever sends it needs nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLetter {
    /// What its author wrote.
    pub manuscript: Manuscript,
    /// What was made of it.
    pub templates: Templates,
    /// What it takes from its newsletter.
    pub head: Letterhead,
}

/// A part of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The subject.
    Subject,
    /// The HTML part.
    Html,
    /// The text part.
    Text,
}

impl Part {
    /// The stable name, by which its template is known too.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Html => "html",
            Self::Text => "text",
        }
    }
}

/// What is wrong with a letter, and what to do about it. It quotes no recipient's values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", part.as_str())]
pub struct LetterError {
    /// In which part.
    pub part: Part,
    /// The byte of the part's template where it shows, when known.
    pub offset: Option<usize>,
    /// The problem.
    pub problem: String,
}

impl LetterError {
    /// A problem of a whole part.
    #[must_use]
    pub fn of(part: Part, problem: impl Into<String>) -> Self {
        Self { part, offset: None, problem: problem.into() }
    }
}
