//! The router and what its handlers work with. The Lambda and the tests run the same one.

use crate::auth::KeyRing;
use crate::document;
use crate::extract::MAX_BODY;
use crate::middleware;
use crate::problem::Problem;
use crate::routes::stats::Depths;
use crate::routes::{
    archive, bulk_retry, campaign_change, campaign_list, campaign_preview, campaign_run, campaign_test, campaigns,
    confirm, groups, job_batch, job_list, job_operations, jobs, kinds, meta, newsletters, preflight, recipients,
    schedules, sequences, stats, subscribe, subscriber_change, subscriber_files, subscriber_list, subscribers,
    suppressions, unsubscribe, users,
};
use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router};
use jiff::Timestamp;
use millrace::accept::Intake;
use millrace::domain::target::Reach;
use millrace::domain::token::{TokenKey, Tokens};
use millrace::person::Records;
use millrace::ports::{
    CampaignList, Campaigns, Chunks, Clock, Counters, Files, Groups, HitLedger, Identities, Newsletters, PortError,
    Queue, Schedules, SendingAccount, SignUps, Subscribers, Suppressions, Throttle, TokenKeys, Users,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the handlers work with. Built once for a process.
pub struct Api {
    /// Where jobs are put: their table, the bucket and the workers' queues.
    pub intake: Intake,
    /// The schedules of recurring jobs.
    pub schedules: Arc<dyn Schedules>,
    /// The groups of jobs.
    pub groups: Arc<dyn Groups>,
    /// The pages of counts.
    pub counters: Arc<dyn Counters>,
    /// How deep the queues are.
    pub depths: Depths,
    /// The users.
    pub users: Arc<dyn Users>,
    /// The newsletters.
    pub newsletters: Arc<dyn Newsletters>,
    /// The newsletters' subscribers.
    pub subscribers: Arc<dyn Subscribers>,
    /// Sign-ups that wait for their confirmation.
    pub sign_ups: Arc<dyn SignUps>,
    /// How often people may sign up.
    pub throttle: Arc<dyn Throttle>,
    /// Who gets no newsletter.
    pub suppressions: Arc<dyn Suppressions>,
    /// Files that are uploaded.
    pub files: Arc<dyn Files>,
    /// The campaigns.
    pub campaigns: Arc<dyn Campaigns>,
    /// Their chunks: the account of every recipient.
    pub chunks: Arc<dyn Chunks>,
    /// Their readers' opens and clicks.
    pub hits: Arc<dyn HitLedger>,
    /// The campaigns of a tenant and of a newsletter.
    pub campaign_list: Arc<dyn CampaignList>,
    /// The mail service's account.
    pub account: Arc<dyn SendingAccount>,
    /// The senders it knows.
    pub identities: Arc<dyn Identities>,
    /// Base of the links in letters, without a slash at its end.
    pub public_url: String,
    /// The queue of campaigns to be looked at.
    pub run: Arc<dyn Queue>,
    /// The API keys.
    pub keys: KeyRing,
    /// The keys that sign the tokens in links.
    pub tokens: TokenBox,
    /// How far calls to callers' endpoints may go.
    pub reach: Reach,
    /// How long one attempt at a job may take.
    pub longest_attempt: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Api {
    /// Where things about people are held.
    #[must_use]
    pub fn records(&self) -> Records {
        Records {
            users: self.users.clone(),
            newsletters: self.newsletters.clone(),
            subscribers: self.subscribers.clone(),
            sign_ups: self.sign_ups.clone(),
            suppressions: self.suppressions.clone(),
        }
    }

    /// What time it is, to the millisecond: the tables keep no more, and a time must not change between two answers.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        millis(self.clock.now())
    }
}

/// A time without what is below a millisecond.
#[must_use]
pub fn millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Opens tokens. The signing keys are read once for a process, and made when there are none: the workers that sign only
/// read them.
pub struct TokenBox {
    keys: Arc<dyn TokenKeys>,
    first: TokenKey,
    tokens: OnceCell<Tokens>,
}

impl TokenBox {
    /// Reads nothing yet. `first` is a fresh key, stored if there is none.
    #[must_use]
    pub fn new(keys: Arc<dyn TokenKeys>, first: TokenKey) -> Self {
        Self { keys, first, tokens: OnceCell::new() }
    }

    /// The tokens.
    ///
    /// # Errors
    /// When the keys cannot be read or made.
    pub async fn get(&self) -> Result<&Tokens, PortError> {
        let make = async || Ok(Tokens::new(self.keys.ensure(&self.first).await?));
        self.tokens.get_or_try_init(make).await
    }
}

/// The router, which serves the document that describes it.
pub fn app(api: Arc<Api>) -> Router {
    let (router, document) = routes().split_for_parts();
    router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Extension(Arc::<OpenApi>::new(document)))
        .layer(axum::middleware::from_fn(middleware::around))
        .with_state(api)
}

/// Every route, each with its description.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(meta::health))
        .routes(routes!(meta::openapi))
        .routes(routes!(jobs::submit, job_list::list))
        .routes(routes!(job_batch::submit))
        .routes(routes!(bulk_retry::retry))
        .routes(routes!(jobs::show))
        .routes(routes!(job_operations::cancel))
        .routes(routes!(job_operations::retry))
        .routes(routes!(schedules::put, schedules::show, schedules::delete))
        .routes(routes!(schedules::list))
        .routes(routes!(groups::submit))
        .routes(routes!(groups::show))
        .routes(routes!(kinds::list))
        .routes(routes!(stats::stats))
        .routes(routes!(users::register))
        .routes(routes!(users::show))
        .routes(routes!(newsletters::create, newsletters::list))
        .routes(routes!(newsletters::show, newsletters::change))
        .routes(routes!(sequences::put, sequences::show, sequences::delete))
        .routes(routes!(subscribers::add, subscriber_list::list))
        .routes(routes!(subscriber_files::import))
        .routes(routes!(subscriber_files::export))
        .routes(routes!(subscribers::show, subscriber_change::change, subscriber_change::erase))
        .routes(routes!(subscriber_change::export))
        .routes(routes!(suppressions::add, suppressions::show, suppressions::lift))
        .routes(routes!(campaigns::create, campaign_list::list))
        .routes(routes!(campaigns::show, campaign_change::change))
        .routes(routes!(campaigns::start))
        .routes(routes!(campaign_run::pause))
        .routes(routes!(campaign_run::resume))
        .routes(routes!(campaign_run::cancel))
        .routes(routes!(campaign_run::rate))
        .routes(routes!(campaign_run::resend))
        .routes(routes!(recipients::list))
        .routes(routes!(subscribe::subscribe))
        .routes(routes!(confirm::page, confirm::confirm))
        .routes(routes!(preflight::show))
        .routes(routes!(campaign_preview::show, campaign_preview::try_out))
        .routes(routes!(campaign_test::send))
        .routes(routes!(archive::home))
        .routes(routes!(archive::feed))
        .routes(routes!(archive::letter))
        .routes(routes!(unsubscribe::page, unsubscribe::unsubscribe))
}
