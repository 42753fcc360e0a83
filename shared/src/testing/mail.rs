use super::Faults;
use crate::ports::{Mail, MailError, MailLedger, Mailer, Opened, PortError};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps every accepted mail. `Mailer::send` fails as the script says, else accepts.
#[derive(Clone, Default)]
pub struct MemoryMailer {
    sent: Arc<Mutex<Vec<(String, Mail)>>>,
    script: Arc<Mutex<VecDeque<(bool, MailError)>>>,
}

impl MemoryMailer {
    /// The accepted mails with their message ids, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<(String, Mail)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next send fails so; with `accept` the mail is kept all the same, as when only the answer is lost.
    pub fn fail_next(&self, accept: bool, error: MailError) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back((accept, error));
    }
}

#[async_trait]
impl Mailer for MemoryMailer {
    async fn send(&self, mail: &Mail) -> Result<String, MailError> {
        tokio::task::yield_now().await;
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let id = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let id = format!("ses-{}", sent.len() + 1);
            if scripted.as_ref().is_none_or(|(accept, _)| *accept) {
                sent.push((id.clone(), mail.clone()));
            }
            id
        };
        tokio::task::yield_now().await;
        scripted.map_or(Ok(id), |(_, error)| Err(error))
    }
}

#[derive(Clone, Default)]
struct Entry {
    intent_at: Option<Timestamp>,
    message_id: Option<String>,
}

/// The ledger of single mails in memory.
#[derive(Clone, Default)]
pub struct MemoryMailLedger {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryMailLedger {
    fn with<T>(&self, mail: &str, work: impl FnOnce(&mut Entry) -> T) -> T {
        work(self.entries.lock().unwrap_or_else(PoisonError::into_inner).entry(mail.to_owned()).or_default())
    }
}

#[async_trait]
impl MailLedger for MemoryMailLedger {
    async fn open(&self, mail: &str, now: Timestamp) -> Result<Opened, PortError> {
        self.faults.before("open").await?;
        let opened = self.with(mail, |entry| match (&entry.message_id, entry.intent_at) {
            (Some(message_id), _) => Opened::Sent { message_id: message_id.clone() },
            (None, Some(since)) => Opened::Unsettled { since },
            (None, None) => {
                entry.intent_at = Some(now);
                Opened::Fresh
            }
        });
        self.faults.after("open").await?;
        Ok(opened)
    }

    async fn reopen(&self, mail: &str, since: Timestamp, now: Timestamp) -> Result<bool, PortError> {
        self.faults.before("reopen").await?;
        Ok(self.with(mail, |entry| {
            let open = entry.message_id.is_none() && entry.intent_at == Some(since);
            if open {
                entry.intent_at = Some(now);
            }
            open
        }))
    }

    async fn withdraw(&self, mail: &str) -> Result<(), PortError> {
        self.faults.before("withdraw").await?;
        self.with(mail, |entry| {
            if entry.message_id.is_none() {
                entry.intent_at = None;
            }
        });
        Ok(())
    }

    async fn accepted(&self, mail: &str, message_id: &str, _now: Timestamp) -> Result<(), PortError> {
        self.faults.before("accepted").await?;
        self.with(mail, |entry| {
            entry.message_id.get_or_insert_with(|| message_id.to_owned());
        });
        self.faults.after("accepted").await
    }
}
