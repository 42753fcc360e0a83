use super::*;

const HTML: &str = r#"<html><body><h1>Hello {{ name or "reader" }}</h1>
<p>The river is high. <a href="https://example.com/river">Read more</a></p>
<p>{{ newsletter.name }}, {{ newsletter.postal_address }}</p>
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>"#;

fn source(html: &str) -> LetterSource {
    LetterSource {
        subject: "News for {{ name or 'you' }}".to_owned(),
        html: html.to_owned(),
        text: None,
        newsletter_name: "Mill & Race".to_owned(),
        postal_address: "1 Mill Lane\nWatertown".to_owned(),
        from: Mailbox::parse("News <news@example.com>").unwrap(),
        reply_to: None,
    }
}

fn ada() -> Recipient<'static> {
    Recipient {
        name: Some("Ada <b>"),
        email: "ada@example.com",
        unsubscribe_url: "https://api.example.com/unsubscribe?token=AbC-_1",
    }
}

fn problem(html: &str) -> LetterError {
    Letter::compile(&source(html)).unwrap_err()
}

#[test]
fn values_are_escaped_in_html_alone_and_links_stay_as_they_are() {
    let letter = Letter::compile(&source(HTML)).unwrap();
    let rendered = letter.render(&ada()).unwrap();
    assert_eq!(rendered.subject, "News for Ada <b>");
    assert!(rendered.html.contains("Hello Ada &lt;b&gt;"), "{}", rendered.html);
    assert!(rendered.html.contains(r#"href="https://api.example.com/unsubscribe?token=AbC-_1""#), "{}", rendered.html);
    assert!(rendered.html.contains("Mill &amp; Race"), "{}", rendered.html);
    assert!(rendered.text.contains("Hello Ada <b>"), "{}", rendered.text);
    assert!(rendered.text.contains("https://api.example.com/unsubscribe?token=AbC-_1"), "{}", rendered.text);
    assert!(rendered.text.contains("Mill & Race"), "{}", rendered.text);
    assert!(words_in(&rendered.text, "1 Mill Lane Watertown"), "{}", rendered.text);
    let nameless = letter.render(&Recipient { name: None, ..ada() }).unwrap();
    assert_eq!(nameless.subject, "News for you");
    assert!(nameless.text.contains("Hello reader"));
}

#[test]
fn simple_letters_have_a_text_template_and_those_with_blocks_make_text_from_each_html() {
    assert!(Letter::compile(&source(HTML)).unwrap().has_text);
    let blocks = format!("{HTML}{{% if name %}}<p>Dear <i>{{{{ name }}}}</i></p>{{% endif %}}");
    let letter = Letter::compile(&source(&blocks)).unwrap();
    assert!(!letter.has_text);
    assert!(letter.render(&ada()).unwrap().text.contains("Dear Ada <b>"));
    assert!(!letter.render(&Recipient { name: None, ..ada() }).unwrap().text.contains("Dear"));
}

#[test]
fn a_given_text_gets_what_the_law_wants() {
    let letter = Letter::compile(&LetterSource { text: Some("Hi {{ name }}".to_owned()), ..source(HTML) }).unwrap();
    let text = letter.render(&ada()).unwrap().text;
    assert_eq!(
        text,
        "Hi Ada <b>\n\n-- \n1 Mill Lane\nWatertown\nUnsubscribe: https://api.example.com/unsubscribe?token=AbC-_1\n"
    );
}

#[test]
fn unlawful_letters_are_refused() {
    let no_link = problem("<p>{{ newsletter.postal_address }}</p>");
    assert_eq!(no_link.part, Part::Html);
    assert!(no_link.problem.contains("{{ unsubscribe_url }}"), "{no_link}");
    let no_address = problem("<p>{{ unsubscribe_url }}</p>");
    assert!(no_address.problem.contains("{{ newsletter.postal_address }}"), "{no_address}");
    let sometimes = "{% if name %}{{ unsubscribe_url }}{% endif %}{{ newsletter.postal_address }}";
    assert!(problem(sometimes).problem.contains("unsubscribe_url"));
}

#[test]
fn errors_name_the_part_and_the_line() {
    let syntax = problem("<p>\n{{ name </p>");
    assert_eq!((syntax.part, syntax.line), (Part::Html, Some(2)), "{syntax}");
    let unknown = problem("<p>\n\n{{ nmae }}</p>");
    assert_eq!((unknown.part, unknown.line), (Part::Html, Some(3)), "{unknown}");
    assert!(unknown.to_string().starts_with("html, line 3: a placeholder does not exist"), "{unknown}");
    let endless = problem("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}");
    assert!(endless.problem.contains("steps"), "{endless}");
    assert_eq!(
        Letter::compile(&LetterSource { subject: " ".to_owned(), ..source(HTML) }).unwrap_err().part,
        Part::Subject
    );
    let text = LetterSource { text: Some("{{ x }}".to_owned()), ..source(HTML) };
    assert_eq!(Letter::compile(&text).unwrap_err().part, Part::Text);
}

#[test]
fn a_name_cannot_forge_a_header() {
    let letter = Letter::compile(&source(HTML)).unwrap();
    let rendered = letter.render(&Recipient { name: Some("Ada\r\nBcc: x@example.com"), ..ada() }).unwrap();
    assert_eq!(rendered.subject, "News for Ada Bcc: x@example.com");
}

#[test]
fn errors_at_rendering_show_no_values() {
    let html = format!("{HTML}{{{{ 1 + name }}}}");
    let error = Letter::compile(&source(&html)).unwrap_err().to_string();
    assert!(!error.contains("Ada"), "{error}");
}
