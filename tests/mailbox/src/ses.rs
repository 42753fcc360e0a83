//! The part of the SES v2 protocol (REST JSON) the mailbox speaks: `SendEmail` with simple and raw messages, `GetAccount`,
//! `GetEmailIdentity` and the calls on the suppression list. Every other operation is answered as unknown.

use std::collections::BTreeMap;
use std::io;

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, middleware};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::faults::Fault;
use crate::feedback::tell;
use crate::mail::{self, Attachment, Header, Mail, check_address};
use crate::{App, identities, raw, suppression};

/// SES takes messages of 40 MB; base64 makes a raw one a third longer.
const MAX_BODY: usize = 56 << 20;
const MAX_RECIPIENTS: usize = 50;
const MAX_HEADERS: usize = 15;
const MAX_HEADER_NAME: usize = 126;
const MAX_HEADER_VALUE: usize = 995;
const MAX_TAG: usize = 256;
/// SES's word for an account without a daily quota: the mailbox has none.
const NO_QUOTA: f64 = -1.0;
/// Mails per second. SES has no word for "no rate", so this is more than the mailbox is asked for; it is not enforced.
const MAX_SEND_RATE: f64 = 1000.0;

/// The operations, relative to `/v2`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/email/outbound-emails", post(send_email))
        .route("/email/account", get(get_account))
        .route("/email/identities/{name}", get(identities::get))
        .merge(suppression::routes())
        .fallback(unknown_operation)
        .method_not_allowed_fallback(unknown_operation)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(with_request_id))
}

/// A refusal in SES's form: its name in `x-amzn-ErrorType`, its words in `message`.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestException", message: message.into() }
    }

    fn rejected(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "MessageRejected", message: message.into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let kind = (HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(self.kind));
        (self.status, [kind], Json(json!({ "message": self.message }))).into_response()
    }
}

