//! The events SES publishes about a mail, in the form that an EventBridge rule with `InputPath: $.detail` passes on
//! ([contents](https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html)).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fate::Fate;
use crate::mail::{Mail, bare, domain};
use crate::suppression::Reason;

/// Any region will do: the engine keeps its resources in the one it was deployed to, this one.
pub(crate) const REGION: &str = "us-east-1";
/// The account of the local engine, which is also the one of its queues' URLs.
const ACCOUNT: &str = "000000000000";
/// How long the recipient's server takes to accept or refuse a mail.
const SERVER: Duration = Duration::from_millis(300);
/// How long the recipient takes to answer, or to call it spam.
const PERSON: Duration = Duration::from_millis(900);
const MTA: &str = "a8-31.smtp-out.amazonses.com";

/// An event, and how long after the mail was accepted it happens.
pub(crate) struct Event {
    pub(crate) after: Duration,
    pub(crate) body: Value,
}

/// What SES tells of a mail, in the order in which it happens. `fates` are those of its recipients, bare; without any, SES
/// has found a virus in it.
pub(crate) fn story(mail: &Mail, fates: &[(&str, Fate)]) -> Vec<Event> {
    let event = |after: Duration, kind: &str, name: &str, detail: Value| {
        let mut body = json!({ "eventType": kind, "mail": about(mail) });
        body[name] = detail;
        Event { after, body }
    };
    let mut events = vec![event(Duration::ZERO, "Send", "send", json!({}))];
    if fates.is_empty() {
        events.push(event(SERVER, "Reject", "reject", json!({ "reason": "Bad content" })));
    }
    let at = |after: Duration| mail.received_at + after;
    let delivery = |address: &str| event(SERVER, "Delivery", "delivery", delivered(address, at(SERVER)));
    let bounce = |after: Duration, detail: Value| event(after, "Bounce", "bounce", detail);
    let complaint = |after: Duration, detail: Value| event(after, "Complaint", "complaint", detail);
    for (address, fate) in fates {
        match fate {
            Fate::Delivered => events.push(delivery(address)),
            Fate::UnknownUser => events.push(bounce(SERVER, unknown_user(address, at(SERVER)))),
            Fate::OutOfOffice => {
                events.push(delivery(address));
                events.push(bounce(
                    PERSON,
                    bounced("Transient", "General", json!({ "emailAddress": address }), at(PERSON)),
                ));
            }
            Fate::Spam => {
                events.push(delivery(address));
                events.push(complaint(PERSON, spam(address, at(PERSON))));
            }
            Fate::SuppressedBySes => events.push(bounce(SERVER, suppressed(address, "Suppressed", at(SERVER)))),
            Fate::Suppressed(Reason::Bounce) => {
                events.push(bounce(SERVER, suppressed(address, "OnAccountSuppressionList", at(SERVER))));
            }
            Fate::Suppressed(Reason::Complaint) => {
                events.push(complaint(SERVER, complained(address, at(SERVER))));
            }
        }
    }
    // By when they happen; those of one moment in the order of the recipients.
    events.sort_by_key(|event| event.after);
    events
}

/// What SES tells of an open, or of a click when a link is given.
pub(crate) fn hit(mail: &Mail, link: Option<&str>, user_agent: &str, at: Timestamp) -> Value {
    let mut detail = json!({ "ipAddress": "192.0.2.1", "timestamp": millis(at), "userAgent": user_agent });
    let (kind, name) = if link.is_some() { ("Click", "click") } else { ("Open", "open") };
    if let Some(link) = link {
        detail["link"] = json!(link);
        detail["linkTags"] = Value::Null;
    }
    json!({ "eventType": kind, "mail": about(mail), name: detail })
}

fn delivered(address: &str, at: Timestamp) -> Value {
    json!({
        "timestamp": millis(at),
        "processingTimeMillis": SERVER.as_millis() as u64,
        "recipients": [address],
        "smtpResponse": "250 2.0.0 OK",
        "remoteMtaIp": "192.0.2.25",
        "reportingMTA": MTA,
    })
}

fn bounced(kind: &str, sub_type: &str, recipient: Value, at: Timestamp) -> Value {
    json!({
        "feedbackId": feedback_id(at),
        "bounceType": kind,
        "bounceSubType": sub_type,
        "bouncedRecipients": [recipient],
        "timestamp": millis(at),
        "reportingMTA": format!("dsn; {MTA}"),
    })
}

fn unknown_user(address: &str, at: Timestamp) -> Value {
    let recipient = json!({
        "emailAddress": address,
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": "smtp; 550 5.1.1 user unknown",
    });
    bounced("Permanent", "General", recipient, at)
}

fn suppressed(address: &str, list: &str, at: Timestamp) -> Value {
    let recipient = json!({
        "emailAddress": address,
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": "Amazon SES did not send the message to this address because it is on a suppression list.",
    });
    bounced("Permanent", list, recipient, at)
}

/// A complaint that is the suppression list's: nobody has complained of this mail.
fn complained(address: &str, at: Timestamp) -> Value {
    json!({
        "feedbackId": feedback_id(at),
        "complaintSubType": "OnAccountSuppressionList",
        "complainedRecipients": [{ "emailAddress": address }],
        "timestamp": millis(at),
    })
}

