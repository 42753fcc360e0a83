//! What is to be done with a chunk's recipients, decided just before it is claimed.

use crate::handler::Sender;
use millrace::domain::campaign::Campaign;
use millrace::domain::chunk::{Chunk, Verdict};
use millrace::domain::letter::LetterError;
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::letters::{self, Links, Reader, Ready};
use millrace::ports::{Mail, PortError};

/// The decisions by place, and the mails of those to be sent.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) decided: Vec<(usize, Verdict)>,
    pub(crate) mails: Vec<(usize, Mail)>,
}

impl Sender {
    /// Decides about the first `most` pending recipients, and renders the mails of those to be sent.
    pub(crate) async fn plan(
        &self,
        campaign: &Campaign,
        chunk: &Chunk,
        letter: &Ready,
        most: usize,
    ) -> Result<Plan, PortError> {
        let places: Vec<usize> = chunk.pending().into_iter().take(most).collect();
        let keys: Result<Vec<_>, _> = places
            .iter()
            .map(|&place| SubscriberKey::new(campaign.newsletter.clone(), &chunk.recipients[place].digest))
            .collect();
        let keys = keys.map_err(|error| PortError::Corrupt(error.into()))?;
        let subscribers = self.subscribers.get(&keys).await?;
        let mut plan = Plan::default();
        let mut active = Vec::new();
        for (place, subscriber) in places.into_iter().zip(subscribers) {
            match subscriber {
                None => plan.decided.push((place, Verdict::Skip("erased".to_owned()))),
                Some(one) if one.status != SubscriberStatus::Active => {
                    plan.decided.push((place, Verdict::Suppress(one.status.as_str().to_owned())));
                }
                Some(one) => active.push((place, one)),
            }
        }
        let addresses: Vec<_> = active.iter().map(|(_, one)| one.email.clone()).collect();
        let suppressed = if addresses.is_empty() {
            Vec::new()
        } else {
            self.suppressions.check(&campaign.tenant, &addresses).await?
        };
        for ((place, one), suppressed) in active.into_iter().zip(suppressed) {
            let decided = match suppressed {
                Some(suppression) => Verdict::Suppress(suppression.reason.as_str().to_owned()),
                None => match self.mail(campaign, chunk, place, &one, letter) {
                    Ok(mail) => {
                        plan.mails.push((place, mail));
                        Verdict::Send
                    }
                    Err(error) => {
                        tracing::error!(campaign = %campaign.id, chunk = chunk.number, place, "not rendered: {error}");
                        Verdict::Fail("not rendered".to_owned())
                    }
                },
            };
            plan.decided.push((place, decided));
        }
        Ok(plan)
    }

    fn mail(
        &self,
        campaign: &Campaign,
        chunk: &Chunk,
        place: usize,
        subscriber: &Subscriber,
        ready: &Ready,
    ) -> Result<Mail, LetterError> {
        let public_url = self.settings.public_url.as_str();
        let archive_url = letters::public_copy(public_url, &ready.head, campaign);
        let unsubscribe_url = letters::unsubscribe_url(&self.tokens, public_url, &campaign.tenant, &subscriber.id());
        let links = Links { public_url, unsubscribe_url: &unsubscribe_url, archive_url: archive_url.as_deref() };
        let tag = |name: &str, value: String| (name.to_owned(), value);
        let tags = vec![
            tag("campaign", campaign.id.to_string()),
            tag("chunk", chunk.number.to_string()),
            tag("recipient", place.to_string()),
            tag("attempt", chunk.recipients[place].attempt.to_string()),
        ];
        let mail = ready.mail(Reader::from(subscriber), links, tags)?;
        Ok(if campaign.tracked { letters::tracked(mail, links) } else { mail })
    }
}
