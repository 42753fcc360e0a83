//! Carries a template's expressions through MJML, Markdown and HTML, which would take them for their own language: each is
//! replaced by a word or a comment that has no meaning there, and put back at the end.
//!
//! A tag (`{% if %}`) becomes a comment where a comment may stand, because a word between the rows of a table is moved out
//! of it by every HTML parser. Inside an attribute, a comment, a title or a style sheet it becomes a word like an expression.

use super::scan::{Kind, Piece, delimiter};
use super::{Flaw, MAX_EXPRESSIONS, Place};

/// A template whose expressions are hidden.
pub(super) struct Masked<'s> {
    /// The template without expressions.
    pub(super) text: String,
    hidden: Vec<Hidden<'s>>,
    /// What every word begins with; the source has it nowhere.
    prefix: String,
    /// Where the pieces begin: in `text`, and in the source.
    origins: Vec<(usize, usize)>,
}

/// An expression that is hidden.
#[derive(Debug, Clone, Copy)]
struct Hidden<'s> {
    piece: Piece<'s>,
    /// Whether it may be dropped: it stood in a comment, or is one.
    lossy: bool,
}

/// A template that came back, and where its expressions are from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmasked {
    pub(super) template: String,
    /// Where the expressions begin: in `template`, and in the source. In order.
    pub(super) origins: Vec<(usize, usize)>,
}

/// How an expression is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a word.
    Word,
    /// As a word that is not shown, and need not come back.
    Lossy,
    /// As a comment.
    Comment,
    /// As an element, in Markdown, where a line that begins with a comment is no Markdown.
    Element,
    /// As a link to itself, in Markdown: `<{{ url }}>`, without the brackets.
    Link,
}

/// Writes a masked template.
pub(super) struct Masker<'s> {
    masked: Masked<'s>,
}

impl<'s> Masker<'s> {
    pub(super) fn new(source: &str) -> Self {
        // Expressions hide in lower case, as HTML attributes may be put in it. One `x` more than the source has anywhere after
        // `zq`: found by reading it once.
        let runs =
            source.match_indices("zq").map(|(at, _)| source[at + 2..].bytes().take_while(|b| *b == b'x').count());
        let prefix = format!("zq{}", "x".repeat(runs.max().map_or(0, |longest| longest + 1)));
        let masked =
            Masked { text: String::with_capacity(source.len()), hidden: Vec::new(), prefix, origins: Vec::new() };
        Self { masked }
    }

    /// Text that stands for itself.
    pub(super) fn text(&mut self, text: &str, at: usize) {
        self.masked.origins.push((self.masked.text.len(), at));
        self.masked.text.push_str(text);
    }

    /// Hides an expression.
    pub(super) fn hide(&mut self, piece: Piece<'s>, form: Form) {
        let word = self.masked.word(self.masked.hidden.len());
        self.masked.origins.push((self.masked.text.len(), piece.at));
        self.masked.hidden.push(Hidden { piece, lossy: form == Form::Lossy || piece.kind == Kind::Comment });
        let text = &mut self.masked.text;
        match form {
            Form::Word | Form::Lossy => text.push_str(&word),
            Form::Comment => text.extend(["<!--", &word, "-->"]),
            Form::Element => text.extend(["<", &word, ">"]),
            Form::Link => text.extend(["[", &word, "](", &word, ")"]),
        }
    }

    /// Takes back the last character of the text.
    pub(super) fn take_back(&mut self) {
        self.masked.text.pop();
    }

    pub(super) fn done(self) -> Masked<'s> {
        self.masked
    }
}

impl<'s> Masked<'s> {
    fn word(&self, number: usize) -> String {
        format!("{}{number}z", self.prefix)
    }

    /// Where in the source something is that is here in the masked text.
    pub(super) fn origin(&self, at: usize) -> usize {
        let index = self.origins.partition_point(|(masked, _)| *masked <= at).saturating_sub(1);
        self.origins.get(index).map_or(0, |(masked, source)| source + (at - masked))
    }

    /// The next hidden expression in a text: where it begins and ends, and which it is.
    fn find(&self, text: &str, from: usize) -> Option<(usize, usize, usize)> {
        let mut at = from;
        loop {
            let start = at + text[at..].find(&self.prefix)?;
            let digits = start + self.prefix.len();
            let length = text[digits..].bytes().take_while(u8::is_ascii_digit).count();
            let end = digits + length;
            match text[digits..end].parse::<usize>() {
                Ok(number) if number < self.hidden.len() && text[end..].starts_with('z') => {
                    return Some((start, end + 1, number));
                }
                _ => at = digits,
            }
        }
    }

