//! The inbox a developer looks at. One page, rendered here; its script only fetches it again.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::App;
use crate::api::{NO_SUCH_MAIL, Problem, tag};
use crate::mail::{Attachment, Header, Mail, bare, readable};
use crate::store::Filter;

/// Mails on one page of the list.
const PAGE: usize = 100;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(inbox)).route("/messages/{id}/html", get(html_part))
}

const STYLE: &str = include_str!("../templates/inbox.css");
const SCRIPT: &str = include_str!("../templates/inbox.js");

/// The templates, compiled once.
pub(crate) struct Pages {
    templates: Environment<'static>,
    /// The page's content security policy. It names the style and the script by their hashes, so that nothing else runs.
    policy: String,
}

impl Pages {
    /// # Panics
    /// A template in the source does not compile.
    pub(crate) fn new() -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(syntax.expect("the default delimiters are valid"));
        templates.add_template("inbox.html", include_str!("../templates/inbox.html")).expect("inbox.html compiles");
        templates.add_global("style", Value::from_safe_string(STYLE.to_owned()));
        templates.add_global("script", Value::from_safe_string(SCRIPT.to_owned()));
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; frame-src 'self'; \
             img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        Self { templates, policy }
    }
}

/// What the page shows. Every link on it is this with one thing changed, so a refresh or a shared link shows the same.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    /// Only mails to addresses containing this.
    #[serde(default)]
    to: String,
    /// Only mails with this tag (`name:value`).
    #[serde(default)]
    tag: String,
    /// Only mails older than this place in the list.
    before: Option<u64>,
    /// The mail that is open.
    id: Option<String>,
    /// The part that is shown. Without it, the best the mail has.
    tab: Option<Tab>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tab {
    Html,
    Text,
    Headers,
    Json,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Html, "html", "HTML"),
        (Self::Text, "text", "Text"),
        (Self::Headers, "headers", "Headers & tags"),
        (Self::Json, "json", "Raw JSON"),
    ];

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl View {
    fn link(&self) -> String {
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: &str| pairs.push(format!("{name}={}", percent_encoded(value)));
        if !self.to.is_empty() {
            add("to", &self.to);
        }
        if !self.tag.is_empty() {
            add("tag", &self.tag);
        }
        if let Some(before) = self.before {
            add("before", &before.to_string());
        }
        if let Some(id) = &self.id {
            add("id", id);
        }
        if let Some(tab) = self.tab {
            add("tab", tab.name());
        }
        if pairs.is_empty() { "/".to_owned() } else { format!("/?{}", pairs.join("&")) }
    }
}

