//! Errors as RFC 9457 `application/problem+json`. What went wrong inside is logged here and nowhere else, and is never
//! part of an answer.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace::accept::SubmitError;
use millrace::domain::key::Scope;
use millrace::ports::PortError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Longest text on one fault, in characters: serde quotes what it refuses, and that may be long.
const MAX_DETAIL: usize = 300;

/// Seconds a caller is asked to wait when a service behind the API is away or asks to slow down.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// One thing wrong with a request. It has one of `pointer`, `parameter` and `header`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Where in the body: a JSON pointer (RFC 6901). The empty pointer is the whole body.
    #[schema(example = "/email")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which parameter of the query or the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Which header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What is wrong, and what would be right.
    #[schema(example = "an address has an @")]
    pub detail: String,
}

impl Fault {
    /// A fault in the body.
    #[must_use]
    pub fn at(pointer: impl Into<String>, detail: impl AsRef<str>) -> Self {
        Self { pointer: Some(pointer.into()), detail: cut(detail.as_ref()), ..Self::default() }
    }

    /// A fault in the query or the path.
    #[must_use]
    pub fn parameter(name: &str, detail: impl AsRef<str>) -> Self {
        Self { parameter: Some(name.to_owned()), detail: cut(detail.as_ref()), ..Self::default() }
    }

    /// A fault in a header.
    #[must_use]
    pub fn header(name: &str, detail: impl AsRef<str>) -> Self {
        Self { header: Some(name.to_owned()), detail: cut(detail.as_ref()), ..Self::default() }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_DETAIL).collect()
}

/// The body of every answer that is an error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// `about:blank`: the status says what kind of problem it is.
    #[schema(example = "about:blank")]
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Content")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What went wrong with this request.
    pub detail: String,
    /// With status 422: what is wrong with the request, as far as it was found at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// A request that does not get what it asked for.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    detail: String,
    errors: Vec<Fault>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// What a handler gives.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts { status, detail: detail.into(), errors: Vec::new(), header: None }))
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// 400: the body is not JSON.
    #[must_use]
    pub fn not_json(detail: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("The body is not JSON: {}.", cut(detail.as_ref())))
    }

    /// 400: the body is not the form it is said to be.
    #[must_use]
    pub fn garbled_form() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The body is not a form.")
    }

    /// 401: no key was shown.
    #[must_use]
    pub fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "This needs an API key: `Authorization: Bearer mr_<key id>_<secret>`.")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 401: the key that was shown opens nothing. It does not say why.
    #[must_use]
    pub fn wrong_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "The API key is not valid.")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""))
    }

    /// 403: the token of an identity provider does not say whose data it opens.
    #[must_use]
    pub fn no_tenant() -> Self {
        Self::new(StatusCode::FORBIDDEN, "The token names no tenant.")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"insufficient_scope\""))
    }

    /// 403: the key or token lacks a scope.
    #[must_use]
    pub fn missing_scope(scope: Scope) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("The API key or token does not have the scope `{scope}`."))
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"insufficient_scope\""))
    }

    /// 404: there is no such thing, or it belongs to another tenant.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing here.")
    }

    /// 405: the path knows other methods. The router adds `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "The methods of this path are in the header `Allow`.")
    }

    /// 409: not possible in this state.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 413: the body is too large.
    #[must_use]
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: the body is not said to be JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the body as `Content-Type: application/json`.")
    }

    /// 422: the request is not as it must be.
    #[must_use]
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [one] => one.detail.clone(),
            many => format!("The request has {} errors.", many.len()),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.0.errors = errors;
        problem
    }

    /// 500: a fault of ours. What is to be known of it must be logged by the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "This is our fault. It is logged under the X-Request-Id.")
    }

    fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "A service behind the API is not available. Ask again.")
            .with_header(header::RETRY_AFTER, RETRY_AFTER)
    }
}

impl Problem {
    /// The same problem in a part of the body: the pointers of its faults begin with `pointer`.
    #[must_use]
    pub fn below(mut self, pointer: &str) -> Self {
        for place in self.0.errors.iter_mut().filter_map(|fault| fault.pointer.as_mut()) {
            place.insert_str(0, pointer);
        }
        self
    }

    /// The same problem with further faults, if it is one of faults.
    #[must_use]
    pub fn with(self, more: Vec<Fault>) -> Self {
        if self.0.errors.is_empty() {
            return self;
        }
        Self::invalid([more, self.0.errors].concat())
    }

    /// What is wrong with the request, as far as it was found.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.0.errors
    }

    /// What an answer says of it.
    #[must_use]
    pub fn body(self) -> ProblemBody {
        let Parts { status, detail, errors, .. } = *self.0;
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        ProblemBody { kind: "about:blank".to_owned(), title, status: status.as_u16(), detail, errors }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        if error.is_transient() {
            tracing::warn!("a service is not available: {error}");
            Self::unavailable()
        } else {
            tracing::error!("a service refused or gave nonsense: {error}");
            Self::internal()
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Mismatch => {
                Self::invalid(vec![Fault::header("Idempotency-Key", "another request was made under this key")])
            }
            SubmitError::Unavailable(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let (status, header) = (self.0.status, self.0.header.take());
        let body = self.body();
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))];
        let mut response = (status, content_type, serde_json::json!(body).to_string()).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// How a request may fail for want of a key. Only for the document.
#[derive(IntoResponses)]
pub enum KeyProblems {
    /// No key, or a key that is not valid.
    #[response(status = 401, content_type = "application/problem+json")]
    NoKey(ProblemBody),
    /// The key lacks the scope.
    #[response(status = 403, content_type = "application/problem+json")]
    NoScope(ProblemBody),
}

/// How a request with a body may fail. Only for the document.
#[derive(IntoResponses)]
pub enum BodyProblems {
    /// The body is not JSON.
    #[response(status = 400, content_type = "application/problem+json")]
    NotJson(ProblemBody),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is not said to be JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotSaidToBeJson(ProblemBody),
    /// A field is unknown, missing or not as it must be; `errors` tells which.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(ProblemBody),
}

/// There is no such thing, or it belongs to another tenant. Only for the document.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "the document is made from the type")]
pub struct NotFound(ProblemBody);

/// How any request may fail. Only for the document.
#[derive(IntoResponses)]
pub enum ServiceProblems {
    /// A fault of the service itself.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody),
    /// A service behind the API is not available: ask again after `Retry-After` seconds.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}
