//! A reader who signs up, and confirms by the link in the mail (double opt-in).

use anyhow::Context;
use jiff::Timestamp;
use std::time::Duration;

use super::mailbox::{Mail, Mailbox};
use crate::{
    api::{Api, query},
    print::step,
};

/// How long the mail with the link may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Signs an address up and confirms it. Gives the address.
pub(crate) async fn sign_up(api: &Api, mailbox: &Mailbox, newsletter: &str) -> anyhow::Result<String> {
    let email = format!("grace.{}@example.com", Timestamp::now().as_millisecond());
    let form = [("email", Some(email.as_str())), ("newsletter", Some(newsletter)), ("name", Some("Grace"))];
    let answered = api.submit("/subscribe", &form).await?;
    step("sign up", format_args!("POST {}/subscribe for {email}: {answered}", api.base()));
    let mail = mailbox.first_to(&email, PATIENCE).await?;
    step(
        "sign up",
        format_args!(
            "the mail \"{}\" asks for a confirmation; until then: {}",
            mail.subject,
            status(api, &email).await?
        ),
    );
    let link = link(&mail).context("the mail has no link to confirm by")?;
    api.submit(link, &[]).await?;
    step(
        "sign up",
        format_args!("its link is opened and the button pressed; from then on: {}", status(api, &email).await?),
    );
    Ok(email)
}

fn link(mail: &Mail) -> Option<&str> {
    mail.text.as_deref()?.split_whitespace().find(|word| word.contains("/confirm?token="))
}

async fn status(api: &Api, email: &str) -> anyhow::Result<String> {
    let found = api.get(&format!("/v1/subscribers?{}", query(&[("email", Some(email))])?)).await?;
    Ok(found.text("/subscribers/0/status")?.to_owned())
}
