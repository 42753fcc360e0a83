use super::super::*;
use super::*;
use proptest::prelude::*;

const HTML: &str = r#"<h1>Hello {{ name or "reader" }}</h1><p>The river is high.</p>
<p>{{ newsletter.name }}, {{ newsletter.postal_address }}</p><p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>"#;
const LINK: &str = "https://api.example.com/unsubscribe?token=AbC-_1";

fn head() -> Letterhead {
    Letterhead {
        newsletter: NewsletterId::derived(&["n"]),
        name: "Mill & Race".to_owned(),
        postal_address: "1 Mill Lane\nWatertown".to_owned(),
        from: Mailbox::parse("News <news@example.com>").unwrap(),
        reply_to: None,
        archive: true,
    }
}

fn letter(subject: &str, html: &str, text: &str) -> Result<Letter, LetterError> {
    let templates = Templates { subject: subject.to_owned(), html: html.to_owned(), text: text.to_owned() };
    Letter::new(&templates, &head())
}

fn ada() -> Recipient<'static> {
    Recipient { name: Some("Ada <b>"), email: "ada@example.com", unsubscribe_url: LINK, ..Recipient::default() }
}

fn problem(html: &str) -> LetterError {
    letter("s", html, "t").and_then(|letter| letter.check()).unwrap_err()
}

