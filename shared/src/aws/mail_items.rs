//! The items of the mail table.

use super::enrolments::{read_enrolment, write_enrolment};
use super::item::{
    DUE_SHARDS, Item, corrupt, flag, hash, json, ms, n, number, optional_json, optional_number, optional_text,
    optional_time, parsed, s, text, time,
};
use crate::domain::campaign::{Campaign, CampaignState, Forgiven};
use crate::domain::chunk::{Chunk, ChunkStatus};
use crate::domain::id::{CampaignId, NewsletterId, Tenant, UserId};
use crate::domain::people::{
    Newsletter, NewsletterChange, PENDING_KEPT, Subscriber, SubscriberChange, SubscriberKey, SubscriberStatus, User,
};
use crate::domain::sign_up::{CONFIRM_WITHIN, SignUp};
use crate::ports::PortError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

/// The sort key of what is alone under its partition key.
pub(super) const META: &str = "META";
/// Parts of a campaign's counts: two chunks are recorded at the same time without getting in each other's way. At 1,667
/// mails a second there are some 300 transactions a second, of some ten milliseconds each.
pub(super) const COUNT_SHARDS: u32 = 64;
/// Parts of a campaign's listings of pending chunks: each takes 1,000 writes a second.
const PENDING_SHARDS: u32 = 2;
/// Parts of a campaign's chunks, for the same reason.
const CHUNK_SHARDS: u32 = 8;

pub(super) fn user_pk(id: &UserId) -> String {
    format!("USER#{id}")
}

pub(super) fn newsletter_pk(id: &NewsletterId) -> String {
    format!("NL#{id}")
}

/// Where a tenant's newsletters are listed, by their identifiers.
pub(super) fn newsletters_pk(tenant: &Tenant) -> String {
    format!("NLS#{tenant}")
}

pub(super) fn sign_up_pk(key: &SubscriberKey) -> String {
    format!("SIGNUP#{}#{}", key.newsletter(), key.digest())
}

/// Subscribers are spread over sixteen partitions by the first digit of their digest, so that their order within a
/// newsletter is that of their digests.
pub(super) fn subscribers_pk(newsletter: &NewsletterId, digit: char) -> String {
    format!("SUBS#{newsletter}#{digit}")
}

pub(super) fn subscriber_pk(key: &SubscriberKey) -> String {
    subscribers_pk(key.newsletter(), key.digest().chars().next().unwrap_or('0'))
}

pub(super) fn campaign_pk(id: &CampaignId) -> String {
    format!("CMP#{id}")
}

pub(super) fn count_sk(number: u32) -> String {
    format!("COUNT#{}", number % COUNT_SHARDS)
}

pub(super) fn chunk_pk(campaign: &CampaignId, number: u32) -> String {
    format!("CHUNKS#{campaign}#{}", number % CHUNK_SHARDS)
}

pub(super) fn chunk_sk(number: u32) -> String {
    format!("{number:010}")
}

/// Listings of the index `due`, each apart from the others so that a long one does not stand in the way of a short one.
#[derive(Clone, Copy)]
pub(super) enum Listing<'a> {
    /// Campaigns that send.
    Active,
    /// Other campaigns, and chunks that nobody is to send.
    Attention,
    /// A campaign's pending chunks that are not on the queue.
    Ready(&'a CampaignId),
    /// A campaign's pending chunks that are.
    Queued(&'a CampaignId),
}

impl Listing<'_> {
    /// The listing's parts.
    pub(super) fn shards(self) -> Vec<String> {
        match self {
            Self::Active => (0..DUE_SHARDS).map(|shard| format!("active{shard}")).collect(),
            Self::Attention => (0..DUE_SHARDS).map(|shard| format!("attention{shard}")).collect(),
            Self::Ready(campaign) => (0..PENDING_SHARDS).map(|shard| format!("ready#{campaign}#{shard}")).collect(),
            Self::Queued(campaign) => (0..PENDING_SHARDS).map(|shard| format!("queued#{campaign}#{shard}")).collect(),
        }
    }

    /// The part that an item with this number or hash is in.
    pub(super) fn shard_of(self, number: u32) -> String {
        let mut shards = self.shards();
        let at = number as usize % shards.len();
        shards.swap_remove(at)
    }

    /// Whether a pending chunk with this shard is on the queue.
    fn is_queued(shard: Option<&str>) -> bool {
        shard.is_some_and(|shard| shard.starts_with("queued#"))
    }
}

