//! Addresses of a tenant that get no newsletter, whatever list they are on.

use jiff::{SignedDuration, Timestamp};

/// So many mails that bounced softly, each after SES's own tries, suppress an address.
pub const SOFT_BOUNCES: usize = 5;
/// How long a soft bounce counts.
pub const SOFT_BOUNCE_COUNTS: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Why an address is suppressed. An address may have several reasons; the first of this order is the one that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its owner called a mail spam.
    Complaint,
    /// There is no such mailbox.
    HardBounce,
    /// Too many mails were not taken: [`SOFT_BOUNCES`].
    SoftBounces,
    /// Somebody of the tenant put it on the list.
    Manual,
    /// Its owner had everything about them erased. Only a hash of the address is left.
    Erased,
    /// Its owner unsubscribed from everything the tenant sends.
    Unsubscribed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Complaint, Self::HardBounce, Self::SoftBounces, Self::Manual, Self::Erased, Self::Unsubscribed];

    /// The reasons that the tenant may take back. The others are the owner's own wish.
    pub const BY_TENANT: [Self; 4] = [Self::Complaint, Self::HardBounce, Self::SoftBounces, Self::Manual];

    /// The reasons that the address's owner takes back by confirming a new subscription.
    pub const BY_OWNER: [Self; 2] = [Self::Erased, Self::Unsubscribed];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complaint => "complaint",
            Self::HardBounce => "bounce",
            Self::SoftBounces => "soft_bounces",
            Self::Manual => "manual",
            Self::Erased => "erased",
            Self::Unsubscribed => "unsubscribed",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// That an address is suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppression {
    /// Why.
    pub reason: Reason,
    /// Since when it is so for this reason.
    pub at: Timestamp,
}

impl Suppression {
    /// Whether a confirmation of the address's owner ends it. Then no reason of another kind is there.
    #[must_use]
    pub fn ends_by_owner(&self) -> bool {
        Reason::BY_OWNER.contains(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_the_owners_reasons_come_last() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("Erased"), None);
        assert!(Reason::ALL.is_sorted());
        // Whoever is told one of the owner's reasons knows that there is no other.
        assert!(Reason::BY_TENANT.iter().all(|tenants| Reason::BY_OWNER.iter().all(|owners| tenants < owners)));
        assert_eq!(Reason::BY_TENANT.len() + Reason::BY_OWNER.len(), Reason::ALL.len());
    }
}
