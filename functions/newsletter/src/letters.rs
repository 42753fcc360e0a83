//! A campaign's letter, read and compiled once for each process.

use millrace::domain::id::CampaignId;
use millrace::domain::letter::{Letter, LetterSource};
use millrace::ports::{Blobs, PortError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Compiled letters kept: more campaigns than this are seldom under way together, and a letter is read again in no time.
const KEPT: usize = 8;

/// A letter with what its mails take from the newsletter.
pub(crate) struct Ready {
    pub(crate) source: LetterSource,
    pub(crate) letter: Letter,
}

/// Compiled letters by campaign. A campaign's letter never changes.
pub(crate) struct Letters {
    blobs: Arc<dyn Blobs>,
    kept: Mutex<VecDeque<(CampaignId, Arc<Ready>)>>,
}

impl Letters {
    pub(crate) fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, kept: Mutex::default() }
    }

    /// The campaign's letter.
    pub(crate) async fn get(&self, campaign: &CampaignId) -> Result<Arc<Ready>, PortError> {
        if let Some(ready) = self.kept(campaign) {
            return Ok(ready);
        }
        let key = LetterSource::blob_key(campaign);
        let body = self.blobs.get(&key).await?.ok_or_else(|| corrupt("the letter is not in the bucket"))?;
        let source: LetterSource = serde_json::from_slice(&body).map_err(|_| corrupt("the letter cannot be read"))?;
        let letter = Letter::compile(&source).map_err(|error| PortError::Corrupt(error.into()))?;
        let ready = Arc::new(Ready { source, letter });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((campaign.clone(), ready.clone()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(ready)
    }

    fn kept(&self, campaign: &CampaignId) -> Option<Arc<Ready>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(id, _)| id == campaign).map(|(_, ready)| ready.clone())
    }
}

fn corrupt(what: &'static str) -> PortError {
    PortError::Corrupt(anyhow::anyhow!(what))
}