fn with_key(pk: String, sk: String) -> Item {
    Item::from([("pk".into(), s(pk)), ("sk".into(), s(sk))])
}

fn set(item: &mut Item, name: &str, value: Option<AttributeValue>) {
    if let Some(value) = value {
        item.insert(name.into(), value);
    }
}

fn set_due(item: &mut Item, shard: String, at: Option<Timestamp>) {
    if let Some(at) = at {
        item.insert("due_shard".into(), s(shard));
        item.insert("due_at".into(), ms(at));
    }
}

fn optional_parsed<T: TryFrom<String>>(item: &Item, name: &str) -> Result<Option<T>, PortError> {
    optional_text(item, name).map(|text| T::try_from(text.to_owned()).map_err(|_| corrupt(name))).transpose()
}

fn optional_string(item: &Item, name: &str) -> Option<String> {
    optional_text(item, name).map(str::to_owned)
}

fn required_json<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> Result<T, PortError> {
    optional_json(item, name)?.ok_or_else(|| corrupt(name))
}

/// The identifier in a partition key of the form `<kind>#<id>`.
fn id_in_pk<T: TryFrom<String>>(item: &Item) -> Result<T, PortError> {
    let id = text(item, "pk")?.split('#').nth(1).ok_or_else(|| corrupt("pk"))?;
    T::try_from(id.to_owned()).map_err(|_| corrupt("pk"))
}

pub(super) fn write_user(user: &User) -> Item {
    let mut item = with_key(user_pk(&user.id), META.into());
    item.insert("tenant".into(), s(user.tenant.as_str()));
    item.insert("email".into(), s(user.email.as_str()));
    item.insert("created_at".into(), ms(user.created_at));
    set(&mut item, "name", user.name.as_ref().map(s));
    set(&mut item, "time_zone", user.time_zone.as_ref().map(|zone| s(zone.as_str())));
    set(&mut item, "welcomed_at", user.welcomed_at.map(ms));
    item
}

pub(super) fn read_user(item: &Item) -> Result<User, PortError> {
    Ok(User {
        id: id_in_pk(item)?,
        tenant: parsed(item, "tenant")?,
        email: parsed(item, "email")?,
        name: optional_string(item, "name"),
        time_zone: optional_parsed(item, "time_zone")?,
        created_at: time(item, "created_at")?,
        welcomed_at: optional_time(item, "welcomed_at"),
    })
}

/// That a newsletter has its place in its tenant's list.
pub(super) const LISTED: &str = "listed";

pub(super) fn write_newsletter(newsletter: &Newsletter) -> Result<Item, PortError> {
    let mut item = with_key(newsletter_pk(&newsletter.id), META.into());
    item.insert("tenant".into(), s(newsletter.tenant.as_str()));
    item.insert("name".into(), s(&newsletter.name));
    item.insert("from".into(), s(newsletter.from.to_string()));
    item.insert("postal_address".into(), s(&newsletter.postal_address));
    item.insert("time_zone".into(), s(newsletter.time_zone.as_str()));
    item.insert("send_at".into(), s(newsletter.send_at.to_string()));
    item.insert("created_at".into(), ms(newsletter.created_at));
    item.insert(LISTED.into(), AttributeValue::Bool(true));
    set(&mut item, "reply_to", newsletter.reply_to.as_ref().map(|reply_to| s(reply_to.to_string())));
    set(&mut item, "days", newsletter.days.as_ref().map(json).transpose()?);
    set(&mut item, "archive", newsletter.archive.then_some(AttributeValue::Bool(true)));
    set(&mut item, "tracking", newsletter.tracking.then_some(AttributeValue::Bool(true)));
    set(&mut item, "sequence", newsletter.sequence.as_ref().map(json).transpose()?);
    Ok(item)
}