fn spam(address: &str, at: Timestamp) -> Value {
    json!({
        "feedbackId": feedback_id(at),
        "complaintSubType": null,
        "complainedRecipients": [{ "emailAddress": address }],
        "timestamp": millis(at),
        "userAgent": "Amazon SES Mailbox Simulator",
        "complaintFeedbackType": "abuse",
        "arrivalDate": millis(at),
    })
}

fn feedback_id(at: Timestamp) -> String {
    format!("0100{:012x}-{}-000000", at.as_millisecond().max(0), Uuid::now_v7())
}

fn millis(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// What every event says of its mail.
fn about(mail: &Mail) -> Value {
    json!({
        "timestamp": millis(mail.received_at),
        "source": mail.from,
        "sourceArn": format!("arn:aws:ses:{REGION}:{ACCOUNT}:identity/{}", bare(&mail.from)),
        "sendingAccountId": ACCOUNT,
        "messageId": mail.id,
        "destination": mail.to.iter().chain(&mail.cc).chain(&mail.bcc).map(|to| bare(to)).collect::<Vec<_>>(),
        "headersTruncated": false,
        "headers": headers(mail),
        "commonHeaders": common_headers(mail),
        "tags": tags(mail),
    })
}

fn headers(mail: &Mail) -> Vec<Value> {
    let own = mail.headers.iter().map(|header| json!({ "name": header.name, "value": header.value }));
    if mail.raw.is_some() {
        return own.collect();
    }
    let people = [("Reply-To", &mail.reply_to), ("To", &mail.to), ("Cc", &mail.cc)];
    let people = people.into_iter().filter(|(_, given)| !given.is_empty());
    let mut headers = vec![json!({ "name": "From", "value": mail.from })];
    headers.extend(people.map(|(name, given)| json!({ "name": name, "value": given.join(", ") })));
    headers.push(json!({ "name": "Subject", "value": mail.subject }));
    headers.push(json!({ "name": "MIME-Version", "value": "1.0" }));
    headers.extend(own);
    headers
}

fn common_headers(mail: &Mail) -> Value {
    let mut common = json!({ "from": [mail.from], "messageId": mail.id, "subject": mail.subject });
    for (name, given) in [("replyTo", &mail.reply_to), ("to", &mail.to), ("cc", &mail.cc)] {
        if !given.is_empty() {
            common[name] = json!(given);
        }
    }
    common
}

/// The tags of the sender and those SES adds. A value is always a list.
fn tags(mail: &Mail) -> BTreeMap<&str, [&str; 1]> {
    let mut tags: BTreeMap<_, _> = mail.tags.iter().map(|(name, value)| (name.as_str(), [value.as_str()])).collect();
    tags.insert("ses:operation", ["SendEmail"]);
    tags.insert("ses:source-ip", ["127.0.0.1"]);
    tags.insert("ses:from-domain", [domain(&mail.from)]);
    tags.insert("ses:caller-identity", ["mailbox"]);
    if let Some(set) = &mail.configuration_set {
        tags.insert("ses:configuration-set", [set]);
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mail;

    fn told(fates: &[(&str, Fate)]) -> Vec<(String, Value)> {
        let told = story(&mail("m", "a@example.com"), fates);
        assert!(told.is_sorted_by_key(|event| event.after));
        let kind = |event: &Event| event.body["eventType"].as_str().unwrap().to_owned();
        told.into_iter().map(|event| (kind(&event), event.body)).collect()
    }

    #[test]
    fn each_fate_has_its_events() {
        for (fate, kinds, bounce) in [
            (Fate::Delivered, "Send Delivery", ""),
            (Fate::UnknownUser, "Send Bounce", "Permanent/General"),
            (Fate::OutOfOffice, "Send Delivery Bounce", "Transient/General"),
            (Fate::Spam, "Send Delivery Complaint", ""),
            (Fate::SuppressedBySes, "Send Bounce", "Permanent/Suppressed"),
            (Fate::Suppressed(Reason::Bounce), "Send Bounce", "Permanent/OnAccountSuppressionList"),
            (Fate::Suppressed(Reason::Complaint), "Send Complaint", ""),
        ] {
            let told = told(&[("a@example.com", fate)]);
            assert_eq!(told.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>().join(" "), kinds, "{fate:?}");
            let last = &told[told.len() - 1].1["bounce"];
            if !bounce.is_empty() {
                let text = |name: &str| last[name].as_str().unwrap();
                assert_eq!(format!("{}/{}", text("bounceType"), text("bounceSubType")), bounce);
                assert_eq!(last["bouncedRecipients"][0]["emailAddress"], "a@example.com");
            }
        }
        let spam = &told(&[("a@example.com", Fate::Spam)])[2].1["complaint"];
        assert_eq!((&spam["complaintFeedbackType"], &spam["complaintSubType"]), (&json!("abuse"), &Value::Null));
        let before = &told(&[("a@example.com", Fate::Suppressed(Reason::Complaint))])[1].1["complaint"];
        assert_eq!(before["complaintSubType"], "OnAccountSuppressionList");
    }

    #[test]
    fn a_virus_is_rejected_and_each_recipient_has_a_story() {
        let virus = told(&[]);
        assert_eq!((virus[1].0.as_str(), &virus[1].1["reject"]["reason"]), ("Reject", &json!("Bad content")));
        let two = told(&[("a@example.com", Fate::Spam), ("b@example.com", Fate::Delivered)]);
        let kinds: Vec<_> = two.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["Send", "Delivery", "Delivery", "Complaint"]);
        assert_eq!(two[2].1["delivery"]["recipients"], json!(["b@example.com"]));
    }
}
