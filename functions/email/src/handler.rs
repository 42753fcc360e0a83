//! The kind `welcome`, and what all kinds of this worker share.

use crate::confirm::Door;
use crate::letters::{Letters, WELCOME_SUBJECT};
use anyhow::anyhow;
use millrace::job::{Failure, Outcome};
use millrace::jobs::Welcome;
use millrace::ports::{Mail, MailLedger, Mailer, Users};
use millrace::single_mail::{Post, send_once};
use millrace::worker::handlers::Attempt;
use serde_json::{Value, json};
use std::time::Duration;

/// What the mail worker works with.
pub(crate) struct Desk {
    pub(crate) users: Box<dyn Users>,
    pub(crate) door: Door,
    pub(crate) ledger: Box<dyn MailLedger>,
    pub(crate) mailer: Box<dyn Mailer>,
    pub(crate) letters: Letters,
    pub(crate) sender: String,
    pub(crate) settle: Duration,
}

impl Desk {
    /// Safe to run twice: a user who was welcomed is left alone, and the ledger knows a mail that was sent.
    pub(crate) async fn welcome(&self, job: Welcome, attempt: Attempt) -> Outcome {
        let user = self.users.get(&job.user).await?.filter(|user| user.tenant == attempt.tenant);
        let Some(user) = user else {
            return Err(Failure::Dead(anyhow!("there is no such user")));
        };
        if user.welcomed_at.is_some() {
            return Ok(Value::Null);
        }
        let suppressed = self.door.suppressions.check(&user.tenant, std::slice::from_ref(&user.email)).await?;
        if suppressed.into_iter().any(|suppression| suppression.is_some()) {
            return Ok(json!({ "sent": false, "why": "the address is suppressed" }));
        }
        // Named for the user and not for the job: two jobs for one user are still one mail.
        let name = format!("welcome-{}", job.user);
        let parts = self.letters.welcome(user.name.as_deref()).map_err(|error| Failure::Dead(error.into()))?;
        let mail = Mail {
            from: self.sender.clone(),
            reply_to: None,
            to: user.email.as_str().to_owned(),
            subject: WELCOME_SUBJECT.to_owned(),
            text: parts.text,
            html: parts.html,
            headers: vec![],
            tags: vec![],
            tracked: false,
        };
        let message_id = self.send(&name, mail, &attempt).await?;
        self.users.welcomed(&job.user, attempt.now()).await?;
        Ok(json!({ "message_id": message_id }))
    }

    /// Sends a mail once, known as `name`. Its tags name the job and the tenant, so that a bounce finds them.
    pub(crate) async fn send(&self, name: &str, mut mail: Mail, attempt: &Attempt) -> Result<String, Failure> {
        mail.tags.push(("job".to_owned(), attempt.id.to_string()));
        mail.tags.push(("tenant".to_owned(), attempt.tenant.to_string()));
        let post = Post { ledger: &*self.ledger, mailer: &*self.mailer, settle: self.settle };
        send_once(post, name, mail, attempt.now()).await
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
