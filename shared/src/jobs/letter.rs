use crate::domain::address::EmailAddress;
use crate::domain::id::{CampaignId, SubscriberId};
use crate::job::Job;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Send a campaign's letter to one address, to see how it arrives. It is not part of the campaign's account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestLetter {
    /// Which campaign.
    #[schemars(with = "String", regex(pattern = "^cmp_[A-Za-z0-9_-]+$"))]
    pub campaign: CampaignId,
    /// Which version of its letter.
    pub letter: String,
    /// Where the mail goes.
    #[schemars(with = "String")]
    pub to: EmailAddress,
    /// As which subscriber the letter is rendered; as `to`'s own, if there is one, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub subscriber: Option<SubscriberId>,
}

impl std::fmt::Debug for TestLetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestLetter").field("campaign", &self.campaign).finish_non_exhaustive()
    }
}

impl Job for TestLetter {
    const KIND: &'static str = "test-letter";
    const MAX_ATTEMPTS: u32 = 5;
}