    /// Hidden elements of Markdown as comments.
    pub(super) fn elements_to_comments(&self, html: &str) -> String {
        self.replace(html, |out, word, before, after| {
            if before.ends_with('<') && after.starts_with('>') {
                out.pop();
                out.push_str(&format!("<!--{word}-->"));
                1
            } else {
                out.push_str(word);
                0
            }
        })
    }

    /// Comments that hide tags, as words: in a text there are no comments.
    pub(super) fn comments_to_words(&self, html: &str) -> String {
        self.replace(html, |out, word, before, after| {
            out.push_str(word);
            if before.ends_with("<!--") && after.starts_with("-->") {
                out.truncate(out.len() - word.len() - 4);
                out.push_str(word);
                3
            } else {
                0
            }
        })
    }

    /// Hidden words as one character each, which a break of lines cannot cut. What the text has of such characters is left
    /// out: they have no meaning.
    pub(super) fn words_to_marks(&self, text: &str) -> String {
        let text: String = text.chars().filter(|c| marked(*c).is_none()).collect();
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        while let Some((start, end, number)) = self.find(&text, at) {
            out.push_str(&text[at..start]);
            out.extend(u32::try_from(number).ok().and_then(|number| char::from_u32(MARKS + number)));
            at = end;
        }
        out.push_str(&text[at..]);
        out
    }

    /// The other way round.
    pub(super) fn marks_to_words(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match marked(c) {
                Some(number) => out.push_str(&self.word(number)),
                None => out.push(c),
            }
        }
        out
    }

    /// Rewrites every hidden word; `write` says how much after it is taken too.
    fn replace(&self, text: &str, write: impl Fn(&mut String, &str, &str, &str) -> usize) -> String {
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        while let Some((start, end, _)) = self.find(text, at) {
            out.push_str(&text[at..start]);
            at = end + write(&mut out, &text[start..end], &text[..start], &text[end..]);
        }
        out.push_str(&text[at..]);
        out
    }

    /// Takes tags that begin before the `<tbody>` that a parser added, and end in it, into it: they were written around the
    /// rows of a table.
    pub(super) fn row_groups_with_tags(&self, mut html: String) -> String {
        let ends = self.ends();
        let mut from = 0;
        while let Some(at) = html[from..].find("<tbody>").map(|at| from + at) {
            from = at + "<tbody>".len();
            let close = from + end_of_row_group(&html[from..]);
            let mut first = at;
            while let Some((start, number)) = self.comment_before(&html[..first]) {
                let end = ends[number].and_then(|end| html.find(&format!("<!--{}-->", self.word(end))));
                if !end.is_some_and(|end| (at..close).contains(&end)) {
                    break;
                }
                first = start;
            }
            if first < at {
                let moved = format!("<tbody>{}", &html[first..at]);
                html.replace_range(first..from, &moved);
            }
        }
        html
    }

    /// The comment that a text ends with, if it hides a tag: where it begins, and which it is.
    fn comment_before(&self, html: &str) -> Option<(usize, usize)> {
        let trimmed = html.trim_end();
        let start = trimmed.ends_with("-->").then(|| trimmed.rfind("<!--"))??;
        let (word, end, number) = self.find(trimmed, start)?;
        (word == start + 4 && end + 3 == trimmed.len()).then_some((start, number))
    }

    /// For each tag that begins a block, the tag that ends it.
    fn ends(&self) -> Vec<Option<usize>> {
        let (mut ends, mut open) = (vec![None; self.hidden.len()], Vec::new());
        for (number, hidden) in self.hidden.iter().enumerate().filter(|(_, hidden)| hidden.piece.kind == Kind::Tag) {
            match hidden.piece.tag() {
                "if" | "for" | "with" => open.push(number),
                tag if tag.starts_with("end") => {
                    if let Some(begun) = open.pop() {
                        ends[begun] = Some(number);
                    }
                }
                _ => (),
            }
        }
        ends
    }

    /// Whether a line of text holds hidden tags and nothing else.
    pub(super) fn only_tags(&self, line: &str) -> bool {
        let (mut at, mut any) = (0, false);
        let line = line.trim();
        while let Some((start, end, number)) = self.find(line, at) {
            if start != at || self.hidden[number].piece.kind == Kind::Expression {
                return false;
            }
            (at, any) = (end, true);
        }
        any && at == line.len()
    }

    /// Puts the expressions back. What looks like an expression by now and was none stays text.
    ///
    /// # Errors
    /// When an expression got lost or left its block on the way: then it stood where the language has no place for it.
    pub(super) fn unmask(&self, text: &str, must_be_whole: bool) -> Result<Unmasked, Flaw> {
        let mut out = Unmasked { template: String::with_capacity(text.len()), origins: Vec::new() };
        let (mut at, mut came) = (0, Vec::new());
        while let Some((start, end, number)) = self.find(text, at) {
            let (mut literal, mut after) = (&text[at..start], end);
            if literal.ends_with("<!--") && text[end..].starts_with("-->") {
                (literal, after) = (&literal[..literal.len() - 4], end + 3);
            }
            push_literal(&mut out.template, literal, true);
            let piece = self.hidden[number].piece;
            out.origins.push((out.template.len(), piece.at));
            out.template.push_str(piece.text);
            came.push(number);
            at = after;
        }
        push_literal(&mut out.template, &text[at..], false);
        if must_be_whole {
            self.whole(&came)?;
        }
        Ok(out)
    }

    /// Whether all expressions came, each within the blocks it was in.
    fn whole(&self, came: &[usize]) -> Result<(), Flaw> {
        let all: Vec<usize> = (0..self.hidden.len()).collect();
        let before = self.blocks(&all);
        for (number, blocks) in self.blocks(came) {
            if before[number].1 != blocks {
                let piece = self.hidden[number].piece;
                let problem = format!(
                    "{} is moved out of its block here: HTML and MJML have no place for it where it stands, as between \
                     the cells of a table",
                    shown(piece.text)
                );
                return Err(Flaw::at(Place::Body, piece.at, problem));
            }
        }
        let lost = all.iter().find(|number| !self.hidden[**number].lossy && !came.contains(number));
        match lost {
            None => Ok(()),
            Some(number) => {
                let piece = self.hidden[*number].piece;
                let problem = format!(
                    "{} stands where the language drops it: put it into a text or into the quoted value of an attribute",
                    shown(piece.text)
                );
                Err(Flaw::at(Place::Body, piece.at, problem))
            }
        }
    }

    /// For each expression the tags it is inside of.
    fn blocks(&self, numbers: &[usize]) -> Vec<(usize, Vec<usize>)> {
        let mut stack: Vec<usize> = Vec::new();
        let mut found = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let piece = self.hidden[number].piece;
            let tag = if piece.kind == Kind::Tag { piece.tag() } else { "" };
            match tag {
                "elif" | "else" => {
                    stack.pop();
                    found.push((number, stack.clone()));
                    stack.push(number);
                }
                _ if tag.starts_with("end") => {
                    stack.pop();
                    found.push((number, stack.clone()));
                }
                _ => {
                    found.push((number, stack.clone()));
                    if matches!(tag, "if" | "for" | "with") {
                        stack.push(number);
                    }
                }
            }
        }
        found
    }
}

