//! What SES lets an account send.

use super::pace::{NEWSLETTER_SHARE, SendRate};

/// How SES stands to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// All is well.
    Healthy,
    /// Under review: bounces or complaints are too many.
    Probation,
    /// Sending was shut down.
    Shutdown,
    /// SES has a word for it that this build does not know.
    Other,
}

/// An account's sending limits and how far they are used, as SES tells them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Account {
    /// Whether it is out of the sandbox.
    pub production_access: bool,
    /// Whether it may send at all.
    pub sending_enabled: bool,
    /// How SES stands to it.
    pub enforcement: Enforcement,
    /// Mails a second.
    pub max_send_rate: f64,
    /// Mails in any 24 hours; `None` is no limit.
    pub max_24_hours: Option<f64>,
    /// Mails of the last 24 hours.
    pub sent_24_hours: f64,
}

impl Account {
    /// The newsletters' share of the rate.
    #[must_use]
    pub fn ceiling(&self) -> SendRate {
        // An account that may send nothing still has a rate: SES refuses what is sent at it.
        SendRate::per_second(self.max_send_rate * NEWSLETTER_SHARE).unwrap_or(SendRate::MIN)
    }

    /// How many newsletter mails SES takes today; `None` is any number. A part of the quota is kept for single mails.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        let left = self.max_24_hours? * NEWSLETTER_SHARE - self.sent_24_hours;
        Some(left.max(0.0) as u64)
    }

    /// How much of the daily quota is used, in whole percent; `None` when there is no quota.
    #[must_use]
    pub fn used_percent(&self) -> Option<u64> {
        let most = self.max_24_hours.filter(|most| *most > 0.0)?;
        Some((self.sent_24_hours * 100.0 / most) as u64)
    }

    /// Whether there is room enough again to go on after the quota was used up: a chunk, or a tenth of a small quota.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match (self.left(), self.max_24_hours) {
            (Some(left), Some(most)) => left as f64 >= (most / 10.0).min(50.0),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_for_single_mails() {
        let account = Account {
            production_access: true,
            sending_enabled: true,
            enforcement: Enforcement::Healthy,
            max_send_rate: 14.0,
            max_24_hours: Some(1_000.0),
            sent_24_hours: 800.0,
        };
        assert_eq!(account.ceiling(), SendRate::per_second(11.9).unwrap());
        assert_eq!((account.left(), account.has_room()), (Some(50), true));
        let used_up = Account { sent_24_hours: 801.0, ..account };
        assert_eq!((used_up.left(), used_up.has_room()), (Some(49), false));
        assert_eq!(Account { sent_24_hours: 900.0, ..account }.left(), Some(0));
        assert_eq!((account.used_percent(), used_up.used_percent()), (Some(80), Some(80)));
        assert_eq!(Account { max_24_hours: Some(0.0), ..account }.used_percent(), None);
        let unlimited = Account { max_24_hours: None, ..account };
        assert_eq!((unlimited.left(), unlimited.has_room(), unlimited.used_percent()), (None, true, None));
        assert_eq!(Account { max_send_rate: 0.0, ..account }.ceiling(), SendRate::MIN);
    }
}
