//! From what an author wrote to plain templates: done once for a letter, when it is written.
//!
//! ```text
//! source ── checked by the engine ── expressions hidden ── MJML or Markdown to HTML ── styles inlined ── HTML to text
//!                                          │                                                │                  │
//!                                          '──────────────── put back ──────────────────────'──────────────────'
//! ```
//!
//! Nothing is fetched: no stylesheet, no include. The author is the operator, so HTML stays as it is written.

mod check;
mod html;
mod markdown;
mod mask;
mod request;
mod scan;
mod text;

pub use request::{BodyFields, LetterBody};

use crate::problem::Fault;
use css_inline::CSSInliner;
use mask::{Masked, Unmasked};
use millrace::domain::letter::{
    Body, Letter, LetterError, Letterhead, MAX_PART, Manuscript, Part, StoredLetter, Templates,
};

/// Most expressions and tags in one part.
const MAX_EXPRESSIONS: usize = 2_000;
/// How deep elements may be nested. The libraries below go down by recursion.
const MAX_DEPTH: usize = 100;

/// Which part of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Subject,
    Body,
    Text,
}

/// What is wrong with what was written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flaw {
    place: Place,
    /// The byte of the source, when known.
    at: Option<usize>,
    problem: String,
}

impl Flaw {
    fn at(place: Place, at: usize, problem: impl Into<String>) -> Self {
        Self { place, at: Some(at), problem: problem.into() }
    }

    fn of(place: Place, problem: impl Into<String>) -> Self {
        Self { place, at: None, problem: problem.into() }
    }
}

/// Makes a letter of what was written and a newsletter's head.
///
/// # Errors
/// Everything that is wrong with it, as far as it is found at once, each at its pointer: `/subject`, `/body/<language>` or
/// `/text`.
pub fn letter(written: Manuscript, head: Letterhead) -> Result<StoredLetter, Vec<Fault>> {
    match compose(&written, &head) {
        Ok(templates) => Ok(StoredLetter { manuscript: written, templates, head }),
        Err(flaws) => Err(flaws.iter().map(|flaw| fault(&written, flaw)).collect()),
    }
}

/// A problem that rendering found, at its pointer. Its place in the source is not known.
#[must_use]
pub fn render_fault(written: &Manuscript, error: &LetterError) -> Fault {
    fault(written, &Flaw::of(place(error.part, written), error.problem.clone()))
}

fn fault(written: &Manuscript, flaw: &Flaw) -> Fault {
    let (pointer, source) = match flaw.place {
        Place::Subject => ("/subject".to_owned(), written.subject.as_str()),
        Place::Body => (format!("/body/{}", written.body.language()), written.body.source()),
        Place::Text => ("/text".to_owned(), written.text.as_deref().unwrap_or_default()),
    };
    let before = flaw.at.and_then(|at| source.get(..at));
    let detail = before.map_or_else(
        || flaw.problem.clone(),
        |before| {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("line {line}, column {column}: {}", flaw.problem)
        },
    );
    Fault::at(pointer, detail)
}

/// In which part of what was written a template's problem is.
fn place(part: Part, written: &Manuscript) -> Place {
    match part {
        Part::Subject => Place::Subject,
        Part::Text if written.text.is_some() => Place::Text,
        Part::Html | Part::Text => Place::Body,
    }
}

fn compose(written: &Manuscript, head: &Letterhead) -> Result<Templates, Vec<Flaw>> {
    let mut flaws = Vec::new();
    flaws.extend(check::source(Place::Subject, &written.subject));
    flaws.extend(check::source(Place::Body, written.body.source()));
    flaws.extend(written.text.as_deref().into_iter().flat_map(|text| check::source(Place::Text, text)));
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let (html, text) = parts(written).map_err(|flaw| vec![flaw])?;
    let templates =
        Templates { subject: written.subject.clone(), html: html.template.clone(), text: text.template.clone() };
    let checked = Letter::new(&templates, head).and_then(|letter| letter.check());
    checked.map_err(|error| vec![found(written, &html, &text, &error)])?;
    Ok(templates)
}

