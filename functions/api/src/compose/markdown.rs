//! Markdown to HTML.

use super::mask::{Form, Masked, Masker};
use super::scan::{Kind, Piece, pieces};
use pulldown_cmark::{Options, Parser, html};

/// The document around the HTML that Markdown makes: its parts before and after.
const FRAME: [&str; 2] = [include_str!("markdown.head.html"), "\n</body>\n</html>\n"];

/// The template with its expressions hidden. A tag alone on its line becomes a comment, which is a block of its own to
/// Markdown; within a line it becomes an element, since what follows a comment at the beginning of a line is no Markdown.
pub(super) fn mask(source: &str) -> Masked<'_> {
    let mut masker = Masker::new(source);
    let pieces: Vec<Piece<'_>> = pieces(source).collect();
    for (i, piece) in pieces.iter().enumerate() {
        let end = piece.at + piece.text.len();
        let (before, after) = (&source[..piece.at], &source[end..]);
        match piece.kind {
            Kind::Text => {
                let closes = i > 0 && is_autolink(&pieces[i - 1], source);
                let text = if closes { &piece.text[1..] } else { piece.text };
                masker.text(text, piece.at + usize::from(closes));
            }
            Kind::Expression if is_autolink(piece, source) => {
                masker.take_back();
                masker.hide(*piece, Form::Link);
            }
            Kind::Expression => masker.hide(*piece, Form::Word),
            Kind::Tag | Kind::Comment => {
                let line = before.rsplit('\n').next().unwrap_or_default();
                let form = if in_destination(line) {
                    Form::Word
                } else if alone(before, after) {
                    Form::Comment
                } else {
                    Form::Element
                };
                masker.hide(*piece, form);
            }
        }
    }
    masker.done()
}

/// Whether the expression is all that stands in a pair of angle brackets: an address to be linked.
fn is_autolink(piece: &Piece<'_>, source: &str) -> bool {
    let (before, after) = (&source[..piece.at], &source[piece.at + piece.text.len()..]);
    piece.kind == Kind::Expression && before.ends_with('<') && after.starts_with('>')
}

/// Whether there are only tags and white space on the line.
fn alone(before: &str, after: &str) -> bool {
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = after.find('\n').unwrap_or(after.len());
    let blank = |text: &str| {
        let text = text.trim();
        text.is_empty() || pieces(text).all(|piece| piece.kind == Kind::Tag || piece.text.trim().is_empty())
    };
    // A multi-line expression before it may leave half a delimiter in `before`; that is not blank, which is right.
    blank(&before[line..]) && blank(&after[..rest])
}

/// Whether the line ends within the address of a link, as in `[text](https://`.
fn in_destination(line: &str) -> bool {
    line.rfind("](").is_some_and(|at| !line[at..].contains(')'))
}

/// The HTML document. It still holds what is hidden.
pub(super) fn render(masked: &Masked<'_>) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut body = String::with_capacity(masked.text.len() * 2);
    html::push_html(&mut body, Parser::new_ext(&masked.text, options));
    let [head, tail] = FRAME;
    [head, &masked.elements_to_comments(&body), tail].concat()
}
