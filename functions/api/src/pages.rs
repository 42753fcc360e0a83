//! The pages that people see: one layout, no script, nothing loaded.

use crate::problem::Problem;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{Environment, Value, context};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const STYLE: &str = include_str!("pages/page.css");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    // The ending of its name turns escaping on.
    pages.add_template("page.html", include_str!("pages/page.html")).expect("the template is part of the program");
    pages
});

/// Nothing is loaded, framed or run, and the one style is named by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 is ASCII")
});

/// A page with a title, a text, and perhaps a button that sends a form to the page's own address.
pub(crate) fn page(status: StatusCode, title: &str, text: &str, button: Option<&str>) -> Response {
    // Quotes in CSS must stay as they are; the style is ours.
    let values = context! { title, text, button, style => Value::from_safe_string(STYLE.to_owned()) };
    let page = PAGES.get_template("page.html").and_then(|template| template.render(values));
    let Ok(page) = page else {
        tracing::error!("the page could not be rendered");
        return Problem::internal().into_response();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        // The address holds the token.
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (status, headers, Html(page)).into_response()
}

/// A problem as a page: `text` says what it means for the reader.
pub(crate) fn trouble(problem: Problem, text: &str) -> Response {
    let problem = problem.into_response();
    let mut page = page(problem.status(), "That did not work", text, None);
    if let Some(after) = problem.headers().get(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, after.clone());
    }
    page
}

/// What is wrong with a form, as a page.
pub(crate) fn refusal(problem: Problem) -> Response {
    let faults = problem.faults();
    if faults.is_empty() {
        return trouble(problem, "Please go back and try again in a minute.");
    }
    let told = faults.iter().map(|fault| {
        let field = fault.pointer.as_deref().unwrap_or_default().trim_start_matches('/');
        format!("{field}: {}.", fault.detail)
    });
    let text = format!("Please go back and look at this. {}", told.collect::<Vec<_>>().join(" "));
    page(StatusCode::UNPROCESSABLE_ENTITY, "The form is not complete", &text, None)
}
