//! Letters: a subject, an HTML part and a text part with placeholders, checked before anybody gets one.
//!
//! Templates are [minijinja](https://docs.rs/minijinja), strict: a placeholder that does not exist is an error. They may
//! use `name` (empty when unknown), `email`, `unsubscribe_url`, `newsletter.name` and `newsletter.postal_address`; values
//! are escaped in HTML.

use super::address::Mailbox;
use super::id::CampaignId;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

/// Most steps one rendering may take: enough for any letter, too few for an endless loop to matter.
const FUEL: u64 = 200_000;
/// Longest part, in bytes, before and after rendering. Gmail cuts a letter at 102 KB already.
const MAX_PART: usize = 512 * 1024;
/// Longest subject, in characters, after rendering.
const MAX_SUBJECT_CHARS: usize = 250;
/// Where the text made from HTML is wrapped, in columns.
const TEXT_WIDTH: usize = 76;

/// What a campaign sends, with all that it takes from its newsletter, as it was when the campaign was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterSource {
    /// The subject.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The text part; made from the HTML when `None`.
    pub text: Option<String>,
    /// The newsletter's title.
    pub newsletter_name: String,
    /// The sender's postal address.
    pub postal_address: String,
    /// The From header.
    pub from: Mailbox,
    /// Where replies go, when not to `from`.
    pub reply_to: Option<Mailbox>,
}

impl LetterSource {
    /// The key of a campaign's letter in the bucket.
    #[must_use]
    pub fn blob_key(campaign: &CampaignId) -> String {
        format!("letters/{campaign}.json")
    }
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
    /// The stable name, by which its template is known too: HTML's ending turns escaping on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Html => "html",
            Self::Text => "text",
        }
    }
}

/// What is wrong with a letter, and what to do about it. It quotes nothing but the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}", part.as_str(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct LetterError {
    /// In which part.
    pub part: Part,
    /// On which line, from 1, when known.
    pub line: Option<usize>,
    /// The problem.
    pub problem: String,
}

/// The recipient's values.
#[derive(Clone, Copy)]
pub struct Recipient<'a> {
    /// The name; `None` renders as nothing.
    pub name: Option<&'a str>,
    /// The address.
    pub email: &'a str,
    /// The link that unsubscribes: a URL of characters that HTML need not escape.
    pub unsubscribe_url: &'a str,
}

/// A letter for one recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The subject, one line.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The text part.
    pub text: String,
}

/// A letter ready to be rendered. Build it once for each campaign and process.
#[derive(Debug)]
pub struct Letter {
    templates: Environment<'static>,
    newsletter_name: String,
    postal_address: String,
    /// Whether there is a text template. If not, each recipient's text is made from their HTML.
    has_text: bool,
}

