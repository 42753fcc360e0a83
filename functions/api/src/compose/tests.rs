use super::*;
use millrace::domain::address::Mailbox;
use millrace::domain::id::NewsletterId;
use millrace::domain::letter::{Recipient, Rendered};
use proptest::prelude::*;

const FOOT: &str = r#"<p>{{ newsletter.postal_address }} <a href="{{ unsubscribe_url }}">Out</a></p>"#;
const LINK: &str = "https://api.example.com/unsubscribe?token=AbC-_1";

fn head() -> Letterhead {
    Letterhead {
        newsletter: NewsletterId::derived(&["n"]),
        name: "Mill & Race".to_owned(),
        postal_address: "1 Mill Lane".to_owned(),
        from: Mailbox::parse("News <news@example.com>").unwrap(),
        reply_to: None,
        archive: false,
    }
}

fn written(body: Body) -> Manuscript {
    Manuscript { subject: "News".to_owned(), body, text: None }
}

fn ada() -> Recipient<'static> {
    Recipient { name: Some("Ada"), email: "ada@example.com", unsubscribe_url: LINK, ..Recipient::default() }
}

fn faults(written: Manuscript) -> Vec<(String, String)> {
    let faults = letter(written, head()).expect_err("a fault");
    faults.into_iter().map(|fault| (fault.pointer.unwrap_or_default(), fault.detail)).collect()
}

#[track_caller]
fn fault(body: Body) -> (String, String) {
    let mut faults = faults(written(body));
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

/// Renders a body for a recipient.
#[track_caller]
fn render(body: Body, recipient: &Recipient<'_>) -> Rendered {
    let stored = letter(written(body), head()).unwrap_or_else(|faults| panic!("{faults:?}"));
    Letter::new(&stored.templates, &stored.head).unwrap().render(recipient).unwrap()
}

/// The same with a foot that makes it lawful.
#[track_caller]
fn html(content: &str, recipient: &Recipient<'_>) -> Rendered {
    render(Body::Html(format!("{content}{FOOT}")), recipient)
}

#[track_caller]
fn markdown(content: &str, recipient: &Recipient<'_>) -> Rendered {
    let foot = "\n\n{{ newsletter.postal_address }} [Out]({{ unsubscribe_url }})\n";
    render(Body::Markdown(format!("{content}{foot}")), recipient)
}

fn mjml_source(content: &str) -> String {
    format!(
        "<mjml><mj-head><mj-title>{{{{ newsletter.name }}}}</mj-title><mj-preview>For {{{{ name }}}}</mj-preview>\
         <mj-style>.big {{ font-size: 30px }} @media (max-width:480px) {{ .big {{ font-size: 20px }} }}</mj-style></mj-head>\
         <mj-body>{content}<mj-section><mj-column><mj-text>{FOOT}</mj-text></mj-column></mj-section></mj-body></mjml>"
    )
}

#[track_caller]
fn mjml(content: &str, recipient: &Recipient<'_>) -> Rendered {
    render(Body::Mjml(mjml_source(content)), recipient)
}

fn mj_text(content: &str) -> String {
    format!("<mj-section><mj-column><mj-text>{content}</mj-text></mj-column></mj-section>")
}

#[track_caller]
fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "no {wanted:?} in {text}");
}

#[track_caller]
fn has_not(text: &str, unwanted: &str) {
    assert!(!text.contains(unwanted), "{unwanted:?} in {text}");
}

/// HTML without attributes.
fn bare(html: &str) -> String {
    let tag = |part: &str| match part.split_once('>') {
        Some((tag, rest)) => format!("<{}>{rest}", tag.split(' ').next().unwrap_or_default()),
        None => part.to_owned(),
    };
    html.split('<').map(tag).collect()
}

#[test]
fn a_comparison_in_mjml_is_no_markup() {
    let content = mj_text("{% if tags | length < 3 and 1 < 2 %}few{% else %}many{% endif %} tags");
    has(&mjml(&content, &ada()).html, "few tags");
    let tags: Vec<String> = (0..3).map(|i| i.to_string()).collect();
    let many = mjml(&content, &Recipient { tags: &tags, ..ada() });
    has(&many.html, "many tags");
    has(&many.text, "many tags");
}

