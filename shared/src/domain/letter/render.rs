//! Rendering: the same for a campaign, a test, a preview and the archive.

use super::{LetterError, Letterhead, MAX_PART, Part, Templates, VARIABLES};
use minijinja::value::{Object, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Most steps one rendering may take: enough for any letter, too few for an endless loop to matter.
const FUEL: u64 = 200_000;
/// Most bytes, and most values, that `join` takes.
const MAX_JOINED: usize = 16 << 10;
/// Longest subject, in characters, after rendering.
const MAX_SUBJECT_CHARS: usize = 250;

/// The recipient's values.
#[derive(Clone, Copy, Default)]
pub struct Recipient<'a> {
    /// The name; `None` renders as nothing.
    pub name: Option<&'a str>,
    /// The address.
    pub email: &'a str,
    /// The tags.
    pub tags: &'a [String],
    /// The link that unsubscribes: a URL of characters that HTML need not escape.
    pub unsubscribe_url: &'a str,
    /// Where anybody can read the letter, of the same characters; `None` renders as nothing.
    pub archive_url: Option<&'a str>,
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
#[derive(Debug, Clone)]
pub struct Letter {
    templates: Environment<'static>,
    newsletter: Value,
    postal_address: Value,
}

/// The environment in which templates are read and rendered. A part's name decides whether its values are escaped.
#[must_use]
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // Errors must carry no values, and the functions nothing that is for developers.
    environment.set_debug(false);
    environment.remove_global("debug");
    environment.remove_global("namespace");
    environment.remove_global("dict");
    environment.add_filter("join", join);
    environment.set_auto_escape_callback(
        |name| {
            if name == Part::Html.as_str() { AutoEscape::Html } else { AutoEscape::None }
        },
    );
    environment
}

/// The engine's own does not count what it makes.
fn join(values: &Value, between: Option<String>) -> Result<String, minijinja::Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (i, value) in values.try_iter()?.enumerate() {
        if i > 0 {
            joined.push_str(&between);
        }
        joined.push_str(value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str());
        if i > MAX_JOINED || joined.len() > MAX_JOINED {
            return Err(ErrorKind::OutOfFuel.into());
        }
    }
    Ok(joined)
}

impl Letter {
    /// Reads the templates.
    ///
    /// # Errors
    /// When one has an error.
    pub fn new(templates: &Templates, head: &Letterhead) -> Result<Self, LetterError> {
        let mut environment = environment();
        let parts = [(Part::Subject, &templates.subject), (Part::Html, &templates.html), (Part::Text, &templates.text)];
        for (part, source) in parts {
            let added = environment.add_template_owned(part.as_str(), source.clone());
            added.map_err(|error| template_error(part, &error))?;
        }
        Ok(Self {
            templates: environment,
            newsletter: Value::from(head.name.as_str()),
            postal_address: Value::from(head.postal_address.as_str()),
        })
    }

    /// The same letter under another head.
    #[must_use]
    pub fn under(&self, head: &Letterhead) -> Self {
        Self {
            templates: self.templates.clone(),
            newsletter: Value::from(head.name.as_str()),
            postal_address: Value::from(head.postal_address.as_str()),
        }
    }

    /// Renders the letter for a recipient. The text part gets the postal address and the link that unsubscribes if it does
    /// not show them.
    ///
    /// # Errors
    /// When a template cannot be rendered with these values, or the HTML part does not show what the law wants in every
    /// letter.
    pub fn render(&self, recipient: &Recipient<'_>) -> Result<Rendered, LetterError> {
        let values = Arc::new(Values::of(self, recipient));
        let subject = self.one_line(&values)?;
        values.used.store(0, Ordering::Relaxed);
        let html = self.part(Part::Html, &values)?;
        match values.used.swap(0, Ordering::Relaxed) {
            BOTH => (),
            ADDRESS => return Err(LetterError::of(Part::Html, must_show("unsubscribe_url"))),
            _ => return Err(LetterError::of(Part::Html, must_show("newsletter.postal_address"))),
        }
        let mut text = self.part(Part::Text, &values)?;
        if values.used.load(Ordering::Relaxed) != BOTH {
            text.truncate(text.trim_end().len());
            let link = recipient.unsubscribe_url;
            text.push_str(&format!("\n\n-- \n{}\nUnsubscribe: {link}\n", self.postal_address));
        }
        Ok(Rendered { subject, html, text })
    }

    /// Renders the letter for invented recipients, and looks for what must be there.
    ///
    /// # Errors
    /// What is wrong with the letter.
    pub fn check(&self) -> Result<(), LetterError> {
        let sample = Self { postal_address: Value::from(SAMPLE_ADDRESS), ..self.clone() };
        let tags = ["sample".to_owned()];
        let named = Recipient { name: Some("Ada"), tags: &tags, archive_url: Some(SAMPLE_ARCHIVE), ..NAMELESS };
        for recipient in [named, NAMELESS] {
            let rendered = sample.render(&recipient)?;
            let shown = [(SAMPLE_URL, "unsubscribe_url"), (SAMPLE_ADDRESS, "newsletter.postal_address")];
            if let Some((_, variable)) = shown.into_iter().find(|(value, _)| !rendered.html.contains(value)) {
                return Err(LetterError::of(Part::Html, must_show(variable)));
            }
            let values = Arc::new(Values::of(&sample, &recipient));
            if sample.part(Part::Text, &values)?.trim().is_empty() {
                let problem = "the text part is empty: many readers and all spam filters look at it, so write one";
                return Err(LetterError::of(Part::Text, problem));
            }
        }
        Ok(())
    }