impl Letter {
    /// Reads and checks a letter.
    ///
    /// # Errors
    /// When a template has an error, uses a placeholder that does not exist, or lacks what the law wants in a letter:
    /// the link that unsubscribes and the postal address.
    pub fn compile(source: &LetterSource) -> Result<Self, LetterError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        templates.set_auto_escape_callback(|name| {
            if name == Part::Html.as_str() { AutoEscape::Html } else { AutoEscape::None }
        });
        let mut letter = Self {
            templates,
            newsletter_name: source.newsletter_name.clone(),
            postal_address: source.postal_address.clone(),
            has_text: false,
        };
        letter.add(Part::Subject, source.subject.clone())?;
        letter.add(Part::Html, source.html.clone())?;
        if let Some(text) = &source.text {
            letter.add(Part::Text, text.clone())?;
            letter.has_text = true;
        }
        letter.preflight()?;
        if !letter.has_text {
            letter.derive_text(&source.html)?;
        }
        Ok(letter)
    }

    fn add(&mut self, part: Part, source: String) -> Result<(), LetterError> {
        if source.len() > MAX_PART {
            return Err(refused(part, "it is longer than 512 KiB"));
        }
        if source.trim().is_empty() {
            return Err(refused(part, "it is empty"));
        }
        self.templates.add_template_owned(part.as_str(), source).map_err(|error| template_error(part, &error))
    }

    /// Renders for two invented recipients, one of them without a name, and looks for what must be there.
    fn preflight(&self) -> Result<(), LetterError> {
        for name in [Some("Ada"), None] {
            let html = self.part(Part::Html, &sample(name), SAMPLE_ADDRESS)?;
            self.one_line(&sample(name))?;
            if self.has_text {
                self.part(Part::Text, &sample(name), SAMPLE_ADDRESS)?;
            }
            for (value, placeholder) in [(SAMPLE_URL, "unsubscribe_url"), (SAMPLE_ADDRESS, "newsletter.postal_address")]
            {
                if !html.contains(value) {
                    let problem = format!("every letter must show it: write {{{{ {placeholder} }}}} where it belongs");
                    return Err(refused(Part::Html, &problem));
                }
            }
        }
        Ok(())
    }

    /// Makes a text template from the HTML one by carrying the placeholders through as words. Where that gives another
    /// text than the rendered HTML would, there is no template, and each recipient's text is made from their HTML.
    fn derive_text(&mut self, html: &str) -> Result<(), LetterError> {
        let Some(template) = text_template(html) else { return Ok(()) };
        if self.templates.add_template_owned(Part::Text.as_str(), template).is_err() {
            return Ok(());
        }
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rendered = self.part(Part::Html, &sample(Some("Ada")), SAMPLE_ADDRESS)?;
        self.has_text = self
            .part(Part::Text, &sample(Some("Ada")), SAMPLE_ADDRESS)
            .is_ok_and(|text| words(&text) == words(&plain_text(&rendered)));
        Ok(())
    }

    /// Renders the letter for a recipient.
    ///
    /// # Errors
    /// When a template cannot be rendered with these values. The error does not show them.
    pub fn render(&self, recipient: &Recipient<'_>) -> Result<Rendered, LetterError> {
        let html = self.part(Part::Html, recipient, &self.postal_address)?;
        let mut text =
            if self.has_text { self.part(Part::Text, recipient, &self.postal_address)? } else { plain_text(&html) };
        if !text.contains(recipient.unsubscribe_url) || !words_in(&text, &self.postal_address) {
            text = format!(
                "{}\n\n-- \n{}\nUnsubscribe: {}\n",
                text.trim_end(),
                self.postal_address,
                recipient.unsubscribe_url
            );
        }
        Ok(Rendered { subject: self.one_line(recipient)?, html, text })
    }

    fn part(&self, part: Part, recipient: &Recipient<'_>, postal_address: &str) -> Result<String, LetterError> {
        let values = context! {
            name => recipient.name.unwrap_or_default(),
            email => recipient.email,
            unsubscribe_url => Value::from_safe_string(recipient.unsubscribe_url.to_owned()),
            newsletter => context! { name => self.newsletter_name.as_str(), postal_address },
        };
        let rendered = self
            .templates
            .get_template(part.as_str())
            .and_then(|template| template.render(values))
            .map_err(|error| template_error(part, &error))?;
        if rendered.len() > MAX_PART { Err(refused(part, "it renders to more than 512 KiB")) } else { Ok(rendered) }
    }

    /// The subject without line breaks, which would begin another header.
    fn one_line(&self, recipient: &Recipient<'_>) -> Result<String, LetterError> {
        let subject = self.part(Part::Subject, recipient, &self.postal_address)?;
        let subject = subject.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let subject = subject.collect::<Vec<_>>().join(" ");
        match subject.chars().count() {
            0 => Err(refused(Part::Subject, "it is empty for some recipients")),
            1..=MAX_SUBJECT_CHARS => Ok(subject),
            _ => Err(refused(Part::Subject, "it is longer than 250 characters")),
        }
    }
}

const SAMPLE_URL: &str = "https://example.com/unsubscribe?token=sample";
const SAMPLE_ADDRESS: &str = "1 Sample Street, Sampletown";

fn sample(name: Option<&'static str>) -> Recipient<'static> {
    Recipient { name, email: "ada@example.com", unsubscribe_url: SAMPLE_URL }
}

fn refused(part: Part, problem: &str) -> LetterError {
    LetterError { part, line: None, problem: problem.to_owned() }
}

fn template_error(part: Part, error: &minijinja::Error) -> LetterError {
    let problem = match error.kind() {
        ErrorKind::UndefinedError => "a placeholder does not exist; there are name, email, unsubscribe_url, \
                                      newsletter.name and newsletter.postal_address"
            .to_owned(),
        ErrorKind::OutOfFuel => "it takes too many steps: is there an endless loop?".to_owned(),
        // What a syntax error says is about the template; what any other says may hold a recipient's value.
        ErrorKind::SyntaxError => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        kind => kind.to_string(),
    };
    LetterError { part, line: error.line(), problem }
}

fn plain_text(html: &str) -> String {
    html2text::config::plain()
        .no_table_borders()
        .allow_width_overflow()
        .string_from_read(html.as_bytes(), TEXT_WIDTH)
        .unwrap_or_default()
}

/// The text of an HTML template with its `{{ placeholders }}` in place. `None` when it has blocks or comments, whose
/// place in the text cannot be told, or when a placeholder got lost.
fn text_template(html: &str) -> Option<String> {
    if html.contains("{%") || html.contains("{#") {
        return None;
    }
    let mut marked = String::with_capacity(html.len());
    let mut placeholders: Vec<(String, &str)> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find("{{") {
        let length = rest[start..].find("}}")? + 2;
        // A word that no letter has, and no other such word begins with.
        let word = format!("zq{}v{}qz", placeholders.len(), html.len());
        marked.push_str(&rest[..start]);
        marked.push_str(&word);
        placeholders.push((word, &rest[start..start + length]));
        rest = &rest[start + length..];
    }
    marked.push_str(rest);
    if placeholders.iter().any(|(word, _)| html.contains(word)) {
        return None;
    }
    let mut text = plain_text(&marked);
    for (word, placeholder) in placeholders {
        text = text.replace(&word, placeholder);
    }
    Some(text)
}

/// Whether the words of `wanted` stand in `text` in this order, however lines are broken.
fn words_in(text: &str, wanted: &str) -> bool {
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined(text).contains(&joined(wanted))
}

#[cfg(test)]
#[path = "letter_tests.rs"]
mod tests;
