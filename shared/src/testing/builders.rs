//! A newsletter's people and campaigns, made up.

use crate::domain::address::{EmailAddress, Mailbox};
use crate::domain::campaign::{Campaign, Draft, Rules};
use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use crate::domain::letter::{Body, Letterhead, Manuscript, StoredLetter, Templates};
use crate::domain::local_time::{Past, SendTime, Timing, When, Whose, Zone};
use crate::domain::people::{Segment, Subscriber, SubscriberKey, SubscriberStatus};
use jiff::Timestamp;

/// Zones all around the world.
pub const ZONES: [&str; 12] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Los_Angeles",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Sydney",
    "Africa/Nairobi",
    "America/Sao_Paulo",
    "Pacific/Auckland",
    "Pacific/Honolulu",
    "UTC",
];

/// The tenant of all that is made up here.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn tenant() -> Tenant {
    Tenant::parse("mill").expect("a tenant")
}

/// The newsletter that [`reader`]s subscribe to.
#[must_use]
pub fn newsletter() -> NewsletterId {
    NewsletterId::derived(&["weekly"])
}

/// The subscriber `reader<i>@example.com`. Some have no name, some no zone; the others have one of [`ZONES`].
///
/// # Panics
/// Never: address and zone are valid.
#[must_use]
pub fn reader(i: usize) -> Subscriber {
    let email = EmailAddress::parse(format!("reader{i}@example.com")).expect("an address");
    Subscriber {
        key: SubscriberKey::of(&newsletter(), &email),
        tenant: tenant(),
        email,
        name: (!i.is_multiple_of(3)).then(|| format!("Reader {i}")),
        time_zone: (!i.is_multiple_of(13)).then(|| Zone::parse(ZONES[i % ZONES.len()]).expect("a zone")),
        tags: Vec::new(),
        status: SubscriberStatus::Active,
        consent: None,
        created_at: Timestamp::UNIX_EPOCH,
        unsubscribed_at: None,
        sequence: None,
    }
}

/// A letter of [`newsletter`] that greets its reader.
///
/// # Panics
/// Never: the sender is valid.
#[must_use]
pub fn letter(subject: &str) -> StoredLetter {
    let html = "<p>Dear {{ name or 'reader' }},</p><p>news.</p><p>{{ newsletter.postal_address }} \
                <a href=\"{{ unsubscribe_url }}\">Unsubscribe</a></p>";
    let text = "Dear {{ name or 'reader' }},\n\nnews.\n\n{{ newsletter.postal_address }} {{ unsubscribe_url }}\n";
    StoredLetter {
        manuscript: Manuscript {
            subject: subject.to_owned(),
            body: Body::Html(html.to_owned()),
            text: Some(text.to_owned()),
        },
        templates: Templates { subject: subject.to_owned(), html: html.to_owned(), text: text.to_owned() },
        head: Letterhead {
            newsletter: newsletter(),
            name: "The Weekly".to_owned(),
            postal_address: "1 Mill Lane, Watertown".to_owned(),
            from: Mailbox::parse("The Weekly <news@example.com>").expect("a sender"),
            reply_to: None,
            archive: false,
        },
    }
}

/// A draft for the readers' 10:00, or the newsletter's in Berlin for those without a zone.
///
/// # Panics
/// Never: time and zone are valid.
#[must_use]
pub fn draft(subject: &str, when: When, now: Timestamp) -> Campaign {
    let timing = Timing {
        when,
        whose: Whose::Recipient,
        send_at: SendTime::parse("10:00").expect("a time"),
        time_zone: Zone::parse("Europe/Berlin").expect("a zone"),
        days: None,
        past: Past::Now,
    };
    let draft = Draft {
        id: CampaignId::derived(&[subject]),
        tenant: tenant(),
        newsletter: newsletter(),
        subject: subject.to_owned(),
        letter: String::new(),
        timing,
        segment: Segment::default(),
        rules: Rules::default(),
        rate: None,
    };
    Campaign::draft(draft, now)
}
