//! The text part, made from the HTML part.

use super::mask::Masked;
use html2text::config::with_decorator;
use html2text::render::TextDecorator;
use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use std::cell::RefCell;

/// Where lines are wrapped, in columns, as far as they can be before names and links are filled in.
const WIDTH: usize = 76;

/// The text of an HTML document that still holds what is hidden.
pub(super) fn render(masked: &Masked<'_>, html: &str) -> Option<String> {
    let plain = masked.words_to_marks(&without_tables(&masked.comments_to_words(html)));
    let text = with_decorator(Links::default())
        .raw_mode(true)
        .allow_width_overflow()
        .no_link_wrapping()
        .string_from_read(plain.as_bytes(), WIDTH)
        .ok()?;
    let text = masked.marks_to_words(&text);
    // One empty line between paragraphs is enough. A line that holds only tags must leave none behind.
    let mut out = String::with_capacity(text.len());
    let mut gap = true;
    for line in text.lines().map(str::trim_end) {
        if masked.only_tags(line) {
            out.push_str(line.trim_start());
        } else if !(gap && line.is_empty()) {
            out.push_str(line);
            out.push('\n');
            gap = line.is_empty();
        }
    }
    out.truncate(out.trim_end().len());
    Some(out)
}

/// Tables, which letters use for layout, as plain blocks: between the rows of a table a parser keeps no words. Leaves out
/// the head, and what is not displayed.
fn without_tables(html: &str) -> String {
    let sink = Sink(RefCell::new(State { out: String::with_capacity(html.len()), hidden: None }));
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(html));
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    tokenizer.sink.0.into_inner().out
}

struct State {
    out: String,
    /// Within something that is not displayed: the name of its element, and how many of that name are open.
    hidden: Option<(String, usize)>,
}

struct Sink(RefCell<State>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => {
                let raw = match &*tag.name {
                    "style" | "script" if tag.kind == TagKind::StartTag => Some(RawKind::Rawtext),
                    "title" | "textarea" if tag.kind == TagKind::StartTag => Some(RawKind::Rcdata),
                    _ => None,
                };
                state.tag(&tag);
                return raw.map_or(TokenSinkResult::Continue, TokenSinkResult::RawData);
            }
            Token::CharacterTokens(text) if state.hidden.is_none() => escape(&mut state.out, &text, false),
            _ => (),
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn tag(&mut self, tag: &Tag) {
        let name = &*tag.name;
        let starts = tag.kind == TagKind::StartTag;
        if let Some((hidden, open)) = &mut self.hidden {
            if hidden == name {
                *open = if starts { *open + 1 } else { *open - 1 };
                if *open == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        let void = matches!(name, "img" | "br" | "hr" | "meta" | "link" | "input" | "col");
        let display = tag.attrs.iter().find(|attribute| &*attribute.name.local == "style");
        let display = display.is_some_and(|style| style.value.replace(' ', "").contains("display:none"));
        if starts && !void && !tag.self_closing && (display || matches!(name, "head" | "style" | "script" | "title")) {
            self.hidden = Some((name.to_owned(), 1));
            return;
        }
        let row = !starts && name == "tr";
        let name = match name {
            "table" | "thead" | "tbody" | "tfoot" | "tr" | "td" | "th" | "caption" => "div",
            other => other,
        };
        self.out.push_str(if starts { "<" } else { "</" });
        self.out.push_str(name);
        for attribute in tag.attrs.iter().filter(|_| starts) {
            if matches!(&*attribute.name.local, "href" | "src" | "alt" | "start") {
                self.out.push_str(&format!(" {}=\"", attribute.name.local));
                escape(&mut self.out, &attribute.value, true);
                self.out.push('"');
            }
        }
        self.out.push('>');
        if row {
            self.out.push_str("<br>");
        }
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if quotes => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// Links stand where they are, not as footnotes: a link within a loop has its address there only.
#[derive(Clone, Debug, Default)]
struct Links {
    urls: Vec<String>,
}

impl TextDecorator for Links {
    type Annotation = ();

    fn decorate_link_start(&mut self, url: &str) -> (String, ()) {
        self.urls.push(url.to_owned());
        (String::new(), ())
    }

    fn decorate_link_end(&mut self) -> String {
        match self.urls.pop() {
            Some(url) if !url.is_empty() && !url.starts_with('#') => format!(" <{url}>"),
            _ => String::new(),
        }
    }

    fn decorate_em_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_em_end(&self) -> String {
        String::new()
    }

    fn decorate_strong_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_strong_end(&self) -> String {
        String::new()
    }

    fn decorate_strikeout_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_strikeout_end(&self) -> String {
        String::new()
    }

    fn decorate_code_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_code_end(&self) -> String {
        String::new()
    }

    fn decorate_preformat_first(&self) {}

    fn decorate_preformat_cont(&self) {}

    fn decorate_image(&mut self, _src: &str, title: &str) -> (String, ()) {
        let shown = if title.is_empty() { String::new() } else { format!("[{title}]") };
        (shown, ())
    }

    fn header_prefix(&self, level: usize) -> String {
        format!("{} ", "#".repeat(level))
    }

    fn quote_prefix(&self) -> String {
        "> ".to_owned()
    }

    fn unordered_item_prefix(&self) -> String {
        "* ".to_owned()
    }

    fn ordered_item_prefix(&self, i: i64) -> String {
        format!("{i}. ")
    }

    fn make_subblock_decorator(&self) -> Self {
        self.clone()
    }
}
