//! The kind `test-letter`: a campaign's letter to one address, the way every letter goes.

use anyhow::anyhow;
use millrace::domain::id::Tenant;
use millrace::domain::people::{Subscriber, SubscriberKey};
use millrace::domain::token::Tokens;
use millrace::job::{Failure, Outcome};
use millrace::jobs::TestLetter;
use millrace::letters::{self, Letters, Links, Reader};
use millrace::ports::{Campaigns, PortError, Subscribers, Suppressions};
use millrace::single_mail::{Post, send_once};
use millrace::worker::handlers::Attempt;
use serde_json::json;
use std::sync::Arc;

/// What stands before a test's subject.
const MARK: &str = "[Test] ";

/// What a test is made of, beside the mail service.
pub(crate) struct Proofs {
    pub(crate) campaigns: Box<dyn Campaigns>,
    pub(crate) subscribers: Box<dyn Subscribers>,
    pub(crate) suppressions: Arc<dyn Suppressions>,
    pub(crate) letters: Arc<Letters>,
    pub(crate) tokens: Tokens,
    pub(crate) public_url: String,
}

impl Proofs {
    /// Safe to run twice: the mail is named for the job.
    pub(crate) async fn send(&self, post: Post<'_>, job: TestLetter, attempt: &Attempt) -> Outcome {
        let campaign = self.campaigns.meta(&job.campaign).await?.filter(|found| found.tenant == attempt.tenant);
        let Some(campaign) = campaign else {
            return Err(Failure::Dead(anyhow!("there is no such campaign")));
        };
        let suppressed = self.suppressions.check(&attempt.tenant, std::slice::from_ref(&job.to)).await?;
        if suppressed.into_iter().any(|suppression| suppression.is_some()) {
            return Ok(json!({ "sent": false, "why": "the address is suppressed" }));
        }
        let ready = self.letters.get(&letters::key(&campaign.id, &job.letter)).await?;
        let own = SubscriberKey::of(&campaign.newsletter, &job.to);
        let key = match &job.subscriber {
            Some(id) => SubscriberKey::try_from(id).map_err(|error| Failure::Dead(error.into()))?,
            None => own.clone(),
        };
        let subscriber = self.subscriber(&attempt.tenant, key).await?;
        let nobody = Reader { email: &job.to, name: None, tags: &[] };
        let reader = subscriber.as_ref().map_or(nobody, Reader::from);
        let public_url = self.public_url.as_str();
        // Whoever the letter is rendered as, its link is about the address that it goes to.
        let unsubscribe_url = letters::unsubscribe_url(&self.tokens, public_url, &attempt.tenant, &own.id());
        let archive_url = letters::public_copy(public_url, &ready.head, &campaign);
        let links = Links { public_url, unsubscribe_url: &unsubscribe_url, archive_url: archive_url.as_deref() };
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let tags = vec![
            tag("job", attempt.id.as_str()),
            tag("tenant", attempt.tenant.as_str()),
            tag("test", campaign.id.as_str()),
        ];
        let mut mail = ready.mail(reader, links, tags).map_err(|error| Failure::Dead(error.into()))?;
        mail.subject.insert_str(0, MARK);
        mail.to = job.to.as_str().to_owned();
        let message_id = send_once(post, &format!("test-{}", attempt.id), mail, attempt.now()).await?;
        Ok(json!({ "message_id": message_id }))
    }

    async fn subscriber(&self, tenant: &Tenant, key: SubscriberKey) -> Result<Option<Subscriber>, PortError> {
        let found = self.subscribers.get(&[key]).await?.pop().flatten();
        Ok(found.filter(|subscriber| subscriber.tenant == *tenant))
    }
}

#[cfg(test)]
#[path = "test_letter_tests.rs"]
mod tests;