/// The first of the characters that words become: a plane for private use, by Unicode without a meaning.
const MARKS: u32 = 0xF_0000;

/// Which hidden word a character stands for.
fn marked(c: char) -> Option<usize> {
    let number = u32::from(c).checked_sub(MARKS).and_then(|number| usize::try_from(number).ok())?;
    (number < MAX_EXPRESSIONS).then_some(number)
}

/// Where the row group ends that a text is in.
fn end_of_row_group(html: &str) -> usize {
    let mut open = 1;
    for (at, _) in html.match_indices("tbody>") {
        match &html[..at] {
            before if before.ends_with("</") => open -= 1,
            before if before.ends_with('<') => open += 1,
            _ => (),
        }
        if open == 0 {
            return at;
        }
    }
    html.len()
}

/// An expression as an error shows it, cut when it is long.
fn shown(expression: &str) -> String {
    const MOST: usize = 60;
    let short: String = expression.chars().take(MOST).collect();
    if short.len() < expression.len() { format!("`{short}...`") } else { format!("`{short}`") }
}

/// Text that the engine must not read: what looks like a delimiter is written as an expression of its text.
fn push_literal(template: &mut String, mut text: &str, expression_follows: bool) {
    while let Some((at, _)) = delimiter(text) {
        template.push_str(&text[..at]);
        template.push_str(&format!("{{{{ \"{}\" }}}}", &text[at..at + 2]));
        text = &text[at + 2..];
    }
    match text.strip_suffix('{') {
        Some(rest) if expression_follows => {
            template.push_str(rest);
            template.push_str("{{ \"{\" }}");
        }
        _ => template.push_str(text),
    }
}
