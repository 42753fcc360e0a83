//! Hides the expressions of an HTML or MJML template: where each stands decides how.

use super::mask::{Form, Masked, Masker};
use super::scan::{Kind, pieces};
use super::{Flaw, MAX_DEPTH, Place, too_deep};

/// Elements whose content is no markup.
const RAW: [&str; 7] = ["style", "script", "title", "textarea", "mj-style", "mj-title", "mj-preview"];
/// Elements that have no end, or whose end may be left out: they are not counted as open.
const UNCOUNTED: [&str; 26] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "p", "li",
    "dt", "dd", "option", "thead", "tbody", "tfoot", "tr", "td", "th", "html", "body",
];

/// Where the scanner is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Between tags.
    Content,
    /// In a comment.
    Comment,
    /// In a declaration.
    Declaration,
    /// In the content of an element of [`RAW`].
    Raw(String),
    /// In a tag, outside its attributes' values.
    Tag,
    /// After an attribute's `=`.
    Value,
    /// In a value between such quotes.
    Quoted(char),
    /// In a value without quotes.
    Unquoted,
}

/// The template with its expressions hidden.
pub(super) fn mask(source: &str) -> Result<Masked<'_>, Flaw> {
    let (mut masker, mut scanner) = (Masker::new(source), Scanner::default());
    for piece in pieces(source) {
        if piece.kind == Kind::Text {
            masker.text(piece.text, piece.at);
            scanner.read(piece.text).map_err(|at| Flaw::at(Place::Body, piece.at + at, too_deep()))?;
            continue;
        }
        let form = scanner.form(piece.kind == Kind::Expression);
        let form = form.map_err(|problem| Flaw::at(Place::Body, piece.at, problem))?;
        masker.hide(piece, form);
    }
    Ok(masker.done())
}

/// Whether elements are nested too deep in markup that was made.
pub(super) fn is_too_deep(html: &str) -> bool {
    Scanner::default().read(html).is_err()
}

/// Reads markup as far as it must be known in what an expression stands.
struct Scanner {
    state: State,
    /// The name of the tag that is being read, `/` in front when it ends an element.
    tag: String,
    /// Whether the tag's name is still being read.
    naming: bool,
    /// Whether the last character of the tag was a `/`.
    slash: bool,
    /// Whether the text ends with a `<`.
    dangling: bool,
    /// How many elements are open.
    open: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { state: State::Content, tag: String::new(), naming: false, slash: false, dangling: false, open: 0 }
    }
}

impl Scanner {
    /// How an expression is to be hidden that stands here.
    fn form(&mut self, is_expression: bool) -> Result<Form, &'static str> {
        self.slash = false;
        match &self.state {
            State::Content if self.dangling => Err("an expression cannot be the name of a tag"),
            State::Content if is_expression => Ok(Form::Word),
            State::Content => Ok(Form::Comment),
            State::Comment => Ok(Form::Lossy),
            State::Raw(name) if !is_expression && name.ends_with("style") => {
                Err("a block cannot stand in a style sheet: put it around elements with a `style` of their own")
            }
            State::Raw(_) | State::Quoted(_) | State::Unquoted => Ok(Form::Word),
            State::Value => {
                self.state = State::Unquoted;
                Ok(Form::Word)
            }
            State::Tag | State::Declaration => {
                Err("an expression in a tag must be in the quoted value of an attribute, as in class=\"{{ ... }}\"")
            }
        }
    }

    /// Reads text. On failure, where elements are nested too deep.
    fn read(&mut self, text: &str) -> Result<(), usize> {
        self.dangling = self.state == State::Content && text.ends_with('<');
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            let mut step = c.len_utf8();
            match &self.state {
                State::Content => {
                    let to = rest.find('<').unwrap_or(rest.len());
                    let after = rest.get(to + 1..).unwrap_or_default();
                    step = (to + 1).min(rest.len());
                    if after.starts_with("!--") {
                        (self.state, step) = (State::Comment, to + 4);
                    } else if after.starts_with(['!', '?']) {
                        self.state = State::Declaration;
                    } else if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') {
                        self.state = State::Tag;
                        self.tag.clear();
                        (self.naming, self.slash) = (true, false);
                    }
                }
                State::Comment => match rest.find("-->") {
                    Some(end) => (self.state, step) = (State::Content, end + 3),
                    None => step = rest.len(),
                },
                State::Declaration => {
                    if c == '>' {
                        self.state = State::Content;
                    }
                }
                State::Raw(name) => match end_tag(rest, name) {
                    Some(end) => (self.state, step) = (State::Content, end),
                    None => step = rest.len(),
                },
                State::Tag => self.in_tag(c).map_err(|()| at)?,
                State::Value => match c {
                    '"' | '\'' => self.state = State::Quoted(c),
                    '>' => self.tag_ends().map_err(|()| at)?,
                    c if c.is_whitespace() => (),
                    _ => self.state = State::Unquoted,
                },
                State::Quoted(quote) => {
                    if c == *quote {
                        self.state = State::Tag;
                    }
                }
                State::Unquoted => match c {
                    '>' => self.tag_ends().map_err(|()| at)?,
                    c if c.is_whitespace() => self.state = State::Tag,
                    _ => (),
                },
            }
            at += step;
        }
        Ok(())
    }

    fn in_tag(&mut self, c: char) -> Result<(), ()> {
        if self.naming && (c.is_ascii_alphanumeric() || c == '-' || (c == '/' && self.tag.is_empty())) {
            self.tag.push(c.to_ascii_lowercase());
            return Ok(());
        }
        self.naming = false;
        match c {
            '>' => return self.tag_ends(),
            '=' => self.state = State::Value,
            _ => (),
        }
        self.slash = c == '/';
        Ok(())
    }

    fn tag_ends(&mut self) -> Result<(), ()> {
        self.state = State::Content;
        if let Some(name) = self.tag.strip_prefix('/') {
            if !UNCOUNTED.contains(&name) {
                self.open = self.open.saturating_sub(1);
            }
        } else if RAW.contains(&self.tag.as_str()) && !self.slash {
            self.state = State::Raw(self.tag.clone());
        } else if !self.slash && !UNCOUNTED.contains(&self.tag.as_str()) {
            self.open += 1;
            if self.open > MAX_DEPTH {
                return Err(());
            }
        }
        Ok(())
    }
}

/// Where the tag that ends an element begins, if it is in the text.
fn end_tag(text: &str, name: &str) -> Option<usize> {
    text.match_indices("</").map(|(at, _)| at).find(|at| {
        let after = &text.as_bytes()[at + 2..];
        after.len() >= name.len() && after[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })
}
