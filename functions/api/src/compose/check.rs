//! What can be said of a template before it is rendered, at its place in what the author wrote.

use super::scan::{Kind, Piece, pieces};
use super::{Flaw, MAX_EXPRESSIONS, Place};
use millrace::domain::letter::{LetterError, MAX_PART, Part, VARIABLES, environment, template_error};

/// The tags there are. Others would take other templates, or keep what they render in memory without a bound.
const TAGS: [&str; 9] = ["if", "elif", "else", "endif", "for", "endfor", "set", "with", "endwith"];
/// The functions there are.
const FUNCTIONS: [&str; 1] = ["range"];

/// The filters there are. Each makes one value of about the size of what it gets; what grows, the engine counts as steps.
const FILTERS: [&str; 23] = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "replace",
    "reverse",
    "round",
    "safe",
    "sort",
    "title",
    "trim",
    "unique",
    "upper",
];
/// Words after which a bracket opens no call and no index.
const OPERATORS: [&str; 8] = ["and", "else", "if", "elif", "in", "is", "not", "or"];

/// What is wrong with a template.
pub(super) fn source(place: Place, source: &str) -> Vec<Flaw> {
    if source.len() > MAX_PART {
        return vec![Flaw::of(place, "it is longer than 512 KiB")];
    }
    if source.trim().is_empty() {
        return vec![Flaw::of(place, "it is empty")];
    }
    let environment = environment();
    let template = match environment.template_from_named_str(Part::Text.as_str(), source) {
        Ok(template) => template,
        Err(error) => {
            let LetterError { offset, problem, .. } = template_error(Part::Text, &error);
            let hint =
                if problem.contains("end of comment") { " (in CSS, put a space between `{` and `#`)" } else { "" };
            return vec![Flaw { place, at: offset, problem: format!("{problem}{hint}") }];
        }
    };
    if pieces(source).filter(|piece| piece.kind != Kind::Text).nth(MAX_EXPRESSIONS).is_some() {
        return vec![Flaw::of(place, format!("it has more than {MAX_EXPRESSIONS} expressions"))];
    }
    let foreign = pieces(source).filter(|piece| piece.kind == Kind::Tag).find_map(|piece| {
        let problem = match piece.tag() {
            // Only `{% set x = ... %}`: the other form keeps what it renders.
            "set" if !piece.text.contains('=') => "`set` needs a value, as in `{% set x = 1 %}`".to_owned(),
            tag if TAGS.contains(&tag) => return None,
            tag => format!("there is no tag `{tag}` in letters; there are if, for, set, with and raw"),
        };
        Some(Flaw::at(place, piece.at, problem))
    });
    if let Some(flaw) = foreign {
        return vec![flaw];
    }
    let built = pieces(source).filter(|piece| matches!(piece.kind, Kind::Expression | Kind::Tag)).find_map(|piece| {
        let (at, problem) = built(&piece)?;
        Some(Flaw::at(place, piece.at + at, problem))
    });
    if let Some(flaw) = built {
        return vec![flaw];
    }
    let mut unknown: Vec<String> =
        template.undeclared_variables(true).into_iter().filter(|name| !known(name)).collect();
    unknown.sort_by_key(|name| position(source, name));
    let problem = |name: &String| Flaw {
        place,
        at: position(source, name),
        problem: format!("there is no `{name}`; there are {}", VARIABLES.join(", ")),
    };
    unknown.iter().map(problem).collect()
}

/// Where an expression builds what no rendering needs and nothing bounds: a list of lists that holds itself many times over is
/// a short text and endless when it is shown or compared. So there are no lists but the reader's tags and `range`.
fn built(piece: &Piece<'_>) -> Option<(usize, String)> {
    let list = |at| Some((at, "lists cannot be written in letters, as `[...]`, `{...}` or with commas".to_owned()));
    let (text, end) = (piece.text, piece.text.len().saturating_sub(2));
    let (mut open, mut at) = (Vec::new(), 2);
    // What stands before: a word, or the last character.
    let (mut word, mut before) = ("", ' ');
    while at < end {
        let c = text[at..].chars().next()?;
        let length = text[at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(end - at).min(end - at);
        let follows = !OPERATORS.contains(&word) && (!word.is_empty() || matches!(before, ')' | ']' | '"' | '\''));
        match c {
            '"' | '\'' => {
                let rest = text.as_bytes();
                at += 1;
                while at < end && rest[at] != c as u8 {
                    at += if rest[at] == b'\\' { 2 } else { 1 };
                }
                (word, before) = ("", c);
                at += 1;
                continue;
            }
            _ if length > 0 => {
                word = &text[at..at + length];
                if before == '|' && !FILTERS.contains(&word) {
                    let problem = format!("there is no filter `{word}` in letters; there are {}", FILTERS.join(", "));
                    return Some((at, problem));
                }
                before = 'a';
                at += length;
                continue;
            }
            '[' if follows => open.push(c),
            '(' => open.push(if follows { 'c' } else { c }),
            '[' | '{' => return list(at),
            ')' | ']' => drop(open.pop()),
            ',' if open.last() != Some(&'c') && !(open.is_empty() && piece.tag() == "with") => return list(at),
            _ => (),
        }
        if !c.is_whitespace() {
            (word, before) = ("", c);
        }
        at += c.len_utf8();
    }
    None
}

/// Whether something of this name can be looked up, as `newsletter.name`.
fn known(name: &str) -> bool {
    VARIABLES.contains(&name) || FUNCTIONS.contains(&name) || name == "newsletter"
}

/// Where a name first stands in an expression.
fn position(source: &str, name: &str) -> Option<usize> {
    let first = name.split('.').next().unwrap_or(name);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    pieces(source).filter(|piece| matches!(piece.kind, Kind::Expression | Kind::Tag)).find_map(|piece| {
        let found = [name, first].into_iter().find_map(|name| {
            piece.text.match_indices(name).map(|(at, _)| at).find(|at| {
                let (before, after) = (&piece.text[..*at], &piece.text[at + name.len()..]);
                !before.ends_with(|c| word(c) || c == '.') && !after.starts_with(word)
            })
        });
        found.map(|at| piece.at + at)
    })
}