async fn with_request_id(mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::from_str(&Uuid::now_v7().to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}

async fn unknown_operation() -> Refused {
    Refused {
        status: StatusCode::NOT_FOUND,
        kind: "UnknownOperationException",
        message: "The mailbox knows SendEmail, GetAccount, GetEmailIdentity and the calls on the suppression list"
            .to_owned(),
    }
}

async fn get_account(State(app): State<App>) -> Json<Value> {
    Json(json!({
        "DedicatedIpAutoWarmupEnabled": false,
        "EnforcementStatus": "HEALTHY",
        "ProductionAccessEnabled": true,
        "SendingEnabled": true,
        "SendQuota": {
            "Max24HourSend": NO_QUOTA,
            "MaxSendRate": MAX_SEND_RATE,
            "SentLast24Hours": app.store.sent_last_day(mail::now()),
        },
    }))
}

async fn send_email(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Result<Response, Refused> {
    let body = body.map_err(|rejection| Refused {
        status: rejection.status(),
        kind: "BadRequestException",
        message: format!("The request could not be read, or is larger than {MAX_BODY} bytes"),
    })?;
    // Where the parser stumbled is told, but not on what: its words may quote an address.
    let request: SendEmail = serde_json::from_slice(&body).map_err(|error| Refused {
        status: StatusCode::BAD_REQUEST,
        kind: "SerializationException",
        message: format!("The body is not a SendEmail request (line {}, column {})", error.line(), error.column()),
    })?;
    let mail = accept(request)?;
    if app.disturbance.hits(Fault::Throttle) {
        return Err(Refused {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: "TooManyRequestsException",
            message: "Maximum sending rate exceeded.".to_owned(),
        });
    }
    if app.disturbance.hits(Fault::Refuse) {
        return Err(Refused::rejected("Refused on request"));
    }
    let mail = app.store.insert(mail).map_err(|error| {
        tracing::error!(%error, "a mail could not be written to the state file");
        Refused {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "InternalServiceErrorException",
            message: "The mailbox could not write the mail to its state file".to_owned(),
        }
    })?;
    tell(&app, &mail);
    if app.disturbance.hits(Fault::DropAnswer) {
        return Ok(broken());
    }
    Ok(Json(json!({ "MessageId": mail.id })).into_response())
}

/// An answer whose connection breaks before it is read.
fn broken() -> Response {
    let nothing = stream::iter([Err::<Bytes, _>(io::Error::other("dropped on request"))]);
    ([(header::CONTENT_LENGTH, "64")], HttpBody::from_stream(nothing)).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendEmail {
    from_email_address: Option<String>,
    destination: Option<Destination>,
    #[serde(default)]
    reply_to_addresses: Vec<String>,
    content: Option<Content>,
    #[serde(default)]
    email_tags: Vec<Tag>,
    configuration_set_name: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    to_addresses: Vec<String>,
    cc_addresses: Vec<String>,
    bcc_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    simple: Option<Simple>,
    raw: Option<Raw>,
    template: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Simple {
    subject: Option<Part>,
    body: Option<Body>,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    attachments: Vec<Attachment>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    text: Option<Part>,
    html: Option<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    data: String,
    charset: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    name: String,
    value: String,
}

/// Checks a request and makes it a mail.
fn accept(request: SendEmail) -> Result<Mail, Refused> {
    let SendEmail { from_email_address, destination, reply_to_addresses, content, email_tags, .. } = request;
    let Destination { to_addresses: to, cc_addresses: cc, bcc_addresses: bcc } = destination.unwrap_or_default();
    let received_at = mail::now();
    let mut mail = Mail {
        id: mail::new_id(received_at),
        received_at,
        from: from_email_address.unwrap_or_default(),
        to,
        cc,
        bcc,
        reply_to: reply_to_addresses,
        subject: String::new(),
        headers: Vec::new(),
        tags: tags(email_tags)?,
        configuration_set: request.configuration_set_name,
        text: None,
        html: None,
        attachments: Vec::new(),
        raw: None,
        other: request.other,
    };
    match content {
        Some(Content { simple: Some(simple), raw: None, template: None }) => fill_simple(&mut mail, simple)?,
        Some(Content { simple: None, raw: Some(raw), template: None }) => fill_raw(&mut mail, raw)?,
        Some(Content { simple: None, raw: None, template: Some(_) }) => {
            let why = "The mailbox has no templates: send a Simple or a Raw message";
            return Err(Refused::bad_request(why));
        }
        _ => return Err(Refused::bad_request("Content needs exactly one of Simple, Raw and Template")),
    }
    check_people(&mail)?;
    Ok(mail)
}

fn fill_simple(mail: &mut Mail, simple: Simple) -> Result<(), Refused> {
    let subject = simple.subject.ok_or_else(|| Refused::bad_request("Content.Simple.Subject is required"))?;
    let Body { text, html } = simple.body.unwrap_or_default();
    if text.is_none() && html.is_none() {
        return Err(Refused::bad_request("Content.Simple.Body needs a Text or an Html part"));
    }
    mail.subject = decoded("Subject", subject)?;
    mail.text = text.map(|part| decoded("Text", part)).transpose()?;
    mail.html = html.map(|part| decoded("Html", part)).transpose()?;
    check_headers(&simple.headers)?;
    mail.headers = simple.headers;
    if simple.attachments.iter().any(|attachment| STANDARD.decode(&attachment.content).is_err()) {
        return Err(Refused::bad_request("An attachment's RawContent is not base64"));
    }
    mail.attachments = simple.attachments;
    Ok(())
}

/// SES takes a part without a charset for 7-bit ASCII, so anything else in it would arrive mangled.
fn decoded(name: &str, part: Part) -> Result<String, Refused> {
    if part.charset.is_none() && !part.data.is_ascii() {
        return Err(Refused::bad_request(format!("{name} has characters outside ASCII: give it a Charset (UTF-8)")));
    }
    Ok(part.data)
}

fn fill_raw(mail: &mut Mail, raw: Raw) -> Result<(), Refused> {
    let bytes = STANDARD.decode(&raw.data).map_err(|_| Refused::bad_request("Content.Raw.Data is not base64"))?;
    let message = raw::parse(&bytes).ok_or_else(|| Refused::rejected("The raw message has no header"))?;
    if mail.from.is_empty() {
        mail.from = message.from.unwrap_or_default();
    }
    if mail.to.is_empty() && mail.cc.is_empty() && mail.bcc.is_empty() {
        (mail.to, mail.cc, mail.bcc) = (message.to, message.cc, message.bcc);
    }
    if mail.reply_to.is_empty() {
        mail.reply_to = message.reply_to;
    }
    // SES does not join tags of both kinds: those of the call win.
    if mail.tags.is_empty() {
        mail.tags = tags(message.tags.into_iter().map(|(name, value)| Tag { name, value }))?;
    }
    if mail.configuration_set.is_none() {
        mail.configuration_set = message.configuration_set;
    }
    mail.subject = message.subject;
    mail.headers = message.headers;
    mail.text = message.text;
    mail.html = message.html;
    mail.attachments = message.attachments;
    mail.raw = Some(raw.data);
    Ok(())
}

fn check_people(mail: &Mail) -> Result<(), Refused> {
    if mail.from.is_empty() {
        return Err(Refused::bad_request("FromEmailAddress is required"));
    }
    if !identities::is_verified(&mail.from) {
        return Err(Refused::rejected("Email address is not verified. The following identities failed the check"));
    }
    let recipients = mail.to.len() + mail.cc.len() + mail.bcc.len();
    if recipients == 0 {
        return Err(Refused::bad_request("Destination needs at least one recipient"));
    }
    if recipients > MAX_RECIPIENTS {
        return Err(Refused::rejected(format!("Recipient count exceeds {MAX_RECIPIENTS}.")));
    }
    let fields = [
        ("FromEmailAddress", std::slice::from_ref(&mail.from)),
        ("ToAddresses", &mail.to),
        ("CcAddresses", &mail.cc),
        ("BccAddresses", &mail.bcc),
        ("ReplyToAddresses", &mail.reply_to),
    ];
    for (name, addresses) in fields {
        for address in addresses {
            check_address(address).map_err(|why| Refused::bad_request(format!("{name}: {why}")))?;
        }
    }
    Ok(())
}

fn check_headers(headers: &[Header]) -> Result<(), Refused> {
    if headers.len() > MAX_HEADERS {
        return Err(Refused::bad_request(format!("A message has at most {MAX_HEADERS} additional headers")));
    }
    let is_name = |name: &str| {
        (1..=MAX_HEADER_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
    };
    let is_value = |value: &str| {
        (1..=MAX_HEADER_VALUE).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    if headers.iter().all(|header| is_name(&header.name) && is_value(&header.value)) {
        return Ok(());
    }
    Err(Refused::bad_request(format!(
        "A header's name is 1 to {MAX_HEADER_NAME} printable ASCII characters without a colon, its value 1 to \
         {MAX_HEADER_VALUE}"
    )))
}

fn tags(given: impl IntoIterator<Item = Tag>) -> Result<BTreeMap<String, String>, Refused> {
    let is_word = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=MAX_TAG).contains(&word.len()) && word.bytes().all(plain)
    };
    let mut tags = BTreeMap::new();
    for Tag { name, value } in given {
        if !is_word(&name) || !is_word(&value) {
            let why = format!("A tag's name and value are 1 to {MAX_TAG} of the characters A-Z a-z 0-9 _ -");
            return Err(Refused::bad_request(why));
        }
        if tags.insert(name, value).is_some() {
            return Err(Refused::bad_request("Two tags have one name"));
        }
    }
    Ok(tags)
}

#[cfg(test)]
#[path = "ses_tests.rs"]
mod tests;