#[test]
fn quotes_in_an_expression_leave_the_attribute_whole() {
    let content = r#"<mj-section><mj-column><mj-button href="https://x.example/?n={{ name | default("z") }}">Go</mj-button>
        <mj-image src="https://x.example/{{ "a b" | replace(" ", "-") }}.png" alt="{{ name or "nobody" }}" /></mj-column></mj-section>"#;
    let rendered = mjml(content, &ada());
    has(&rendered.html, r#"href="https://x.example/?n=Ada""#);
    has(&rendered.html, r#"src="https://x.example/a-b.png""#);
    has(&rendered.html, r#"alt="Ada""#);
    let rendered = html(r#"<a class='{{ "x" }}' href="/{{ name | default("z") }}">Go</a>"#, &ada());
    has(&rendered.html, r#"<a class="x" href="/Ada">Go</a>"#);
    let nasty = Recipient { name: Some(r#""><script>"#), ..ada() };
    has_not(&html(r#"<a href="/{{ name }}">Go</a>"#, &nasty).html, "<script>");
}

#[test]
fn a_loop_around_the_rows_of_a_table_stays_in_the_table() {
    let tags = ["one".to_owned(), "two".to_owned()];
    let reader = Recipient { tags: &tags, ..ada() };
    let table = "<table><tbody>{% for tag in tags %}<tr><td>{{ tag }}</td></tr>{% endfor %}</tbody></table>";
    let rows = "<tbody><tr><td>one</td></tr><tr><td>two</td></tr></tbody>";
    let rendered = html(table, &reader);
    has(&rendered.html, rows);
    has(&rendered.text, "one\n\ntwo\n");
    let content = "<mj-section><mj-column><mj-table>{% for tag in tags %}<tr><td>{{ tag }}</td></tr>{% endfor %}\
                   </mj-table></mj-column></mj-section>";
    has(&bare(&mjml(content, &reader).html), rows);
    has(&html(table, &ada()).html, "<tbody></tbody>");
    let implied = table.replace("<tbody>", "").replace("</tbody>", "");
    has(&html(&implied, &reader).html, &format!("<table>{rows}</table>"));
    has(&html(&implied, &ada()).html, "<table><tbody></tbody></table>");
    let nested = format!("{{% if name %}} {}", implied.replace("{{ tag }}", table));
    has(&html(&format!("<table>{nested}{{% endif %}}</table>"), &reader).text, "one\n\ntwo\n\none\n\ntwo\n");
    let groups = "<table>{% for tag in tags %}<tbody><tr><td>{{ tag }}</td></tr></tbody>{% endfor %}</table>";
    has(
        &html(groups, &reader).html,
        "<table><tbody><tr><td>one</td></tr></tbody><tbody><tr><td>two</td></tr></tbody></table>",
    );
    has(&bare(&markdown(table, &reader).html), rows);
}

#[test]
fn sections_and_columns_can_be_conditional_and_repeated() {
    let tags = ["one".to_owned(), "two".to_owned()];
    let content = format!(
        "{{% if name %}}{}{{% else %}}{}{{% endif %}}{{% for tag in tags %}}{}{{% endfor %}}\
         <mj-section>{{% if tags %}}<mj-column><mj-text>Sinister</mj-text></mj-column>{{% endif %}}\
         <mj-column><mj-text>Dexter</mj-text>{{% if tags %}}<mj-button href=\"https://x.example/\">Press</mj-button>{{% endif %}}\
         </mj-column></mj-section>",
        mj_text("Dear {{ name }}"),
        mj_text("Dear reader"),
        mj_text("about {{ tag }}")
    );
    let full = mjml(&content, &Recipient { tags: &tags, ..ada() });
    for wanted in ["Dear Ada", "about one", "about two", "Sinister", "Dexter", "Press"] {
        has(&full.html, wanted);
        has(&full.text, wanted);
    }
    let bare = mjml(&content, &Recipient { name: None, ..ada() });
    has(&bare.html, "Dear reader");
    for unwanted in ["Dear Ada", "about", "Sinister", "Press", "zq"] {
        has_not(&bare.html, unwanted);
        has_not(&bare.text, unwanted);
    }
}

#[test]
fn titles_previews_and_comments_hide_no_markup() {
    let rendered = mjml(&mj_text("<!-- {{ name }} -->x"), &ada());
    has(&rendered.html, "<title>Mill &amp; Race</title>");
    has(&rendered.html, "For Ada");
    let page = "<title>{% if name %}To {{ name }}{% endif %}</title><!-- old: {{ name }} {% if name %}x{% endif %} -->\
                <!--[if mso]><table><tr><td>{{ email }}</td></tr></table><![endif]-->";
    let rendered = html(page, &ada());
    has(&rendered.html, "<title>To Ada</title>");
    has(&rendered.html, "<!--[if mso]><table><tr><td>ada@example.com</td></tr></table><![endif]-->");
}

#[test]
fn styles_are_put_onto_elements_and_what_depends_on_the_screen_stays() {
    let rendered = mjml(&mj_text(r#"<span class="big">Big</span>"#), &ada());
    has(&rendered.html, "font-size: 30px");
    has(&rendered.html, "@media (max-width:480px)");
    let style = "<style>a { color: red } @media print { a { color: black } }</style><a href='https://x.example/'>x</a>";
    let rendered = html(style, &ada());
    has(&rendered.html, r#"<a href="https://x.example/" style="color: red;">x</a>"#);
    has(&rendered.html, "@media print");
    let link =
        r#"<link rel="stylesheet" href="http://127.0.0.1:9/style.css"><link rel="stylesheet" href="/etc/passwd">"#;
    has(&html(link, &ada()).html, "127.0.0.1:9");
}

#[test]
fn nothing_is_included() {
    for source in [r#"<mj-include path="/etc/passwd" />"#, r#"<mj-include path="http://127.0.0.1:9/x.mjml" />"#] {
        let (pointer, detail) = fault(Body::Mjml(mjml_source(source)));
        assert_eq!(pointer, "/body/mjml");
        has(&detail, "nothing can be included");
    }
}

#[test]
fn markdown_leaves_expressions_alone() {
    let tags = ["a_b_c".to_owned(), "*d*".to_owned()];
    let reader = Recipient { tags: &tags, ..ada() };
    let rendered = markdown(
        "{{ tags | first | default('_') | replace('_', '*') }} and {{ 2 * 3 * 4 }} {{ newsletter.name | upper }}",
        &reader,
    );
    has(&bare(&rendered.html), "<p>a*b*c and 24 MILL &amp; RACE</p>");
    let rendered = markdown(
        "# Hi {{ name }}\n\n**{{ name }}** _{{ email }}_ [{{ name }}](https://x.example/?a={{ tags | first | default('_') }}&b=c)",
        &reader,
    );
    has(&rendered.html, ">Hi Ada</h1>");
    has(&rendered.html, "<strong>Ada</strong> <em>ada@example.com</em>");
    has(&rendered.html, r#"href="https://x.example/?a=a_b_c&amp;b=c""#);
    let rendered = markdown("{% for tag in tags %}\n- {{ tag }}\n{% endfor %}\n\nEnd", &reader);
    has(&bare(&rendered.html), "<li>a_b_c</li>");
    has(&bare(&rendered.html), "<li>*d*</li>");
    has(&rendered.text, "* a_b_c\n");
    has(&rendered.text, "* *d*\n");
}

#[test]
fn markdown_beside_a_tag_is_still_markdown() {
    let source = "{% if name %}**Dear** _{{ name }}_{% else %}_Dear_ reader{% endif %}, see [this](https://x.example/{% if name %}a{% endif %}).";
    let rendered = markdown(source, &ada());
    has(&rendered.html, "<strong>Dear</strong> <em>Ada</em>, see <a href=\"https://x.example/a\">this</a>.");
    has(&rendered.text, "Dear Ada, see this <https://x.example/a>.");
    let rendered = markdown(source, &Recipient { name: None, ..ada() });
    has(&rendered.html, "<em>Dear</em> reader, see <a href=\"https://x.example/\">this</a>.");
    has_not(&rendered.html, "<!--");
    let linked = markdown("<{{ unsubscribe_url }}> or `{{ name }}`", &ada());
    has(&linked.html, &format!("<a href=\"{LINK}\">{LINK}</a> or <code"));
    has(&bare(&linked.html), "<code>Ada</code>");
}

#[test]
fn what_only_looks_like_an_expression_stays_text() {
    let rendered = html("<p>{% raw %}{{ name }} {% if %} {# x #}{% endraw %} {<b></b>{ x } }</p>", &ada());
    has(&rendered.html, "<p>{{ name }} {% if %} {# x #} {<b></b>{ x } }</p>");
    has(&rendered.text, "{{ name }} {% if %} {# x #}");
    let rendered = markdown("\\{\\{ name }} and {*{ name }}* `{\\`{{ name }}", &ada());
    has(&rendered.html, "{{ name }}");
    let style = "<style>@media print{ #a{color:red} }</style><p id='a'>{<i></i>{{ name }}</p>";
    has(&html(style, &ada()).html, "{<i></i>Ada");
    has(&html(style, &ada()).text, "{Ada");
}

#[test]
fn the_text_part_follows_the_blocks() {
    let content = "<style>p{margin:0}</style><div style=\"display: none\">preheader</div>\
        <table><tr><td><h1>News</h1>{% if name %}<p>Dear {{ name }},</p>{% endif %}<p>One.</p>\
        {% for tag in tags %}<p><a href=\"https://x.example/{{ tag }}\">{{ tag }}</a></p>{% endfor %}\
        <p>Two.<img src=\"x.png\" alt=\"A wheel\"></p></td></tr></table>";
    let tags = ["a".to_owned(), "b".to_owned()];
    let full = html(content, &Recipient { tags: &tags, ..ada() }).text;
    let foot = format!("1 Mill Lane Out <{LINK}>");
    assert_eq!(
        full,
        format!(
            "# News\n\nDear Ada,\n\nOne.\n\na <https://x.example/a>\n\nb <https://x.example/b>\n\nTwo.[A wheel]\n\n{foot}"
        )
    );
    let bare = html(content, &Recipient { name: None, ..ada() }).text;
    assert_eq!(bare, format!("# News\n\nOne.\n\nTwo.[A wheel]\n\n{foot}"));
}

#[test]
fn a_given_text_is_taken_as_it_is() {
    let body = Body::Html(FOOT.to_owned());
    let stored = letter(Manuscript { text: Some("Hi {{ name }} *_*".to_owned()), ..written(body) }, head()).unwrap();
    assert_eq!(stored.templates.text, "Hi {{ name }} *_*");
}

#[test]
fn faults_are_at_their_place_in_the_source() {
    let body = |content: &str| Body::Html(format!("<p>\n  {content}</p>\n{FOOT}"));
    let check = |content: &str, wanted: &str| {
        let (pointer, detail) = fault(body(content));
        assert_eq!(pointer, "/body/html");
        assert!(detail.starts_with(wanted), "{content}: {detail}");
    };
    check("{{ nmae }}", "line 2, column 6: there is no `nmae`; there are name, email, tags,");
    check("é{{ 1 + newsletter.nmae }}", "line 2, column 11: there is no `newsletter.nmae`");
    check("{% if nmae == 'x' %}{% endif %}", "line 2, column 9: there is no `nmae`");
    check("{{ name", "line 2, column 11: unexpected");
    check("{% if name %}", "line 3, column");
    check("{{ name | uper }}", "line 2, column");
    check("{{ 1 + name }}", "line 2, column 3: invalid operation");
    check("{{ name[9] }}", "line 2, column 3: something in it does not exist");
    check("{% include 'html' %}", "line 2, column 3: there is no tag `include`");
    check("{{ [name, name] }}", "line 2, column 6: lists cannot be written");
    check("{% for x in ['a'] %}{% endfor %}", "line 2, column 15: lists cannot be written");
    check("{% set x = (name, name) %}", "line 2, column 19: lists cannot be written");
    check("{% set x = name, name %}", "line 2, column 18: lists cannot be written");
    check("{{ {'a': 1} }}", "line 2, column 6: lists cannot be written");
    check("{{ tags | map('upper') }}", "line 2, column 13: there is no filter `map`");
    check("{{ '\\'' | format(1) }}", "line 2, column 13: there is no filter `format`");
    check("{{ dict(a=1) }}", "line 2, column 6: there is no `dict`");
    check("{% set x %}{% endset %}", "line 2, column 3: `set` needs a value");
    check("<b {{ name }}>x</b>", "line 2, column 6: an expression in a tag must be in the quoted value");
    check("<b {% if name %}id='a'{% endif %}>x</b>", "line 2, column 6: an expression in a tag must be");
    check("<{{ name }}>x", "line 2, column 4: an expression cannot be the name of a tag");
    check("<style>{% if name %}b{}{% endif %}</style>", "line 2, column 10: a block cannot stand in a style sheet");
    check("<style>@media print{#a{}}</style>", "line 3, column");
    check(
        "<table><tr>{% for tag in tags %}{{ tag }}{% endfor %}</tr></table>",
        "line 2, column 35: `{{ tag }}` is moved out",
    );

    let two = Body::Mjml(mjml_source("\n{{ a }}{{ b }}"));
    let pointers: Vec<_> =
        faults(written(two)).into_iter().map(|(pointer, detail)| (pointer, detail[..6].to_owned())).collect();
    assert_eq!(
        pointers,
        [("/body/mjml".to_owned(), "line 2".to_owned()), ("/body/mjml".to_owned(), "line 2".to_owned())]
    );
    let (_, detail) = fault(Body::Mjml(mjml_source("\n\n<mj-section>{{ name }}<mj-colum></mj-colum></mj-section>")));
    has(&detail, "line 3, column");
    has(&detail, "not MJML");
    for broken in ["", " ", "<p>x", "<mjml>", "<mjml></mjml>"] {
        assert_eq!(fault(Body::Mjml(broken.to_owned())).0, "/body/mjml", "{broken}");
    }
    assert_eq!(fault(Body::Markdown("{{ x }}".to_owned())).0, "/body/markdown");
    let all = Manuscript {
        subject: "{{ a }}".to_owned(),
        body: Body::Html("{{ b }}".to_owned()),
        text: Some("{{ c }}".to_owned()),
    };
    let pointers: Vec<_> = faults(all).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/subject", "/body/html", "/text"]);
}

#[test]
fn what_hides_expressions_is_nowhere_in_the_source_and_is_found_at_once() {
    let source = format!("<p>zq zqx {} {{{{ name }}}} zq0z</p>", "zqxxx".repeat(90_000));
    has(&html(&source, &ada()).html, "zqxxx Ada zq0z");
}

#[test]
fn a_break_of_lines_in_the_text_cuts_no_expression() {
    let many = "{% if name %}{{ name }}{% endif %}".repeat(40);
    let rendered = html(&format!("<p>{many} \u{f0001}&#xF0002;{{{{ email }}}}</p>"), &ada());
    let text: String = rendered.text.split_whitespace().collect();
    has(&text, &format!("{}ada@example.com1MillLane", "Ada".repeat(40)));
}

#[test]
fn unlawful_letters_are_refused() {
    let no_link = fault(Body::Markdown("{{ newsletter.postal_address }}".to_owned()));
    has(&no_link.1, "{{ unsubscribe_url }}");
    let no_address = fault(Body::Mjml(mjml_source("").replace("{{ newsletter.postal_address }}", "")));
    has(&no_address.1, "{{ newsletter.postal_address }}");
    let picture = r#"<img src="{{ unsubscribe_url }}#{{ newsletter.postal_address }}">"#;
    has(&fault(Body::Html(picture.to_owned())).1, "the text part is empty");
}

#[test]
fn sizes_are_bounded() {
    let html = |content: String| Body::Html(content + FOOT);
    has(&fault(html("x".repeat(MAX_PART))).1, "512 KiB");
    has(&fault(html("{{ name }}".repeat(MAX_EXPRESSIONS))).1, "more than 2000 expressions");
    has(&fault(html("<div>".repeat(MAX_DEPTH + 1))).1, "nested more than 100 deep");
    has(&fault(Body::Mjml(mjml_source(&"<mj-wrapper>".repeat(MAX_DEPTH)))).1, "nested more than 100 deep");
    render(html("<div>".repeat(MAX_DEPTH) + &"</div>".repeat(MAX_DEPTH)), &ada());
    render(html("<p>x<br>".repeat(2_000)), &ada());
    render(html("<table><tr><td>".repeat(MAX_DEPTH - 2)), &ada());
    has(&fault(Body::Markdown("> ".repeat(5_000) + FOOT)).1, "nested more than");
}

#[test]
fn the_sample_letters_are_whole() {
    let samples = [
        Body::Html(include_str!("../../../../events/letter.html").to_owned()),
        Body::Mjml(include_str!("../../../../events/letter.mjml").to_owned()),
        Body::Markdown(include_str!("../../../../events/letter.md").to_owned()),
    ];
    for body in samples {
        let language = body.language();
        let tags = ["early".to_owned()];
        let rendered = render(body, &Recipient { tags: &tags, ..ada() });
        for part in [&rendered.html, &rendered.text] {
            has(part, "Ada");
            has(part, LINK);
            has(part, "1 Mill Lane");
            has_not(part, "{{");
            has_not(part, "zq");
        }
        has_not(&rendered.text, "<td");
        assert!(rendered.html.len() < 102 * 1024, "{language}");
    }
}

fn pieces_without_specials() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        "[a-zA-Z0-9 ,.!?äé-]{1,12}",
        Just("{{ name }}".to_owned()),
        Just("{{- email -}}".to_owned()),
        Just("{{ name | default('x') | upper }}".to_owned()),
        Just("{{ '}}' }}".to_owned()),
        Just("{# a comment #}".to_owned()),
        Just("{% raw %}{{ x }}{% endraw %}".to_owned()),
    ];
    plain.prop_recursive(3, 24, 6, |inner| {
        let many = prop::collection::vec(inner, 0..5).prop_map(|parts| parts.concat());
        prop_oneof![
            many.clone().prop_map(|inner| format!("{{% if name == 'Ada' %}}{inner}{{% else %}}no{{% endif %}}")),
            many.clone().prop_map(|inner| format!("{{%- for tag in tags %}}{inner}{{{{ tag }}}}{{% endfor -%}}")),
            many.clone().prop_map(|inner| format!("{{% if 1 < 2 and 3 > 2 %}}{inner}{{% endif %}}")),
            many,
        ]
    })
}

/// By this a tracked mail's links that must not be tracked are found.
#[test]
fn every_link_comes_out_between_double_quotes() {
    let link = "<a class=out href='{{ unsubscribe_url }}'>Out</a> <A HREF={{unsubscribe_url}}>Out</A>";
    let by_name = "{% set out = unsubscribe_url %}<a target=_blank\n href = \"{{ out }}\">Out</a>";
    let button = "<mj-button href='{{ unsubscribe_url }}'>Out</mj-button>";
    let way = format!(" href=\"{}", ada().unsubscribe_url);
    for (rendered, links) in [
        (html(&format!("<p>{link}{by_name}</p>"), &ada()), 3),
        (markdown(&format!("{link}{by_name} [Out]({{{{ unsubscribe_url }}}})"), &ada()), 4),
        (mjml(&format!("{}{button}", mj_text("<a href='{{ unsubscribe_url }}'>Out</a>")), &ada()), 2),
    ] {
        assert!(rendered.html.matches(&way).count() >= links, "{}", rendered.html);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What has no meaning in HTML, MJML or Markdown comes through each of them as it was.
    #[test]
    fn a_template_without_specials_renders_the_same(source in pieces_without_specials()) {
        let tags = ["one".to_owned(), "two".to_owned()];
        let reader = Recipient { tags: &tags, ..ada() };
        let mut plain = millrace::domain::letter::environment();
        let start = "x";
        plain.add_template_owned("html", format!("{start}{source}{start}")).unwrap();
        let values = minijinja::context! { name => "Ada", email => "ada@example.com", tags => ["one", "two"] };
        let wanted = plain.get_template("html").unwrap().render(values).unwrap();
        // As a browser shows it: white space is one blank.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let inner = |html: &str| {
            let from = html.split("<em>").nth(1).unwrap_or_default();
            words(from.split("</em>").next().unwrap_or_default())
        };
        let marked = format!("<em>{start}{source}{start}</em>");
        prop_assert_eq!(inner(&html(&format!("<p>{marked}</p>"), &reader).html), words(&wanted));
        prop_assert_eq!(inner(&mjml(&mj_text(&marked), &reader).html), words(&wanted));
        let rendered = markdown(&format!("Text {marked}"), &reader);
        prop_assert_eq!(inner(&rendered.html).replace("&gt;", ">"), words(&wanted).replace("&gt;", ">"));
    }

    #[test]
    fn any_text_is_answered(source in "([<>/a-z {}%#'\"=!-]|\\{\\{ name \\}\\}|<td>|</p>|<!--|\\{% if name %\\}|\\{% endif %\\}){0,40}") {
        for body in [Body::Html(source.clone()), Body::Mjml(mjml_source(&source)), Body::Markdown(source.clone())] {
            let _ = letter(written(body), head());
        }
    }
}
