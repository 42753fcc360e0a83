//! What must be mended before a campaign starts.

use super::account::{Account, Enforcement};
use super::address::EmailAddress;

/// A sender as the mail service knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whether mail may be sent from it.
    pub verified: bool,
    /// Whether its mail is signed for its own domain (DKIM).
    pub dkim: bool,
    /// Whether bounces go to a domain below its own (a custom MAIL FROM), which SPF is checked against.
    pub mail_from: bool,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The campaign does not start.
    Error,
    /// It starts; somebody should know.
    Warning,
}

impl Severity {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something about a campaign that is not as it should be, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Where in the campaign: a JSON pointer. Empty when nothing in it is at fault.
    pub pointer: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

impl Finding {
    /// What must be mended.
    #[must_use]
    pub fn error(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: Severity::Error, pointer: pointer.into(), detail: detail.into() }
    }

    /// What should be known.
    #[must_use]
    pub fn warning(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, pointer: pointer.into(), detail: detail.into() }
    }
}

/// The identities that allow an address as a sender, the closest first: the address, its domain, and the domains above it, of
/// which [one that is verified](https://docs.aws.amazon.com/ses/latest/dg/creating-identities.html) covers those below it.
#[must_use]
pub fn identities_of(address: &EmailAddress) -> Vec<String> {
    let mut names = vec![address.as_str().to_owned()];
    let mut domain = address.domain();
    while domain.contains('.') {
        names.push(domain.to_owned());
        domain = domain.split_once('.').map_or("", |(_, above)| above);
    }
    names
}

/// What is to be said of a sender. `known` are those of [`identities_of`] it that the mail service knows.
#[must_use]
pub fn sender(from: &EmailAddress, known: &[(String, Identity)]) -> Vec<Finding> {
    const POINTER: &str = "/newsletter/from";
    let domain = from.domain();
    if !known.iter().any(|(_, identity)| identity.verified) {
        let what = if known.is_empty() { "SES does not know" } else { "SES has not verified" };
        let detail = format!(
            "{what} the sender's domain {domain}: create the identity {domain} in SES, publish its DKIM records, and wait \
             until it is verified; or give the newsletter a sender that is"
        );
        return vec![Finding::error(POINTER, detail)];
    }
    // Signed for another domain than the sender's, a mail fails DMARC.
    let aligned = known
        .iter()
        .any(|(name, identity)| identity.verified && ((identity.dkim && !name.contains('@')) || identity.mail_from));
    if aligned {
        return Vec::new();
    }
    let detail = format!(
        "mail from {domain} is not signed for {domain}: Gmail, Yahoo and Outlook refuse bulk mail like that. Set up DKIM for \
         the identity {domain} in SES"
    );
    vec![Finding::warning(POINTER, detail)]
}

/// What is to be said of the mail service's account.
#[must_use]
pub fn account(account: &Account) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !account.sending_enabled || account.enforcement == Enforcement::Shutdown {
        let detail =
            "SES has stopped this account's sending: see the account's dashboard in SES, and switch it on again";
        findings.push(Finding::error("", detail));
    }
    if !account.production_access {
        let detail =
            "the SES account is in the sandbox, where only verified addresses get mail: ask AWS for production access";
        findings.push(Finding::error("", detail));
    }
    if account.enforcement == Enforcement::Probation {
        let detail = "SES has put the account on probation for its bounces or complaints: see its dashboard before you send more";
        findings.push(Finding::warning("", detail));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> EmailAddress {
        EmailAddress::parse(address).unwrap()
    }

    const GOOD: Identity = Identity { verified: true, dkim: true, mail_from: false };
    const UNSIGNED: Identity = Identity { dkim: false, ..GOOD };
    const PENDING: Identity = Identity { verified: false, dkim: false, mail_from: false };

    #[test]
    fn a_domain_covers_what_is_below_it() {
        assert_eq!(
            identities_of(&from("a@news.example.com")),
            ["a@news.example.com", "news.example.com", "example.com"]
        );
        let known = [("example.com".to_owned(), GOOD)];
        assert!(sender(&from("a@news.example.com"), &known).is_empty());
    }

    #[test]
    fn senders_are_verified_and_signed() {
        let severities = |known: &[(&str, Identity)]| {
            let known: Vec<_> = known.iter().map(|(name, identity)| ((*name).to_owned(), *identity)).collect();
            let findings = sender(&from("a@example.com"), &known);
            assert!(findings.iter().all(|finding| finding.pointer == "/newsletter/from" && !finding.detail.is_empty()));
            findings.into_iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        assert_eq!(severities(&[]), [Severity::Error]);
        assert_eq!(severities(&[("example.com", PENDING)]), [Severity::Error]);
        assert_eq!(severities(&[("a@example.com", PENDING), ("example.com", GOOD)]), []);
        assert_eq!(severities(&[("example.com", UNSIGNED)]), [Severity::Warning]);
        assert_eq!(severities(&[("example.com", Identity { mail_from: true, ..UNSIGNED })]), []);
        // An address that is verified by itself is signed for amazonses.com.
        assert_eq!(severities(&[("a@example.com", GOOD)]), [Severity::Warning]);
    }

    #[test]
    fn accounts_must_be_able_to_send() {
        let fine = Account {
            production_access: true,
            sending_enabled: true,
            enforcement: Enforcement::Healthy,
            max_send_rate: 14.0,
            max_24_hours: Some(50_000.0),
            sent_24_hours: 0.0,
        };
        let severities =
            |change: Account| account(&change).into_iter().map(|finding| finding.severity).collect::<Vec<_>>();
        assert_eq!(severities(fine), []);
        assert_eq!(severities(Account { production_access: false, ..fine }), [Severity::Error]);
        assert_eq!(severities(Account { sending_enabled: false, ..fine }), [Severity::Error]);
        assert_eq!(severities(Account { enforcement: Enforcement::Shutdown, ..fine }), [Severity::Error]);
        assert_eq!(severities(Account { enforcement: Enforcement::Probation, ..fine }), [Severity::Warning]);
    }
}