/// The problem of a finished template, in the source.
fn found(written: &Manuscript, html: &Unmasked, text: &Unmasked, error: &LetterError) -> Flaw {
    let origins = match error.part {
        Part::Subject => &[],
        Part::Html => html.origins.as_slice(),
        Part::Text => text.origins.as_slice(),
    };
    let at = error.offset.and_then(|offset| {
        if error.part == Part::Subject || (error.part == Part::Text && written.text.is_some()) {
            return Some(offset);
        }
        let index = origins.partition_point(|(template, _)| *template <= offset).checked_sub(1)?;
        Some(origins[index].1)
    });
    Flaw { place: place(error.part, written), at, problem: error.problem.clone() }
}

/// The HTML and the text template.
fn parts(written: &Manuscript) -> Result<(Unmasked, Unmasked), Flaw> {
    let (masked, html) = match &written.body {
        Body::Mjml(source) => {
            let masked = html::mask(source)?;
            let html = mjml(&masked)?;
            (masked, html)
        }
        Body::Html(source) => {
            let masked = html::mask(source)?;
            let html = masked.text.clone();
            (masked, html)
        }
        Body::Markdown(source) => {
            let masked = markdown::mask(source);
            let html = markdown::render(&masked);
            (masked, html)
        }
    };
    if html::is_too_deep(&html) {
        return Err(Flaw::of(Place::Body, too_deep()));
    }
    let inlined = masked.row_groups_with_tags(inline(&html)?);
    let html = masked.unmask(&inlined, true)?;
    if html.template.len() > MAX_PART {
        return Err(Flaw::of(Place::Body, "its HTML is longer than 512 KiB"));
    }
    let text = match &written.text {
        Some(text) => Unmasked { template: text.clone(), origins: Vec::new() },
        None => {
            let text = text::render(&masked, &inlined);
            let text =
                text.ok_or_else(|| Flaw::of(Place::Body, "no text could be made of it: give the letter a `text`"))?;
            masked.unmask(&text, false)?
        }
    };
    Ok((html, text))
}

fn too_deep() -> String {
    format!("elements are nested more than {MAX_DEPTH} deep")
}

fn mjml(masked: &Masked<'_>) -> Result<String, Flaw> {
    use mrml::prelude::parser::Error;
    let parsed = mrml::parse(&masked.text).map_err(|error| {
        let (what, at) = match &error {
            Error::UnexpectedElement { position, .. } => ("this element has no place here".to_owned(), Some(position)),
            Error::UnexpectedToken { position, .. } => ("this is not expected here".to_owned(), Some(position)),
            Error::MissingAttribute { name, position, .. } => (format!("`{name}` is missing"), Some(position)),
            Error::InvalidAttribute { position, .. } => ("this attribute is not valid".to_owned(), Some(position)),
            Error::InvalidFormat { position, .. } => ("this is not well-formed".to_owned(), Some(position)),
            Error::IncludeLoaderError { position, .. } => ("nothing can be included".to_owned(), Some(position)),
            Error::EndOfStream { .. } => ("it ends too early: is an element not closed?".to_owned(), None),
            Error::NoRootNode => ("it must begin with <mjml>".to_owned(), None),
            Error::ParserError { source, .. } => (format!("not well-formed: {source}"), None),
            other => (other.to_string(), None),
        };
        Flaw { place: Place::Body, at: at.map(|span| masked.origin(span.start)), problem: format!("not MJML: {what}") }
    })?;
    let options = mrml::prelude::render::RenderOptions::default();
    let html = parsed.element.render(&options).map_err(|error| Flaw::of(Place::Body, format!("not MJML: {error}")))?;
    // What it does not know it takes for HTML.
    match html.split_once("<mj-").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')) {
        None => Ok(html),
        Some(mut rest) => {
            let name = format!("mj-{}", rest.next().unwrap_or_default());
            let at = masked.text.find(&format!("<{name}")).map(|at| masked.origin(at));
            Err(Flaw { place: Place::Body, at, problem: format!("not MJML: there is no element `{name}` here") })
        }
    }
}

/// Puts styles onto the elements they are for, since some mail programs read no style sheets. What cannot be put there, as
/// what depends on the width of the screen, stays where it is.
fn inline(html: &str) -> Result<String, Flaw> {
    let inliner = CSSInliner::options()
        .load_remote_stylesheets(false)
        .keep_style_tags(true)
        .keep_at_rules(true)
        .keep_link_tags(true)
        .build();
    inliner.inline(html).map_err(|_| Flaw::of(Place::Body, "its style sheet cannot be read"))
}

#[cfg(test)]
mod tests;
