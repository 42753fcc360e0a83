//! SES events, joined by their tags to the mails they speak of.

use jiff::Timestamp;
use millrace::domain::chunk::SendEvent;
use millrace::domain::id::CampaignId;
use millrace::ports::{Chunks, MailLedger, PortError};
use millrace::single_mail::NAME_TAG;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is read of an SES event
/// ([contents](https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html)).
#[derive(Deserialize)]
pub(crate) struct SesEvent {
    #[serde(rename = "eventType")]
    event_type: String,
    mail: SesMail,
}

#[derive(Deserialize)]
struct SesMail {
    #[serde(rename = "messageId")]
    message_id: String,
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

/// Which mail an event speaks of.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// One recipient of a campaign's chunk.
    Recipient { campaign: CampaignId, chunk: u32, event: SendEvent },
    /// A single mail, by its name in the ledger.
    Single(String),
    /// A mail that Millrace did not send.
    Foreign,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It is noted, or there was nothing to note.
    Done,
    /// It is no SES event.
    Unreadable,
}

fn subject(mail: &SesMail) -> Subject {
    let tag = |name: &str| mail.tags.get(name).and_then(|values| values.first()).map(String::as_str);
    let recipient = || {
        Some(Subject::Recipient {
            campaign: tag("campaign")?.parse().ok()?,
            chunk: tag("chunk")?.parse().ok()?,
            event: SendEvent {
                recipient: tag("recipient")?.parse().ok()?,
                attempt: tag("attempt")?.parse().ok()?,
                message_id: mail.message_id.clone(),
            },
        })
    };
    let single = || tag(NAME_TAG).map(|name| Subject::Single(name.to_owned()));
    recipient().or_else(single).unwrap_or(Subject::Foreign)
}

/// Notes what an event tells. Safe to run twice and in any order: any event of a mail proves that SES accepted it.
pub(crate) async fn handle(
    ledger: &dyn MailLedger,
    chunks: &dyn Chunks,
    body: &str,
    now: Timestamp,
) -> Result<Read, PortError> {
    let Ok(event) = serde_json::from_str::<SesEvent>(body) else { return Ok(Read::Unreadable) };
    match subject(&event.mail) {
        Subject::Recipient { campaign, chunk, event } => chunks.seen(&campaign, chunk, &event, now).await?,
        Subject::Single(name) => ledger.accepted(&name, &event.mail.message_id, now).await?,
        Subject::Foreign => tracing::info!(event_type = event.event_type, "an event of a mail that is not ours"),
    }
    Ok(Read::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace::testing::{MemoryCampaigns, MemoryMailLedger};
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    fn mail(tags: serde_json::Value) -> SesMail {
        serde_json::from_value(json!({ "messageId": "m-1", "tags": tags })).unwrap()
    }

    #[test]
    fn tags_name_the_mail() {
        let chunk = mail(json!({"campaign": ["cmp_1"], "chunk": ["4"], "recipient": ["49"], "attempt": ["2"]}));
        let event = SendEvent { recipient: 49, attempt: 2, message_id: "m-1".into() };
        let campaign = CampaignId::parse("cmp_1").unwrap();
        assert_eq!(subject(&chunk), Subject::Recipient { campaign, chunk: 4, event });
        let single = mail(json!({"mail": ["welcome-usr_1"], "job": ["job_1"]}));
        assert_eq!(subject(&single), Subject::Single("welcome-usr_1".into()));
    }

    #[test]
    fn tags_of_others_name_none_of_ours() {
        for tags in [json!({}), json!({"campaign": ["spring"]}), json!({"job": ["x"]}), json!({"mail": []})] {
            assert_eq!(subject(&mail(tags.clone())), Subject::Foreign, "{tags}");
        }
    }

    fn taken(body: &str) -> Read {
        let (ledger, chunks) = (MemoryMailLedger::default(), MemoryCampaigns::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(handle(&ledger, &chunks, body, Timestamp::UNIX_EPOCH)).unwrap()
    }

    fn tag() -> impl Strategy<Value = String> {
        let known = select(vec![
            "cmp_1",
            "0",
            "49",
            "255",
            "256",
            "4294967296",
            "-1",
            "18446744073709551616",
            "",
            "welcome-usr_1",
        ]);
        prop_oneof![known.prop_map(str::to_owned), ".{0,20}"]
    }

    proptest! {
        #[test]
        fn any_text_is_answered(body in ".*") {
            prop_assert_eq!(taken(&body), Read::Unreadable);
        }

        #[test]
        fn any_tags_are_answered(
            kind in ".{0,20}",
            id in ".{0,20}",
            tags in prop::collection::btree_map(
                prop_oneof![select(vec!["campaign", "chunk", "recipient", "attempt", "mail"]).prop_map(str::to_owned), ".{0,9}"],
                prop::collection::vec(tag(), 0..3),
                0..7,
            ),
        ) {
            let body = json!({ "eventType": kind, "mail": { "messageId": id, "tags": tags } });
            prop_assert_eq!(taken(&body.to_string()), Read::Done);
        }

        #[test]
        fn an_event_of_another_form_is_put_aside(mail in prop_oneof![Just(json!(null)), Just(json!([])), Just(json!({"messageId": 1}))]) {
            prop_assert_eq!(taken(&json!({ "eventType": "Send", "mail": mail }).to_string()), Read::Unreadable);
        }
    }

    /// Runs the sample event's records through the handler, twice: SQS delivers at least once.
    #[tokio::test]
    async fn the_sample_event_is_noted_once() {
        let (ledger, campaigns) = (MemoryMailLedger::default(), MemoryCampaigns::default());
        let event: serde_json::Value =
            serde_json::from_str(include_str!("../../../events/feedback.send.json")).unwrap();
        let body = event["Records"][0]["body"].as_str().unwrap();
        for _ in 0..2 {
            let read = handle(&ledger, &campaigns, body, Timestamp::UNIX_EPOCH).await.unwrap();
            assert_eq!(read, Read::Done);
        }
        let mail: SesEvent = serde_json::from_str(body).unwrap();
        let Subject::Recipient { campaign, chunk, event } = subject(&mail.mail) else { panic!("no recipient's mail") };
        assert_eq!(campaigns.events(&campaign, chunk).await.unwrap(), [event]);
    }
}