#[test]
fn values_are_escaped_in_html_alone_and_links_stay_as_they_are() {
    let text =
        "Hello {{ name or 'reader' }} of {{ newsletter.name }}: {{ unsubscribe_url }}, {{ newsletter.postal_address }}";
    let letter = letter("News for {{ name or 'you' }}", HTML, text).unwrap();
    let rendered = letter.render(&ada()).unwrap();
    assert_eq!(rendered.subject, "News for Ada <b>");
    assert!(rendered.html.contains("Hello Ada &lt;b&gt;"), "{}", rendered.html);
    assert!(rendered.html.contains(&format!(r#"href="{LINK}""#)), "{}", rendered.html);
    assert!(rendered.html.contains("Mill &amp; Race"), "{}", rendered.html);
    assert_eq!(rendered.text, format!("Hello Ada <b> of Mill & Race: {LINK}, 1 Mill Lane\nWatertown"));
    let nameless = letter.render(&Recipient { name: None, ..ada() }).unwrap();
    assert_eq!(nameless.subject, "News for you");
    assert!(nameless.text.starts_with("Hello reader of"));
}

#[test]
fn every_variable_exists() {
    let all = VARIABLES.map(|variable| format!("{{{{ {variable} }}}}")).concat();
    let html = format!("{all}{{% for tag in tags %}}[{{{{ tag }}}}]{{% endfor %}}");
    let tags = ["early".to_owned(), "b<c".to_owned()];
    let letter = letter("s", &html, &all).unwrap();
    letter.check().unwrap();
    let full = Recipient { tags: &tags, archive_url: Some("https://api.example.com/archive/n/c"), ..ada() };
    let rendered = letter.render(&full).unwrap();
    assert!(rendered.html.contains("https://api.example.com/archive/n/c"), "{}", rendered.html);
    assert!(rendered.html.ends_with("[early][b&lt;c]"), "{}", rendered.html);
    for html in ["{{ nobody }}", "{{ newsletter.nothing }}", "{{ name.first }}", "{{ debug() }}", "{{ namespace() }}"] {
        assert!(letter_of(html).is_err(), "{html}");
    }
}

fn letter_of(html: &str) -> Result<Rendered, LetterError> {
    letter("s", &format!("{HTML}{html}"), "t")?.render(&ada())
}

#[test]
fn a_text_gets_what_the_law_wants() {
    let text = letter("s", HTML, "Hi {{ name }}\n\n").unwrap().render(&ada()).unwrap().text;
    let foot = format!("\n\n-- \n1 Mill Lane\nWatertown\nUnsubscribe: {LINK}\n");
    assert_eq!(text, format!("Hi Ada <b>{foot}"));
    // Those who see it already see it once.
    let sometimes = "Hi{% if name %} {{ unsubscribe_url }} {{ newsletter.postal_address }}{% endif %}";
    let letter = letter("s", HTML, sometimes).unwrap();
    assert_eq!(letter.render(&ada()).unwrap().text, format!("Hi {LINK} 1 Mill Lane\nWatertown"));
    assert_eq!(letter.render(&Recipient { name: None, ..ada() }).unwrap().text, format!("Hi{foot}"));
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
    assert!(
        problem("{% if unsubscribe_url %}{{ newsletter.postal_address }}{% endif %}").problem.contains("unsubscribe")
    );
    let no_text = letter("s", HTML, " \n").unwrap().check().unwrap_err();
    assert_eq!(no_text.part, Part::Text);
}

#[test]
fn a_reader_who_would_see_no_way_out_gets_no_letter() {
    let html = "{{ newsletter.postal_address }}{% if 'vip' not in tags %}{{ unsubscribe_url }}{% endif %}";
    let letter = letter("s", html, "t").unwrap();
    letter.check().unwrap();
    let tags = ["vip".to_owned()];
    let error = letter.render(&Recipient { tags: &tags, ..ada() }).err().unwrap();
    assert!(error.problem.contains("{{ unsubscribe_url }}"), "{error}");
}

#[test]
fn errors_name_the_part_and_the_place() {
    let syntax = problem("<p>\n{{ name </p>");
    assert_eq!(syntax.part, Part::Html);
    let unknown = problem("<p>\n\n{{ nmae }}</p>");
    assert_eq!((unknown.part, unknown.offset), (Part::Html, Some(8)), "{unknown}");
    assert!(
        unknown.to_string().starts_with("html: something in it does not exist; there are name, email"),
        "{unknown}"
    );
    let endless = problem("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}");
    assert!(endless.problem.contains("steps"), "{endless}");
    let large = format!("{{% for a in range(9999) %}}{}{{% endfor %}}", "x".repeat(1000));
    assert!(problem(&large).problem.contains("512 KiB"));
    assert_eq!(letter(" ", HTML, "t").unwrap().check().unwrap_err().part, Part::Subject);
    assert_eq!(letter("s", HTML, "{{ x }}").unwrap().check().unwrap_err().part, Part::Text);
    assert_eq!(letter("{% if %}", HTML, "t").unwrap_err().part, Part::Subject);
}

#[test]
fn a_name_cannot_forge_a_header() {
    let letter = letter("News for {{ name }}", HTML, "t").unwrap();
    let rendered = letter.render(&Recipient { name: Some("Ada\r\nBcc: x@example.com"), ..ada() }).unwrap();
    assert_eq!(rendered.subject, "News for Ada Bcc: x@example.com");
}

#[test]
fn errors_at_rendering_show_no_values() {
    for html in
        ["{{ 1 + name }}", "{{ name | int }}", "{{ name[99] }}", "{{ name() }}", "{{ name.x() }}", "{{ name | foo }}"]
    {
        let error = letter_of(html).err().unwrap_or_else(|| panic!("{html}"));
        assert!(!format!("{error} {error:?}").contains("Ada"), "{error:?}");
    }
}

proptest! {
    #[test]
    fn a_subject_is_one_line_and_a_name_is_no_markup(name in "\\PC{0,40}|[\r\n\t<>&\"' a]{0,20}") {
        let letter = letter("News for {{ name }}", HTML, "t").unwrap();
        if let Ok(rendered) = letter.render(&Recipient { name: Some(&name), ..ada() }) {
            prop_assert!(!rendered.subject.chars().any(char::is_control), "{:?}", rendered.subject);
            let greeting = rendered.html.split("</h1>").next().unwrap().trim_start_matches("<h1>");
            prop_assert!(!greeting.contains(['<', '>', '"']), "{}", greeting);
        }
    }
}

#[test]
fn values_that_grow_run_out_of_fuel_before_the_memory_is_gone() {
    let doubled = "{% set x = x ~ x %}".repeat(36);
    let added = "{% set x = x + x %}".repeat(36);
    let with = format!("{}{}", "{% with x = x ~ x %}".repeat(36), "{% endwith %}".repeat(36));
    let replaced = "{% set x = x | replace('a', 'aaaaaaaaaaaaaaaa') %}".repeat(9);
    let joined = "{% set x = [x, x, x, x] | join('aaaa') %}".repeat(18);
    let counted = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned();
    let listed = "{% set x = range(100000) | list %}".repeat(400);
    for growing in [doubled, added, with, replaced, joined, counted, listed] {
        let source = format!("{{% set x = 'aaaaaaaaaaaaaaaa' %}}{growing}");
        let memory = allocation_counter::measure(|| {
            let mut environment = environment();
            environment.add_template_owned("text", source.clone()).unwrap();
            let error = environment.get_template("text").unwrap().render(minijinja::context! {}).expect_err(&source);
            let problem = template_error(Part::Text, &error).problem;
            assert!(problem.contains("too many steps"), "{problem}: {}", &source[..80]);
        });
        assert!(memory.bytes_max < 32 << 20, "{} bytes for {}", memory.bytes_max, &source[..80]);
    }
}
