use millrace::domain::letter::Body;
use serde::Deserialize;
use utoipa::ToSchema;

/// A letter's body, in one of three languages. Each is a template: see `CampaignRequest`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = LetterBody, min_properties = 1, max_properties = 1)]
pub struct BodyFields {
    /// [MJML](https://documentation.mjml.io/). Nothing is included from elsewhere.
    #[serde(default)]
    mjml: Option<String>,
    /// HTML, a whole document or a part of one. Its style sheets are put onto its elements; none is fetched.
    #[serde(default)]
    html: Option<String>,
    /// [CommonMark](https://commonmark.org/) with tables and strikethrough; HTML in it stays.
    #[serde(default)]
    markdown: Option<String>,
}

/// A letter's body as a request has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "BodyFields")]
pub struct LetterBody(pub Body);

impl TryFrom<BodyFields> for LetterBody {
    type Error = &'static str;

    fn try_from(fields: BodyFields) -> Result<Self, &'static str> {
        match fields {
            BodyFields { mjml: Some(source), html: None, markdown: None } => Ok(Self(Body::Mjml(source))),
            BodyFields { mjml: None, html: Some(source), markdown: None } => Ok(Self(Body::Html(source))),
            BodyFields { mjml: None, html: None, markdown: Some(source) } => Ok(Self(Body::Markdown(source))),
            _ => Err("has exactly one of `mjml`, `html` and `markdown`"),
        }
    }
}
