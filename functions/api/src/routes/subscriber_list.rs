//! A newsletter's subscribers, and one address on all newsletters.

use crate::app::Api;
use crate::auth::{AudienceRead, Caller};
use crate::problem::{Answer, Fault, KeyProblems, Problem, ProblemBody, ServiceProblems};
use crate::query::{self, Page};
use crate::routes::newsletters;
use crate::routes::subscriber_view::SubscriberView;
use axum::Json;
use axum::extract::{Query, State};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{NewsletterId, Tenant};
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;
use utoipa::ToSchema;

/// Subscribers that one request looks at. A filter that fits few of them is answered with a short page and the next cursor.
/// There is no index for it: it would cost a write for each subscriber and change, and 50,000 are read in about a second.
const LOOKED_AT: usize = 50_000;
/// Subscribers of one read of the table.
const READ: usize = 2_000;

/// Some of a newsletter's subscribers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SubscriberPage {
    /// The subscribers, in an order that does not change.
    pub subscribers: Vec<SubscriberView>,
    /// What to send as `cursor` for those after these. Absent at the end. There may be no subscribers and yet a cursor: then
    /// the filter fits none of those that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The place of a subscriber among its newsletter's.
#[derive(Debug)]
struct Digest(String);

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        fits.then(|| Self(text.to_owned())).ok_or(())
    }
}

/// What to list.
#[derive(Debug, Default)]
struct Wanted {
    newsletter: Option<NewsletterId>,
    status: Option<SubscriberStatus>,
    tag: Option<String>,
    email: Option<EmailAddress>,
    prefix: Option<String>,
    page: Page<Digest>,
}

impl Wanted {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Vec<Fault>> {
        let known = ["newsletter", "status", "tag", "email", "email_prefix", "limit", "cursor"];
        let mut wanted = Self::default();
        query::read(pairs, &known, |name, value| wanted.take(name, value))?;
        match (&wanted.newsletter, &wanted.email, &wanted.prefix) {
            (None, None, _) => Err(vec![Fault::parameter("newsletter", "is needed, unless there is `email`")]),
            (_, Some(_), Some(_)) => {
                Err(vec![Fault::parameter("email_prefix", "goes without `email`: say one of them")])
            }
            _ => Ok(wanted),
        }
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "newsletter" => self.newsletter = Some(value.parse().map_err(|_| "is not a newsletter id".to_owned())?),
            "status" => {
                let known = SubscriberStatus::ALL.map(SubscriberStatus::as_str).join(", ");
                self.status = Some(SubscriberStatus::parse(&value).ok_or_else(|| format!("is one of {known}"))?);
            }
            "tag" => self.tag = Some(value),
            "email" => self.email = Some(EmailAddress::parse(&value).map_err(|error| error.to_string())?),
            "email_prefix" => self.prefix = Some(value.trim().to_ascii_lowercase()),
            _ => self.page.take(name, value)?,
        }
        Ok(())
    }

    fn fits(&self, subscriber: &Subscriber) -> bool {
        self.status.is_none_or(|status| subscriber.status == status)
            && self.tag.as_ref().is_none_or(|tag| subscriber.tags.contains(tag))
            && self.prefix.as_ref().is_none_or(|prefix| subscriber.email.normalised().starts_with(prefix))
    }

    fn is_filter(&self) -> bool {
        self.status.is_some() || self.tag.is_some() || self.prefix.is_some()
    }
}

/// List and search subscribers.
///
/// `email` finds one address at once, on one newsletter or on all. Any other filter looks at the newsletter's subscribers one
/// by one, 50,000 for one request: go on by `next_cursor` until there is none.
#[utoipa::path(
    get, path = "/v1/subscribers", operation_id = "list_subscribers", tag = "people", security(("key" = ["audience:read"])),
    params(
        ("newsletter" = Option<String>, Query, description = "The newsletter; needed unless there is `email`"),
        ("status" = Option<String>, Query, description = "Only `pending`, `active` or `unsubscribed` ones"),
        ("tag" = Option<String>, Query, description = "Only those with this tag"),
        ("email" = Option<String>, Query, description = "Only this address"),
        ("email_prefix" = Option<String>, Query, description = "Only addresses that begin so; case makes no difference"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 100; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, body = SubscriberPage),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn list(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<SubscriberPage>> {
    let wanted = Wanted::read(query.0).map_err(Problem::invalid)?;
    if let Some(newsletter) = &wanted.newsletter
        && newsletters::find(&api, &caller.tenant, newsletter).await?.is_none()
    {
        return Err(Problem::invalid(vec![Fault::parameter("newsletter", "there is no such newsletter")]));
    }
    let (found, next) = match (&wanted.email, &wanted.newsletter) {
        (Some(email), newsletter) => (address(&api, &caller.tenant, newsletter.as_ref(), email, &wanted).await?, None),
        (None, Some(newsletter)) => search(&api, newsletter, &wanted).await?,
        (None, None) => (Vec::new(), None),
    };
    let next_cursor = next.map(|digest| query::cursor(&digest));
    Ok(Json(SubscriberPage { subscribers: found.into_iter().map(Into::into).collect(), next_cursor }))
}

/// One address, on one newsletter or on all of the tenant's.
async fn address(
    api: &Api,
    tenant: &Tenant,
    newsletter: Option<&NewsletterId>,
    email: &EmailAddress,
    wanted: &Wanted,
) -> Answer<Vec<Subscriber>> {
    let keys = match newsletter {
        Some(newsletter) => vec![SubscriberKey::of(newsletter, email)],
        None => api.records().keys(tenant, email).await?,
    };
    let mut found = Vec::new();
    for keys in keys.chunks(100) {
        let subscribers = api.subscribers.get(keys).await?.into_iter().flatten();
        found.extend(subscribers.filter(|one| one.tenant == *tenant && wanted.fits(one)));
    }
    Ok(found)
}

/// The subscribers that fit, and where to go on.
async fn search(api: &Api, newsletter: &NewsletterId, wanted: &Wanted) -> Answer<(Vec<Subscriber>, Option<String>)> {
    let limit = wanted.page.limit();
    let read = if wanted.is_filter() { READ } else { limit };
    let mut place = wanted.page.after.as_ref().map(|digest| digest.0.clone());
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while looked_at < LOOKED_AT {
        let page = api.subscribers.page(newsletter, place.as_deref(), read).await?;
        let last = page.subscribers.len().checked_sub(1);
        for (index, subscriber) in page.subscribers.into_iter().enumerate() {
            place = Some(subscriber.key.digest().to_owned());
            looked_at += 1;
            if wanted.fits(&subscriber) {
                found.push(subscriber);
                if found.len() == limit {
                    return Ok((found, place.filter(|_| !page.last || Some(index) != last)));
                }
            }
        }
        if page.last {
            return Ok((found, None));
        }
    }
    Ok((found, place))
}