fn percent_encoded(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

async fn inbox(
    State(app): State<App>,
    request: HeaderMap,
    query: Result<Query<View>, QueryRejection>,
) -> Result<Response, Problem> {
    let Ok(Query(view)) = query else {
        return Err(Problem(StatusCode::BAD_REQUEST, "The query takes to, tag, before, id and tab"));
    };
    let filter = Filter {
        to_contains: Some(view.to.trim().to_owned()).filter(|to| !to.is_empty()),
        tag: tag(Some(view.tag.clone()).filter(|tag| !tag.is_empty()))?,
        ..Filter::default()
    };
    let (mails, next) = app.store.page(&filter, view.before, PAGE);
    let rows: Vec<Value> = mails.iter().map(|mail| row(&view, mail)).collect();
    let open = view.id.as_deref().map(|id| app.store.get(id));
    let status = if matches!(open, Some(None)) { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let host = request.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let page = context! {
        url => format!("http://{host}"),
        count => app.store.count(&filter),
        kept => app.store.count(&Filter::default()),
        to => view.to.clone(),
        tag => view.tag.clone(),
        id => view.id.clone(),
        rows,
        older => next.map(|place| View { before: Some(place), ..view.clone() }.link()),
        newest => view.before.map(|_| View { before: None, ..view.clone() }.link()),
        without_tag => View { tag: String::new(), before: None, ..view.clone() }.link(),
        without_filter => View { to: String::new(), tag: String::new(), before: None, ..view.clone() }.link(),
        closed => View { id: None, tab: None, ..view.clone() }.link(),
        open => open.flatten().map(|mail| detail(&view, &mail)),
    };
    let rendered = app.pages.templates.get_template("inbox.html").and_then(|template| template.render(page));
    let html = rendered.map_err(|error| {
        tracing::error!(%error, "the inbox could not be rendered");
        Problem(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be rendered; the log says why")
    })?;
    Ok((status, safe_headers(&app.pages.policy), Html(html)).into_response())
}

fn row(view: &View, mail: &Mail) -> Value {
    let to: Vec<&str> = mail.to.iter().chain(&mail.cc).chain(&mail.bcc).map(|to| bare(to)).collect();
    context! {
        subject => &*mail.subject,
        to => to.first().copied(),
        others => to.len().saturating_sub(1),
        at => mail.received_at.to_string(),
        tags => mail.tags.clone(),
        files => mail.attachments.len(),
        link => View { id: Some(mail.id.clone()), ..view.clone() }.link(),
        current => view.id.as_ref() == Some(&mail.id),
    }
}

fn detail(view: &View, mail: &Mail) -> Value {
    let people = |given: &[String]| given.iter().map(|one| readable(one)).collect::<Vec<_>>().join(", ");
    let has = |tab: Tab| match tab {
        Tab::Html => mail.html.is_some(),
        Tab::Text => mail.text.is_some(),
        Tab::Headers | Tab::Json => true,
    };
    let shown = view.tab.unwrap_or(if has(Tab::Html) { Tab::Html } else { Tab::Text });
    let tabs: Vec<Value> = Tab::ALL
        .into_iter()
        .map(|(tab, _, label)| {
            context! { label, link => View { tab: Some(tab), ..view.clone() }.link(), current => tab == shown, empty => !has(tab) }
        })
        .collect();
    let tags: Vec<Value> = mail
        .tags
        .iter()
        .map(|(name, value)| {
            let link = View { tag: format!("{name}:{value}"), before: None, ..view.clone() }.link();
            context! { name => name.as_str(), value => value.as_str(), link }
        })
        .collect();
    let header = |one: &Header| context! { name => &*one.name, value => &*one.value };
    let headers: Vec<Value> = mail.headers.iter().map(header).collect();
    context! {
        id => &*mail.id,
        subject => &*mail.subject,
        from => readable(&mail.from),
        to => people(&mail.to),
        cc => people(&mail.cc),
        bcc => people(&mail.bcc),
        reply_to => people(&mail.reply_to),
        at => mail.received_at.to_string(),
        configuration_set => mail.configuration_set.as_deref(),
        tags,
        headers,
        files => mail.attachments.iter().map(file).collect::<Vec<_>>(),
        tabs,
        tab => shown.name(),
        has_html => mail.html.is_some(),
        text => mail.text.as_deref(),
        json => if shown == Tab::Json { serde_json::to_string_pretty(mail).ok() } else { None },
    }
}

fn file(file: &Attachment) -> Value {
    // Base64: four characters for three bytes, of which up to two are padding.
    let padding = file.content.bytes().rev().take_while(|byte| *byte == b'=').count();
    let bytes = (file.content.len() / 4 * 3).saturating_sub(padding);
    context! { name => &*file.file_name, kind => file.content_type.as_deref(), bytes }
}

/// The HTML part alone, for the frame on the page. A mail is a stranger's document: it gets an origin of its own, no
/// scripts, no forms, and nothing from this host.
async fn html_part(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let mail = app.store.get(&id).ok_or(NO_SUCH_MAIL)?;
    let html = mail.html.as_deref().ok_or(Problem(StatusCode::NOT_FOUND, "The mail has no HTML part"))?;
    let policy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src https: data:; \
                  style-src 'unsafe-inline'; font-src https: data:; form-action 'none'; frame-ancestors 'self'";
    Ok((safe_headers(policy), Html(with_links_in_new_tabs(html))).into_response())
}

/// A link in a mail would otherwise open inside the small frame, without scripts and forms.
fn with_links_in_new_tabs(html: &str) -> String {
    const BASE: &str = "<base target=\"_blank\">";
    let head = html.to_ascii_lowercase().match_indices("<head").map(|(at, _)| at + "<head".len()).find_map(|at| {
        let rest = &html[at..];
        // Not <header>.
        rest.starts_with(['>', ' ', '\n', '\t', '\r']).then(|| rest.find('>').map(|end| at + end + 1))?
    });
    match head {
        Some(at) => format!("{}{BASE}{}", &html[..at], &html[at..]),
        None => format!("{html}{BASE}"),
    }
}

fn safe_headers(policy: &str) -> [(HeaderName, HeaderValue); 4] {
    let policy = HeaderValue::from_str(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Mail;
    use crate::router;
    use crate::testing::{app, get, mail};

    const HOSTILE: &str = "</title><script>alert('x')</script>\"onload=\"x";

    fn hostile() -> Mail {
        let mut mail = mail("id-1", "Eve \"<script>\" <eve@example.com>");
        mail.subject = HOSTILE.to_owned();
        mail.tags.insert("campaign".to_owned(), "cmp_1".to_owned());
        mail.headers = vec![Header { name: "X-Evil".to_owned(), value: HOSTILE.to_owned() }];
        mail.html =
            Some("<html><HEAD lang=en><title>t</title></head><body><script>alert(1)</script></body></html>".into());
        mail.text = Some(HOSTILE.to_owned());
        mail
    }

    #[tokio::test]
    async fn a_hostile_mail_is_shown_as_text_everywhere() {
        let app = app();
        app.store.insert(hostile()).unwrap();
        let router = router(app);
        for query in ["", "?id=id-1", "?id=id-1&tab=text", "?id=id-1&tab=headers", "?id=id-1&tab=json"] {
            let (status, headers, body) = get(&router, &format!("/{query}")).await;
            assert_eq!(status, StatusCode::OK);
            assert!(body.contains("&lt;script&gt;"), "{query}");
            assert_eq!(body.matches("<script").count(), 1, "only the page's own script: {query}");
            assert!(!body.contains("\"onload"), "{query}");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
        }
        let (_, _, body) = get(&router, "/?to=%22%3E%3Cscript%3E&tag=a:%3Cscript%3E").await;
        assert_eq!(body.matches("<script").count(), 1);
    }

    #[tokio::test]
    async fn the_html_part_is_shown_in_a_sandbox_without_scripts() {
        let app = app();
        app.store.insert(hostile()).unwrap();
        let mut plain = mail("id-2", "a@example.com");
        plain.html = None;
        app.store.insert(plain).unwrap();
        let router = router(app);
        let (_, _, page) = get(&router, "/?id=id-1").await;
        let frame = &page[page.find("<iframe").unwrap()..];
        let frame = &frame[..frame.find('>').unwrap()];
        assert!(frame.contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""), "{frame}");
        assert!(frame.contains("src=\"/messages/id-1/html\""), "{frame}");

        let (status, headers, body) = get(&router, "/messages/id-1/html").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("<HEAD lang=en><base target=\"_blank\"><title>"), "{body}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("sandbox ") && policy.contains("default-src 'none'"), "{policy}");
        assert!(!policy.contains("allow-scripts") && !policy.contains("allow-same-origin"), "{policy}");
        for missing in ["/messages/id-2/html", "/messages/none/html"] {
            assert_eq!(get(&router, missing).await.0, StatusCode::NOT_FOUND);
        }
    }

    #[tokio::test]
    async fn an_empty_inbox_says_what_to_do() {
        let (status, _, body) = get(&router(app()), "/").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("AWS_ENDPOINT_URL_SESV2=http:&#x2f;&#x2f;127.0.0.1:8025"), "{body}");
    }

    #[tokio::test]
    async fn filters_stay_in_every_link_and_a_lost_mail_is_said_to_be_gone() {
        let app = app();
        app.store.insert(hostile()).unwrap();
        app.store.insert(mail("id-2", "bo+x@example.com")).unwrap();
        let router = router(app);
        let (_, _, body) = get(&router, "/?to=bo%2Bx&tab=headers").await;
        assert!(body.contains("href=\"&#x2f;?to=bo%2Bx&amp;id=id-2&amp;tab=headers\""), "{body}");
        assert!(!body.contains("id-1"), "{body}");
        let (_, _, body) = get(&router, "/?id=id-1&tab=headers").await;
        assert!(body.contains("?tag=campaign%3Acmp_1&amp;id=id-1&amp;tab=headers"), "{body}");
        let (status, _, body) = get(&router, "/?id=gone").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("This mail is gone"));
        assert_eq!(get(&router, "/?nonsense=1").await.0, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn the_base_goes_into_the_head_only() {
        assert_eq!(with_links_in_new_tabs("<header>x</header>"), "<header>x</header><base target=\"_blank\">");
        assert_eq!(with_links_in_new_tabs("<head>x"), "<head><base target=\"_blank\">x");
        assert_eq!(with_links_in_new_tabs("<head"), "<head<base target=\"_blank\">");
    }
}