    /// Renders the subject alone.
    ///
    /// # Errors
    /// When it cannot be rendered with these values.
    pub fn subject(&self, recipient: &Recipient<'_>) -> Result<String, LetterError> {
        self.one_line(&Arc::new(Values::of(self, recipient)))
    }

    fn part(&self, part: Part, values: &Arc<Values>) -> Result<String, LetterError> {
        let template = self.templates.get_template(part.as_str()).map_err(|error| template_error(part, &error))?;
        let mut out = Bounded::with_room(template.source().len() + ROOM);
        let done = template.render_captured_to(Value::from_dyn_object(values.clone()), &mut out).map(drop);
        match done {
            Ok(()) => String::from_utf8(out.bytes).map_err(|_| LetterError::of(part, "it renders to no text")),
            Err(_) if out.full => Err(LetterError::of(part, "it renders to more than 512 KiB")),
            Err(error) => Err(template_error(part, &error)),
        }
    }

    /// The subject without line breaks, which would begin another header.
    fn one_line(&self, values: &Arc<Values>) -> Result<String, LetterError> {
        let subject = self.part(Part::Subject, values)?;
        let mut line = String::with_capacity(subject.len());
        for word in subject.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        match line.chars().count() {
            0 => Err(LetterError::of(Part::Subject, "it is empty for some recipients")),
            1..=MAX_SUBJECT_CHARS => Ok(line),
            _ => Err(LetterError::of(Part::Subject, "it is longer than 250 characters")),
        }
    }
}

const SAMPLE_URL: &str = "https://example.com/unsubscribe?token=sample";
const SAMPLE_ARCHIVE: &str = "https://example.com/archive/sample";
const SAMPLE_ADDRESS: &str = "1 Sample Street, Sampletown";
const NAMELESS: Recipient<'static> =
    Recipient { name: None, email: "ada@example.com", tags: &[], unsubscribe_url: SAMPLE_URL, archive_url: None };

fn must_show(variable: &str) -> String {
    format!("every letter must show it: write {{{{ {variable} }}}} where it belongs")
}

/// What a letter must have used: the link that unsubscribes and the postal address.
const LINK: u8 = 1;
const ADDRESS: u8 = 2;
const BOTH: u8 = LINK | ADDRESS;

/// A recipient's values as templates see them, and which of the two that must be shown were used.
struct Values {
    name: Value,
    email: Value,
    tags: Value,
    unsubscribe_url: Value,
    archive_url: Value,
    newsletter: Value,
    used: Arc<AtomicU8>,
}

impl Values {
    fn of(letter: &Letter, recipient: &Recipient<'_>) -> Self {
        // The links are ours and need no escape; escaped they would still work, but not be found by a reader of the source.
        let link = |url: &str| Value::from_safe_string(url.to_owned());
        let used = Arc::new(AtomicU8::new(0));
        let (name, postal_address) = (letter.newsletter.clone(), letter.postal_address.clone());
        Self {
            name: Value::from(recipient.name.unwrap_or_default()),
            email: Value::from(recipient.email),
            tags: Value::from_iter(recipient.tags.iter().map(String::as_str)),
            unsubscribe_url: link(recipient.unsubscribe_url),
            archive_url: link(recipient.archive_url.unwrap_or_default()),
            newsletter: Value::from_object(Head { name, postal_address, used: used.clone() }),
            used,
        }
    }
}

// A template cannot print them all, and neither can a log.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Head")
    }
}

impl Object for Values {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "name" => self.name.clone(),
            "email" => self.email.clone(),
            "tags" => self.tags.clone(),
            "unsubscribe_url" => {
                self.used.fetch_or(LINK, Ordering::Relaxed);
                self.unsubscribe_url.clone()
            }
            "archive_url" => self.archive_url.clone(),
            "newsletter" => self.newsletter.clone(),
            _ => return None,
        })
    }
}

/// `newsletter` as templates see it, made once for a recipient.
struct Head {
    name: Value,
    postal_address: Value,
    used: Arc<AtomicU8>,
}

impl Object for Head {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "name" => Some(self.name.clone()),
            "postal_address" => {
                self.used.fetch_or(ADDRESS, Ordering::Relaxed);
                Some(self.postal_address.clone())
            }
            _ => None,
        }
    }
}

/// By so much a part is mostly longer than its template, if at all.
const ROOM: usize = 512;

/// Takes [`MAX_PART`] bytes and no more, so that a loop over a large part ends before the memory does.
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Bounded {
    /// With room for so many, as growing bit by bit would copy most of them several times.
    fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes.min(MAX_PART)), full: false }
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_PART {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an error of the template engine says to an author.
#[must_use]
pub fn template_error(part: Part, error: &minijinja::Error) -> LetterError {
    let problem = match error.kind() {
        ErrorKind::UndefinedError => format!("something in it does not exist; there are {}", VARIABLES.join(", ")),
        ErrorKind::OutOfFuel => "it takes too many steps: is there an endless loop?".to_owned(),
        // What these say is about the template; what any other says may hold a recipient's value.
        ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
            error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
        }
        kind => kind.to_string(),
    };
    LetterError { part, offset: error.range().map(|range| range.start), problem }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
