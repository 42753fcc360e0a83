//! The kind `confirm-subscription`.

use crate::handler::Desk;
use anyhow::anyhow;
use millrace::domain::people::{SubscriberKey, SubscriberStatus};
use millrace::domain::sign_up::SignUp;
use millrace::domain::token::Tokens;
use millrace::job::{Failure, Outcome};
use millrace::jobs::ConfirmSubscription;
use millrace::ports::{Mail, Newsletters, SignUps, Subscribers, Suppressions};
use millrace::worker::handlers::Attempt;
use serde_json::json;
use std::sync::Arc;

/// What is asked about people who sign up.
pub(crate) struct Door {
    pub(crate) sign_ups: Arc<dyn SignUps>,
    pub(crate) newsletters: Arc<dyn Newsletters>,
    pub(crate) subscribers: Arc<dyn Subscribers>,
    pub(crate) suppressions: Arc<dyn Suppressions>,
    pub(crate) tokens: Tokens,
    /// Base of the links in mails.
    pub(crate) public_url: String,
}

/// Why somebody who signed up gets no mail. Only the tenant sees it, in the job's result.
fn not_asked(why: &str) -> Outcome {
    Ok(json!({ "asked": false, "why": why }))
}

impl Desk {
    /// Safe to run twice: the mail is named for the sign-up, and the ledger knows it.
    pub(crate) async fn confirm_subscription(&self, job: ConfirmSubscription, attempt: Attempt) -> Outcome {
        let door = &self.door;
        let key = SubscriberKey::try_from(&job.subscriber).map_err(|error| Failure::Dead(error.into()))?;
        let sign_up = door.sign_ups.get(&key).await?.filter(|sign_up| sign_up.tenant == attempt.tenant);
        // Confirmed or forgotten by now; or there was a later one, which has a job of its own.
        let Some(sign_up) = sign_up.filter(|sign_up| sign_up.at == job.asked_at) else {
            return not_asked("the sign-up is over");
        };
        let suppressed = door.suppressions.check(&sign_up.tenant, std::slice::from_ref(&sign_up.email)).await?;
        if suppressed.into_iter().flatten().any(|suppression| !suppression.ends_by_owner()) {
            return not_asked("the address is suppressed");
        }
        let known = door.subscribers.get(std::slice::from_ref(&key)).await?.pop().flatten();
        match known.map(|subscriber| subscriber.status) {
            Some(SubscriberStatus::Active) => return not_asked("the address is subscribed"),
            Some(SubscriberStatus::Unsubscribed | SubscriberStatus::Pending) => {}
            None => {
                door.subscribers.add(&sign_up.pending()).await?;
            }
        }
        let mail = self.confirmation(&sign_up).await?;
        let name = format!("confirm-{}-{}", job.subscriber, sign_up.at.as_millisecond());
        let message_id = self.send(&name, mail, &attempt).await?;
        Ok(json!({ "asked": true, "message_id": message_id }))
    }

    /// The mail. It names the newsletter and not the person: anybody can sign up anybody under any name.
    async fn confirmation(&self, sign_up: &SignUp) -> Result<Mail, Failure> {
        let newsletter = self.door.newsletters.get(sign_up.key.newsletter()).await?;
        let Some(newsletter) = newsletter.filter(|newsletter| newsletter.tenant == sign_up.tenant) else {
            return Err(Failure::Dead(anyhow!("there is no such newsletter")));
        };
        let token = self.door.tokens.confirm(&sign_up.tenant, &sign_up.key.id(), sign_up.at);
        let url = format!("{}/confirm?token={token}", self.door.public_url);
        let parts = self.letters.confirm(&newsletter.name, &newsletter.postal_address, &url);
        let parts = parts.map_err(|error| Failure::Dead(error.into()))?;
        Ok(Mail {
            from: newsletter.from.to_header(),
            reply_to: newsletter.reply_to.map(|reply_to| reply_to.to_header()),
            to: sign_up.email.as_str().to_owned(),
            subject: format!("Please confirm: {}", newsletter.name),
            text: parts.text,
            html: parts.html,
            headers: vec![],
            tags: vec![],
            tracked: false,
        })
    }
}

#[cfg(test)]
#[path = "confirm_tests.rs"]
mod tests;
