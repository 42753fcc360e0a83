//! What can be said of a template before it is rendered, at its place in what the author wrote.

use super::scan::{Kind, pieces};
use super::{Flaw, MAX_EXPRESSIONS, Place};
use millrace::domain::letter::{LetterError, MAX_PART, Part, VARIABLES, environment, template_error};

/// The tags there are. Others would take other templates, or keep what they render in memory without a bound.
const TAGS: [&str; 9] = ["if", "elif", "else", "endif", "for", "endfor", "set", "with", "endwith"];
/// The functions there are.
const FUNCTIONS: [&str; 2] = ["range", "dict"];

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
