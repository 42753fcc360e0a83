//! A newsletter's public archive: its letters as nobody in particular would get them, and a feed. Off unless the newsletter
//! says so. Letters to a segment are not for everybody, and are not here.

use crate::app::Api;
use crate::problem::{Problem, ProblemBody};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::try_join_all;
use jiff::{Timestamp, tz::TimeZone};
use millrace::domain::campaign::Campaign;
use millrace::domain::id::{CampaignId, NewsletterId};
use millrace::domain::letter::{Letter, Letterhead, Rendered, Templates};
use millrace::domain::people::Newsletter;
use millrace::letters;
use millrace::ports::{PortError, Whose};
use minijinja::{Environment, Value, context};
use rss::{Channel, Guid, Item};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

/// Campaigns looked at for a page and for the feed, and read at the same time.
const PAGE: usize = 20;
/// Longest summary in the feed, in characters.
const SUMMARY: usize = 400;

/// Anybody may keep a page for so long. An archive that is switched off is gone after that.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

const STYLE: &str = include_str!("archive.css");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    // The ending of its name turns escaping on.
    pages.add_template("archive.html", include_str!("archive.html")).expect("the template is part of the program");
    pages
});

/// For our own pages: nothing is loaded, framed or run, and the one style is named by its hash.
static OWN_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 is ASCII")
});

/// For a letter, which its author wrote: pictures, fonts and styles, and no script, form or frame. It has an origin of its
/// own, so that nothing of it can act as this service.
const LETTER_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; img-src https: data:; style-src 'unsafe-inline' https:; font-src https: data:; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'; \
     sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation",
);

/// Where in the archive.
#[derive(Debug, Default, Deserialize)]
pub struct Place {
    #[serde(default)]
    before: Option<String>,
}