pub(super) fn read_newsletter(item: &Item) -> Result<Newsletter, PortError> {
    Ok(Newsletter {
        id: id_in_pk(item)?,
        tenant: parsed(item, "tenant")?,
        name: text(item, "name")?.to_owned(),
        from: parsed(item, "from")?,
        reply_to: optional_parsed(item, "reply_to")?,
        postal_address: text(item, "postal_address")?.to_owned(),
        time_zone: parsed(item, "time_zone")?,
        send_at: parsed(item, "send_at")?,
        days: optional_json(item, "days")?,
        archive: item.contains_key("archive"),
        tracking: item.contains_key("tracking"),
        sequence: optional_json(item, "sequence")?,
        created_at: time(item, "created_at")?,
    })
}

pub(super) fn write_subscriber(subscriber: &Subscriber) -> Result<Item, PortError> {
    let mut item = with_key(subscriber_pk(&subscriber.key), subscriber.key.digest().to_owned());
    item.insert("tenant".into(), s(subscriber.tenant.as_str()));
    item.insert("email".into(), s(subscriber.email.as_str()));
    item.insert("status".into(), s(subscriber.status.as_str()));
    item.insert("created_at".into(), ms(subscriber.created_at));
    set(&mut item, "name", subscriber.name.as_ref().map(s));
    set(&mut item, "time_zone", subscriber.time_zone.as_ref().map(|zone| s(zone.as_str())));
    set(&mut item, "tags", (!subscriber.tags.is_empty()).then(|| json(&subscriber.tags)).transpose()?);
    set(&mut item, "consent", subscriber.consent.as_ref().map(json).transpose()?);
    set(&mut item, "unsubscribed_at", subscriber.unsubscribed_at.map(ms));
    let enrolment = subscriber.sequence.iter().flat_map(write_enrolment);
    item.extend(enrolment.map(|(name, value)| (name.to_owned(), value)));
    // What was never confirmed is not kept for ever.
    let pending = subscriber.status == SubscriberStatus::Pending;
    set(&mut item, "expires_at", pending.then(|| n((subscriber.created_at + PENDING_KEPT).as_second())));
    Ok(item)
}

