//! Cuts a template into its text and its expressions, where the template engine does.

use std::iter;

/// What a piece of a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that stands for itself; also what is between `{% raw %}` and `{% endraw %}`.
    Text,
    /// `{{ an expression }}`.
    Expression,
    /// `{% a tag %}`.
    Tag,
    /// `{# a comment #}`.
    Comment,
}

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'s> {
    pub(super) kind: Kind,
    /// The piece with its delimiters.
    pub(super) text: &'s str,
    /// Where it begins, in bytes.
    pub(super) at: usize,
}

impl<'s> Piece<'s> {
    /// The name of a tag: `if` of `{%- if x %}`.
    pub(super) fn tag(&self) -> &'s str {
        let inner = self.text.get(2..).unwrap_or_default().trim_start_matches(['-', '+']).trim_start();
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        &inner[..end]
    }
}

/// The pieces of a template that the engine has read without an error.
pub(super) fn pieces(source: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    iter::from_fn(move || {
        let rest = source.get(at..).filter(|rest| !rest.is_empty())?;
        let (kind, skip, length, after) = next(rest);
        let piece = Piece { kind, text: &rest[skip..skip + length], at: at + skip };
        at += after;
        Some(piece)
    })
}

/// The first piece: its kind, where it begins and how long it is, and where the next one begins.
fn next(rest: &str) -> (Kind, usize, usize, usize) {
    let whole = |kind, length| (kind, 0, length, length);
    match delimiter(rest) {
        Some((0, kind)) => {
            if kind == Kind::Tag
                && let Some((begin, end, after)) = raw(rest)
            {
                return (Kind::Text, begin, end - begin, after);
            }
            whole(kind, if kind == Kind::Comment { comment(rest) } else { expression(rest, kind) })
        }
        Some((start, _)) => whole(Kind::Text, start),
        None => whole(Kind::Text, rest.len()),
    }
}

/// Where the next `{{`, `{%` or `{#` is.
pub(super) fn delimiter(text: &str) -> Option<(usize, Kind)> {
    let bytes = text.as_bytes();
    bytes.windows(2).enumerate().find_map(|(at, pair)| match pair {
        b"{{" => Some((at, Kind::Expression)),
        b"{%" => Some((at, Kind::Tag)),
        b"{#" => Some((at, Kind::Comment)),
        _ => None,
    })
}

fn comment(rest: &str) -> usize {
    rest[2..].find("#}").map_or(rest.len(), |end| end + 4)
}

/// How long an expression or a tag is: brackets and quotes may hold what looks like its end.
fn expression(rest: &str, kind: Kind) -> usize {
    let close = if kind == Kind::Tag { b"%}" } else { b"}}" };
    let bytes = rest.as_bytes();
    let (mut at, mut open) = (2, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            _ if open == 0 && bytes[at..].starts_with(close) => return at + 2,
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => (),
        }
        at += 1;
    }
    rest.len()
}

/// Of a text that begins with `{% raw %}`: where what is raw begins and ends, and where `{% endraw %}` ends.
fn raw(rest: &str) -> Option<(usize, usize, usize)> {
    let begin = basic_tag(rest, "raw")?;
    let mut end = begin;
    loop {
        end += rest[end..].find("{%")?;
        if let Some(length) = basic_tag(&rest[end..], "endraw") {
            return Some((begin, end, end + length));
        }
        end += 2;
    }
}

/// The length of the tag that the text begins with, if it has this name and nothing else.
fn basic_tag(text: &str, name: &str) -> Option<usize> {
    let inner = text.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let inner = inner.strip_prefix(name)?.trim_start().trim_start_matches(['-', '+']);
    inner.strip_prefix("%}").map(|after| text.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(source: &str) -> Vec<(Kind, &str)> {
        pieces(source).map(|piece| (piece.kind, piece.text)).collect()
    }

    #[test]
    fn expressions_end_where_the_engine_ends_them() {
        use Kind::{Comment, Expression, Tag, Text};
        assert_eq!(cut("a {{ b }} c"), [(Text, "a "), (Expression, "{{ b }}"), (Text, " c")]);
        assert_eq!(cut("{{ '}}' }}x"), [(Expression, "{{ '}}' }}"), (Text, "x")]);
        assert_eq!(cut(r#"{{ "\"}}" }}x"#), [(Expression, r#"{{ "\"}}" }}"#), (Text, "x")]);
        assert_eq!(cut("{{ {'a': {'b': 1}}['a'] }}}"), [(Expression, "{{ {'a': {'b': 1}}['a'] }}"), (Text, "}")]);
        assert_eq!(cut("{%- if a < 3 -%}y{%endif%}"), [(Tag, "{%- if a < 3 -%}"), (Text, "y"), (Tag, "{%endif%}")]);
        assert_eq!(cut("{# {{ no }} #}z"), [(Comment, "{# {{ no }} #}"), (Text, "z")]);
        assert_eq!(cut("{% raw %}{{ no }}{% x %}{%- endraw -%}z"), [(Text, "{{ no }}{% x %}"), (Text, "z")]);
        assert_eq!(pieces("{%- endif -%}").next().unwrap().tag(), "endif");
        for broken in ["{{", "{{ '", "{{ \"\\", "{%", "{#", "{% raw %}", "{", "{{ ( }}"] {
            assert_eq!(cut(broken).iter().map(|(_, text)| *text).collect::<String>(), broken);
        }
    }

    proptest! {
        /// Cut by us and put together again, a template is the same to the engine.
        #[test]
        fn any_text_is_cut_where_the_engine_cuts(source in "([ab'\"\\\\{}%#()\\[\\]é-]|\\{\\{ a|\\}\\}|\\{% if a %\\}|\\{% endif %\\}){0,24}") {
            let mut engine = millrace::domain::letter::environment();
            if engine.add_template_owned("text", source.clone()).is_ok() {
                let a = "A";
                let rendered = engine.get_template("text").unwrap().render(minijinja::context! { a });
                // What is text to us must be text to the engine, and the other way round.
                let marked: String = pieces(&source).map(|piece| match piece.kind {
                    Kind::Text if !piece.text.contains("{%") => piece.text.replace('a', "o"),
                    _ => piece.text.to_owned(),
                }).collect();
                let again = engine.render_named_str("text", &marked, minijinja::context! { a });
                if let (Ok(rendered), Ok(again)) = (rendered, again) {
                    prop_assert_eq!(rendered.replace('a', "o"), again.replace('a', "o"), "{}", marked);
                }
            }
            let _ = cut(&source);
        }
    }
}
