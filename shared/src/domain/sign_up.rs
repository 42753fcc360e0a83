//! A sign-up by a public form that waits for its confirmation (double opt-in).

use super::address::EmailAddress;
use super::id::Tenant;
use super::local_time::Zone;
use super::people::{Confirmation, Consent, Subscriber, SubscriberKey, SubscriberStatus};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// The version of the texts that a subscriber agrees to: the mail that asks for the confirmation and the page behind its
/// link. Whoever changes one of them gives a new version, because it is part of every proof of consent.
pub const CONSENT_TEXT: &str = "2026-11-1";

/// How long the link to confirm is valid.
pub const CONFIRM_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One mail that asks for a confirmation at most in this time, for one address and newsletter.
pub const ASKED_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// What a consent by the form has as its source.
pub const SOURCE: &str = "double opt-in";

/// A sign-up. There is one for each address and newsletter; a later one replaces it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignUp {
    /// Which newsletter and which address.
    pub key: SubscriberKey,
    /// Whose newsletter.
    pub tenant: Tenant,
    /// The address.
    pub email: EmailAddress,
    /// The name, when given. It is in no mail before the address is confirmed: anybody can give any name.
    pub name: Option<String>,
    /// The time zone, when given.
    pub time_zone: Option<Zone>,
    /// The network address of whoever signed up.
    pub ip: Option<String>,
    /// When the first sign-up came that has not been confirmed. Links sent since then are valid.
    pub first_at: Timestamp,
    /// When the last one came.
    pub at: Timestamp,
}

impl SignUp {
    /// Whether a link that was made for the sign-up of `asked_at` confirms this one, `now`.
    #[must_use]
    pub fn confirmed_by(&self, asked_at: Timestamp, now: Timestamp) -> bool {
        self.first_at <= asked_at && asked_at <= self.at && now.duration_since(asked_at) < CONFIRM_WITHIN
    }

    /// The subscriber while the confirmation is waited for.
    #[must_use]
    pub fn pending(&self) -> Subscriber {
        self.subscriber(SubscriberStatus::Pending, self.at, None)
    }

    /// The subscriber once the owner of the address has confirmed.
    #[must_use]
    pub fn confirmed(&self, now: Timestamp, ip: Option<String>) -> Subscriber {
        self.subscriber(SubscriberStatus::Active, now, Some(Confirmation { at: now, ip }))
    }

    fn subscriber(
        &self,
        status: SubscriberStatus,
        created_at: Timestamp,
        confirmed: Option<Confirmation>,
    ) -> Subscriber {
        Subscriber {
            key: self.key.clone(),
            tenant: self.tenant.clone(),
            email: self.email.clone(),
            name: self.name.clone(),
            time_zone: self.time_zone.clone(),
            tags: Vec::new(),
            status,
            consent: Some(Consent {
                source: SOURCE.to_owned(),
                at: self.at,
                ip: self.ip.clone(),
                text: Some(CONSENT_TEXT.to_owned()),
                confirmed,
                import: None,
            }),
            created_at,
            unsubscribed_at: None,
            sequence: None,
        }
    }
}

// Names and addresses stay out of whatever prints a value.
impl fmt::Debug for SignUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignUp").field("key", &self.key).field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::reader;
    use std::time::Duration;

    fn sign_up(first_at: Timestamp, at: Timestamp) -> SignUp {
        let reader = reader(1);
        SignUp {
            key: reader.key,
            tenant: reader.tenant,
            email: reader.email,
            name: None,
            time_zone: None,
            ip: Some("192.0.2.7".into()),
            first_at,
            at,
        }
    }

    #[test]
    fn links_of_this_wait_confirm_until_they_expire_and_links_of_an_earlier_one_do_not() {
        let first = Timestamp::from_second(1_800_000_000).unwrap();
        let hour = Duration::from_secs(3600);
        let last = first + hour;
        let one = sign_up(first, last);
        assert!(one.confirmed_by(first, last) && one.confirmed_by(last, last));
        assert!(!one.confirmed_by(first - hour, last), "a link of before the last confirmation");
        assert!(!one.confirmed_by(last + hour, last + hour), "no link was sent then");
        assert!(one.confirmed_by(first, first + CONFIRM_WITHIN - hour));
        assert!(!one.confirmed_by(first, first + CONFIRM_WITHIN));
        assert!(one.confirmed_by(last, first + CONFIRM_WITHIN));
    }

    #[test]
    fn the_proof_says_when_whence_to_which_text_and_when_it_was_confirmed() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let one = sign_up(at, at);
        let pending = one.pending();
        assert_eq!((pending.status, pending.created_at), (SubscriberStatus::Pending, at));
        assert!(pending.consent.unwrap().confirmed.is_none());
        let later = at + Duration::from_secs(90);
        let active = one.confirmed(later, Some("192.0.2.8".into()));
        assert_eq!((active.status, active.began()), (SubscriberStatus::Active, later));
        let consent = active.consent.unwrap();
        assert_eq!(
            (consent.at, consent.ip.as_deref(), consent.text.as_deref()),
            (at, Some("192.0.2.7"), Some(CONSENT_TEXT))
        );
        let confirmed = consent.confirmed.unwrap();
        assert_eq!((confirmed.at, confirmed.ip.as_deref()), (later, Some("192.0.2.8")));
        assert!(!format!("{one:?}").contains("192.0"), "nothing personal is printed");
    }
}