/// The attributes that a change sets; without a value, removes.
pub(super) type Changes = Vec<(&'static str, Option<AttributeValue>)>;

pub(super) fn subscriber_changes(change: &SubscriberChange) -> Result<Changes, PortError> {
    let mut changes = Changes::new();
    if let Some(name) = &change.name {
        changes.push(("name", name.as_ref().map(s)));
    }
    if let Some(zone) = &change.time_zone {
        changes.push(("time_zone", zone.as_ref().map(|zone| s(zone.as_str()))));
    }
    if let Some(tags) = &change.tags {
        changes.push(("tags", (!tags.is_empty()).then(|| json(tags)).transpose()?));
    }
    Ok(changes)
}

pub(super) fn newsletter_changes(change: &NewsletterChange) -> Result<Changes, PortError> {
    let mut changes = Changes::new();
    let mut set = |name, value: Option<Option<AttributeValue>>| changes.extend(value.map(|value| (name, value)));
    set("name", change.name.as_ref().map(|name| Some(s(name))));
    set("from", change.from.as_ref().map(|from| Some(s(from.to_string()))));
    set("reply_to", change.reply_to.as_ref().map(|to| to.as_ref().map(|to| s(to.to_string()))));
    set("postal_address", change.postal_address.as_ref().map(|address| Some(s(address))));
    set("time_zone", change.time_zone.as_ref().map(|zone| Some(s(zone.as_str()))));
    set("send_at", change.send_at.as_ref().map(|time| Some(s(time.to_string()))));
    set("archive", change.archive.map(|archive| archive.then_some(AttributeValue::Bool(true))));
    set("tracking", change.tracking.map(|tracking| tracking.then_some(AttributeValue::Bool(true))));
    set("days", change.days.as_ref().map(|days| days.as_ref().map(json).transpose()).transpose()?);
    set("sequence", change.sequence.as_ref().map(|one| one.as_ref().map(json).transpose()).transpose()?);
    Ok(changes)
}

pub(super) fn sign_up_changes(sign_up: &SignUp) -> Changes {
    vec![
        ("tenant", Some(s(sign_up.tenant.as_str()))),
        ("email", Some(s(sign_up.email.as_str()))),
        ("name", sign_up.name.as_ref().map(s)),
        ("time_zone", sign_up.time_zone.as_ref().map(|zone| s(zone.as_str()))),
        ("ip", sign_up.ip.as_ref().map(s)),
        ("at", Some(ms(sign_up.at))),
        ("expires_at", Some(n((sign_up.at + CONFIRM_WITHIN).as_second()))),
    ]
}

pub(super) fn read_sign_up(key: &SubscriberKey, item: &Item) -> Result<SignUp, PortError> {
    Ok(SignUp {
        key: key.clone(),
        tenant: parsed(item, "tenant")?,
        email: parsed(item, "email")?,
        name: optional_string(item, "name"),
        time_zone: optional_parsed(item, "time_zone")?,
        ip: optional_string(item, "ip"),
        first_at: time(item, "first_at")?,
        at: time(item, "at")?,
    })
}

pub(super) fn read_subscriber(item: &Item) -> Result<Subscriber, PortError> {
    let key = SubscriberKey::new(id_in_pk(item)?, text(item, "sk")?).map_err(|_| corrupt("sk"))?;
    Ok(Subscriber {
        key,
        tenant: parsed(item, "tenant")?,
        email: parsed(item, "email")?,
        name: optional_string(item, "name"),
        time_zone: optional_parsed(item, "time_zone")?,
        tags: optional_json(item, "tags")?.unwrap_or_default(),
        status: SubscriberStatus::parse(text(item, "status")?).ok_or_else(|| corrupt("status"))?,
        consent: optional_json(item, "consent")?,
        created_at: time(item, "created_at")?,
        unsubscribed_at: optional_time(item, "unsubscribed_at"),
        sequence: read_enrolment(item)?,
    })
}

pub(super) fn write_campaign(campaign: &Campaign) -> Result<Item, PortError> {
    let pk = campaign_pk(&campaign.id);
    let mut item = with_key(pk.clone(), META.into());
    item.insert("rules".into(), json(&campaign.rules)?);
    item.insert("tenant".into(), s(campaign.tenant.as_str()));
    item.insert("newsletter".into(), s(campaign.newsletter.as_str()));
    item.insert("subject".into(), s(&campaign.subject));
    item.insert("letter".into(), s(&campaign.letter));
    item.insert("timing".into(), json(&campaign.timing)?);
    item.insert("segment".into(), json(&campaign.segment)?);
    item.insert("state".into(), s(campaign.state.as_str()));
    item.insert("version".into(), n(campaign.version));
    item.insert("created_at".into(), ms(campaign.created_at));
    item.insert("frozen".into(), AttributeValue::Bool(campaign.frozen));
    item.insert("next_chunk".into(), n(campaign.next_chunk));
    item.insert("total".into(), n(campaign.total));
    set(&mut item, "started_at", campaign.started_at.map(ms));
    set(&mut item, "opens_at", campaign.opens_at.map(ms));
    set(&mut item, "opened_at", campaign.opened_at.map(ms));
    set(&mut item, "finished_at", campaign.finished_at.map(ms));
    set(&mut item, "cursor", campaign.cursor.as_ref().map(s));
    set(&mut item, "rate", campaign.rate.map(|rate| n(u32::from(rate))));
    set(&mut item, "stopped", campaign.stopped.as_ref().map(json).transpose()?);
    set(&mut item, "resend", campaign.resend.as_ref().map(json).transpose()?);
    set(&mut item, "tracked", campaign.tracked.then_some(AttributeValue::Bool(true)));
    set(&mut item, "pass", (campaign.pass > 0).then(|| n(campaign.pass)));
    let forgiven = Some(&campaign.forgiven).filter(|forgiven| **forgiven != Forgiven::default());
    set(&mut item, "forgiven", forgiven.map(json).transpose()?);
    let listing = if campaign.state.sends() { Listing::Active } else { Listing::Attention };
    set_due(&mut item, listing.shard_of(hash(&pk)), campaign.attention_at);
    Ok(item)
}

pub(super) fn read_campaign(item: &Item) -> Result<Campaign, PortError> {
    let frozen = item.get("frozen").and_then(|value| value.as_bool().ok());
    Ok(Campaign {
        id: id_in_pk(item)?,
        tenant: parsed(item, "tenant")?,
        newsletter: parsed(item, "newsletter")?,
        subject: text(item, "subject")?.to_owned(),
        letter: text(item, "letter")?.to_owned(),
        timing: required_json(item, "timing")?,
        segment: required_json(item, "segment")?,
        rules: optional_json(item, "rules")?.unwrap_or_default(),
        rate: optional_number::<u32>(item, "rate")
            .map(|rate| rate.try_into().map_err(|_| corrupt("rate")))
            .transpose()?,
        stopped: optional_json(item, "stopped")?,
        resend: optional_json(item, "resend")?,
        pass: optional_number(item, "pass").unwrap_or_default(),
        forgiven: optional_json(item, "forgiven")?.unwrap_or_default(),
        tracked: flag(item, "tracked"),
        state: CampaignState::parse(text(item, "state")?).ok_or_else(|| corrupt("state"))?,
        version: number(item, "version")?,
        created_at: time(item, "created_at")?,
        started_at: optional_time(item, "started_at"),
        opens_at: optional_time(item, "opens_at"),
        opened_at: optional_time(item, "opened_at"),
        frozen: *frozen.ok_or_else(|| corrupt("frozen"))?,
        cursor: optional_string(item, "cursor"),
        next_chunk: number(item, "next_chunk")?,
        total: number(item, "total")?,
        finished_at: optional_time(item, "finished_at"),
        attention_at: optional_time(item, "due_at"),
    })
}

pub(super) fn write_chunk(chunk: &Chunk) -> Result<Item, PortError> {
    let mut item = with_key(chunk_pk(&chunk.campaign, chunk.number), chunk_sk(chunk.number));
    item.insert("instant".into(), ms(chunk.due));
    item.insert("status".into(), s(chunk.status.as_str()));
    // One attribute: as a list of maps, fifty recipients would take twice the room, and the room is what is paid for.
    item.insert("recipients".into(), json(&chunk.recipients)?);
    item.insert("fence".into(), n(chunk.fence));
    set(&mut item, "owner", chunk.owner.as_ref().map(s));
    set(&mut item, "lease_until", chunk.lease_until.map(ms));
    set(&mut item, "settle_at", chunk.settle_at.map(ms));
    set(&mut item, "sent_after", chunk.sent_after.map(ms));
    set(&mut item, "heard", chunk.heard.then_some(AttributeValue::Bool(true)));
    set(&mut item, "pass", (chunk.pass > 0).then(|| n(chunk.pass)));
    let listing = match (chunk.status, chunk.queued) {
        (ChunkStatus::Pending, true) => Listing::Queued(&chunk.campaign),
        (ChunkStatus::Pending, false) => Listing::Ready(&chunk.campaign),
        _ => Listing::Attention,
    };
    set_due(&mut item, listing.shard_of(chunk.number), chunk.attention_at);
    Ok(item)
}

pub(super) fn read_chunk(item: &Item) -> Result<Chunk, PortError> {
    Ok(Chunk {
        campaign: id_in_pk(item)?,
        number: text(item, "sk")?.parse().map_err(|_| corrupt("sk"))?,
        due: time(item, "instant")?,
        status: ChunkStatus::parse(text(item, "status")?).ok_or_else(|| corrupt("status"))?,
        recipients: required_json(item, "recipients")?,
        fence: number(item, "fence")?,
        owner: optional_string(item, "owner"),
        lease_until: optional_time(item, "lease_until"),
        queued: Listing::is_queued(optional_text(item, "due_shard")),
        settle_at: optional_time(item, "settle_at"),
        sent_after: optional_time(item, "sent_after"),
        heard: flag(item, "heard"),
        pass: optional_number(item, "pass").unwrap_or_default(),
        attention_at: optional_time(item, "due_at"),
    })
}
