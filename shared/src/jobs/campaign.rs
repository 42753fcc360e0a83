use super::wire::{UnreadableMessage, parse};
use crate::domain::id::{CampaignId, Tenant};
use crate::ports::Message;
use serde::{Deserialize, Serialize};

/// Look at a campaign: it may be due to open, or to freeze the rest of its audience. The table is the truth, so a lost
/// or repeated hint does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignHint {
    /// Version of this form: [`CampaignHint::VERSION`].
    pub v: u32,
    /// Which campaign.
    pub campaign: CampaignId,
}

impl CampaignHint {
    /// The form this build writes and reads.
    pub const VERSION: u32 = 1;

    /// The message to send.
    #[must_use]
    pub fn message(campaign: CampaignId, tenant: Tenant) -> Message {
        Message::now(serde_json::json!(Self { v: Self::VERSION, campaign }).to_string(), tenant)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// When the body is not of this form.
    pub fn parse(body: &str) -> Result<Self, UnreadableMessage> {
        parse(body, Self::VERSION)
    }
}

/// Send one chunk of a campaign. The table is the truth here as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkMessage {
    /// Version of this form: [`ChunkMessage::VERSION`].
    pub v: u32,
    /// Which campaign.
    pub campaign: CampaignId,
    /// Which of its chunks.
    pub chunk: u32,
}

impl ChunkMessage {
    /// The form this build writes and reads.
    pub const VERSION: u32 = 1;

    /// The message to send.
    #[must_use]
    pub fn message(campaign: CampaignId, chunk: u32, tenant: Tenant) -> Message {
        Message::now(serde_json::json!(Self { v: Self::VERSION, campaign, chunk }).to_string(), tenant)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// When the body is not of this form.
    pub fn parse(body: &str) -> Result<Self, UnreadableMessage> {
        parse(body, Self::VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_sent_reads_back_and_nothing_else_does() {
        let campaign = CampaignId::derived(&["x"]);
        let tenant = Tenant::parse("t").unwrap();
        let hint = CampaignHint::message(campaign.clone(), tenant.clone());
        assert_eq!(CampaignHint::parse(&hint.body).unwrap().campaign, campaign);
        let chunk = ChunkMessage::message(campaign, 7, tenant);
        assert_eq!(ChunkMessage::parse(&chunk.body).unwrap().chunk, 7);
        assert!(ChunkMessage::parse(&hint.body).is_err());
        assert!(CampaignHint::parse(&chunk.body).is_err());
        assert_eq!(CampaignHint::parse(r#"{"v":2}"#), Err(UnreadableMessage::Version(2)));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(
            body in prop_oneof![
                ".*",
                "\\{\"v\":1,\"campaign\":\"(cmp_[0-9a-f]{0,40}|.{0,20})\",\"chunk\":-?[0-9]{1,12}\\}",
                "\\{\"v\":1,\"campaign\":\"cmp_[0-9a-f]{32}\"\\}",
            ],
        ) {
            // What is read says the same when it is written again: nothing was guessed.
            if let Ok(hint) = CampaignHint::parse(&body) {
                prop_assert_eq!(CampaignHint::parse(&serde_json::json!(&hint).to_string()), Ok(hint));
            }
            if let Ok(chunk) = ChunkMessage::parse(&body) {
                prop_assert_eq!(ChunkMessage::parse(&serde_json::json!(&chunk).to_string()), Ok(chunk));
            }
        }

        #[test]
        fn every_chunk_reads_back(key in ".*", number: u32) {
            let campaign = CampaignId::derived(&[&key]);
            let message = ChunkMessage::message(campaign.clone(), number, Tenant::parse("t").unwrap());
            let read = ChunkMessage::parse(&message.body).unwrap();
            prop_assert_eq!((read.campaign, read.chunk), (campaign, number));
        }
    }
}