/// See a newsletter's letters, newest first.
#[utoipa::path(
    get, path = "/archive/{newsletter}", operation_id = "archive", tag = "archive",
    params(
        ("newsletter" = String, Path, description = "The newsletter"),
        ("before" = Option<String>, Query, description = "Only letters older than this campaign's")
    ),
    responses(
        (status = 200, body = String, content_type = "text/html"),
        (status = 404, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "There is no such newsletter, or it has no archive"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn home(
    State(api): State<Arc<Api>>,
    Path(newsletter): Path<String>,
    place: Result<Query<Place>, QueryRejection>,
) -> Result<Response, Gone> {
    let newsletter = open(&api, &newsletter).await?;
    let before = place.ok().and_then(|Query(place)| place.before).and_then(|id| CampaignId::parse(id).ok());
    let (campaigns, older) = public(&api, &newsletter, before.as_ref()).await?;
    let home = letters::archive_url(&api.public_url, &newsletter.id);
    let head = Letterhead::of(&newsletter);
    let entries: Vec<_> = campaigns
        .iter()
        .map(|campaign| {
            let date = sent_at(campaign).to_zoned(zone(&newsletter)).strftime("%-d %B %Y").to_string();
            context! { url => format!("{home}/{}", campaign.id), title => subject(&head, campaign, &home), date }
        })
        .collect();
    let feed = format!("{home}/feed.xml");
    let older = older.map(|id| format!("{home}?before={id}"));
    page(StatusCode::OK, context! { title => newsletter.name, entries, feed, older })
}

/// See a letter as nobody in particular would get it.
#[utoipa::path(
    get, path = "/archive/{newsletter}/{campaign}", operation_id = "archived_letter", tag = "archive",
    params(
        ("newsletter" = String, Path, description = "The newsletter"),
        ("campaign" = String, Path, description = "The campaign"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/html"),
        (status = 404, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "There is no such letter in the archive"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn letter(
    State(api): State<Arc<Api>>,
    Path((newsletter, campaign)): Path<(String, String)>,
) -> Result<Response, Gone> {
    let newsletter = open(&api, &newsletter).await?;
    let id = CampaignId::parse(campaign).map_err(|_| Gone::nothing())?;
    let campaign = api.campaigns.meta(&id).await?.filter(|campaign| is_public(campaign, &newsletter));
    let rendered = render(&api, &campaign.ok_or_else(Gone::nothing)?).await?.ok_or_else(Gone::nothing)?;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, LETTER_POLICY),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::CACHE_CONTROL, CACHED),
    ];
    Ok((headers, Html(rendered.html)).into_response())
}

/// A newsletter's latest letters as an RSS feed.
#[utoipa::path(
    get, path = "/archive/{newsletter}/feed.xml", operation_id = "archive_feed", tag = "archive",
    params(("newsletter" = String, Path, description = "The newsletter")),
    responses(
        (status = 200, body = String, content_type = "application/rss+xml"),
        (status = 404, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "There is no such newsletter, or it has no archive"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn feed(State(api): State<Arc<Api>>, Path(newsletter): Path<String>) -> Result<Response, Gone> {
    let newsletter = open(&api, &newsletter).await?;
    let (campaigns, _) = public(&api, &newsletter, None).await?;
    let home = letters::archive_url(&api.public_url, &newsletter.id);
    let rendered = try_join_all(campaigns.iter().map(|campaign| render(&api, campaign))).await?;
    let items: Vec<_> = campaigns
        .iter()
        .zip(rendered)
        .filter_map(|(campaign, rendered)| {
            let rendered = rendered?;
            let url = format!("{home}/{}", campaign.id);
            Some(Item {
                title: Some(rendered.subject),
                guid: Some(Guid { value: url.clone(), permalink: true }),
                link: Some(url),
                description: Some(summary(&rendered.text)),
                pub_date: Some(http_date(sent_at(campaign))),
                ..Item::default()
            })
        })
        .collect();
    let channel = Channel {
        description: format!("The letters of {}", newsletter.name),
        title: newsletter.name.clone(),
        link: home,
        items,
        generator: Some("Millrace".to_owned()),
        ..Channel::default()
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/rss+xml; charset=utf-8")),
        (header::CACHE_CONTROL, CACHED),
    ];
    Ok((headers, Body::from(lawful(&channel.to_string()))).into_response())
}

/// The newsletter of this identifier, if it has an archive.
async fn open(api: &Api, newsletter: &str) -> Result<Newsletter, Gone> {
    let id = NewsletterId::parse(newsletter).map_err(|_| Gone::nothing())?;
    api.newsletters.get(&id).await?.filter(|newsletter| newsletter.archive).ok_or_else(Gone::nothing)
}

/// Whether a campaign's letter is in the archive of this newsletter.
fn is_public(campaign: &Campaign, newsletter: &Newsletter) -> bool {
    let head = Letterhead::of(newsletter);
    campaign.tenant == newsletter.tenant
        && campaign.newsletter == newsletter.id
        && campaign.is_public()
        && letters::public_copy("", &head, campaign).is_some()
}

/// Some of the campaigns in the archive, newest first, and where the next ones begin.
async fn public(
    api: &Api,
    newsletter: &Newsletter,
    before: Option<&CampaignId>,
) -> Result<(Vec<Campaign>, Option<CampaignId>), PortError> {
    let ids = api.campaign_list.newest(Whose::Newsletter(&newsletter.id), before, PAGE).await?;
    let campaigns = try_join_all(ids.iter().map(|id| api.campaigns.meta(id))).await?;
    let public = campaigns.into_iter().flatten().filter(|campaign| is_public(campaign, newsletter)).collect();
    Ok((public, ids.last().filter(|_| ids.len() == PAGE).cloned()))
}

/// A campaign's letter for nobody in particular. `None` when it cannot be rendered so, which its preflight would have shown.
async fn render(api: &Api, campaign: &Campaign) -> Result<Option<Rendered>, PortError> {
    let stored = letters::load(&*api.intake.blobs, &letters::key(&campaign.id, &campaign.letter)).await?;
    let home = letters::archive_url(&api.public_url, &campaign.newsletter);
    let copy = letters::public_copy(&api.public_url, &stored.head, campaign);
    let rendered = Letter::new(&stored.templates, &stored.head)
        .and_then(|letter| letter.render(&letters::anonymous(&home, copy.as_deref())));
    Ok(rendered
        .inspect_err(|error| tracing::warn!(campaign = %campaign.id, "not rendered for the archive: {error}"))
        .ok())
}

/// The subject for nobody in particular, without a look at the letter.
fn subject(head: &Letterhead, campaign: &Campaign, home: &str) -> String {
    let templates = Templates { subject: campaign.subject.clone(), html: String::new(), text: String::new() };
    let subject = Letter::new(&templates, head).and_then(|letter| letter.subject(&letters::anonymous(home, None)));
    subject.unwrap_or_else(|_| head.name.clone())
}

/// When a campaign's letters began to go out.
fn sent_at(campaign: &Campaign) -> Timestamp {
    campaign.opened_at.or(campaign.started_at).unwrap_or(campaign.created_at)
}

fn zone(newsletter: &Newsletter) -> TimeZone {
    newsletter.time_zone.rules()
}

/// A time as RSS (RFC 822) has it.
fn http_date(at: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default()
}

/// XML without the characters that it does not allow, one of which would break the feed for every reader: see
/// [Characters](https://www.w3.org/TR/xml/#charsets).
fn lawful(xml: &str) -> String {
    let allowed =
        |c: &char| matches!(c, '\t' | '\n' | '\r') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'));
    xml.chars().filter(allowed).collect()
}

/// The beginning of a text, on one line.
fn summary(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SUMMARY {
        return line;
    }
    let cut: String = line.chars().take(SUMMARY).collect();
    format!("{}...", cut.rsplit_once(' ').map_or(cut.as_str(), |(whole, _)| whole))
}

fn page(status: StatusCode, values: Value) -> Result<Response, Gone> {
    // Quotes in CSS must stay as they are; the style is ours.
    let style = Value::from_safe_string(STYLE.to_owned());
    let page = PAGES.get_template("archive.html").and_then(|template| template.render(context! { style, ..values }));
    let page = page.map_err(|error| {
        tracing::error!("the page could not be rendered: {error}");
        Gone(Problem::internal())
    })?;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, OWN_POLICY.clone()),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    let mut response = (status, headers, Html(page)).into_response();
    if status == StatusCode::OK {
        response.headers_mut().insert(header::CACHE_CONTROL, CACHED);
    }
    Ok(response)
}

/// There is nothing to be seen, as a page: people follow these links.
pub struct Gone(Problem);

impl Gone {
    fn nothing() -> Self {
        Self(Problem::not_found())
    }
}

impl From<PortError> for Gone {
    fn from(error: PortError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Gone {
    fn into_response(self) -> Response {
        let problem = self.0.into_response();
        let title = match problem.status() {
            StatusCode::NOT_FOUND => "There is nothing here",
            _ => "Please come back in a minute",
        };
        match page(problem.status(), context! { title, entries => Vec::<Value>::new() }) {
            Ok(mut page) => {
                if let Some(after) = problem.headers().get(header::RETRY_AFTER) {
                    page.headers_mut().insert(header::RETRY_AFTER, after.clone());
                }
                page
            }
            Err(_) => problem,
        }
    }
}
