//! `millrace webhooks`: the secrets that sign calls to customers' endpoints, in any account.

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use millrace::{
    aws::{Aws, Keys, random_secret},
    domain::{id::Tenant, webhook::Secrets},
    ports::WebhookSecrets,
};
use serde_json::json;

use crate::{
    local::KEYS_TABLE,
    print::{self, line},
    stack,
};

/// What to do with webhooks.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// The secret of a tenant.
    #[command(subcommand)]
    Secret(Secret),
}

/// What to do with a secret.
#[derive(Subcommand)]
pub(crate) enum Secret {
    /// Print a tenant's secret, for its receivers to check signatures with. It is made when there is none.
    Show(Which),
    /// Replace a tenant's secret and print the new one. The old one signs as well for some time.
    Rotate(Rotate),
}

/// Whose secret.
#[derive(Args)]
pub(crate) struct Which {
    /// Whose secret it is.
    #[arg(long, value_parser = |text: &str| Tenant::parse(text))]
    tenant: Tenant,
    /// The table of keys [default: the output KeysTable of the stack].
    #[arg(long)]
    table: Option<String>,
    /// The deployed stack; asked for its table with the SAM command line.
    #[arg(long, env = "MILLRACE_STACK", default_value = "millrace")]
    stack: String,
    /// Print JSON, with the old secret that still signs.
    #[arg(long)]
    json: bool,
}

/// How to replace it.
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    which: Which,
    /// Hours for which the old secret signs as well; 0 when it has become known.
    #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u16).range(..=8760))]
    overlap: u16,
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Secret(secret) = command;
    let (which, overlap) = match secret {
        Secret::Show(which) => (which, None),
        Secret::Rotate(Rotate { which, overlap }) => (which, Some(overlap)),
    };
    let table = match &which.table {
        Some(table) => table.clone(),
        None => stack::output(&which.stack, KEYS_TABLE, "--table").await?,
    };
    let (keys, now) = (Keys::new(Aws::load().await.dynamodb(), table.clone()), Timestamp::now());
    let fresh = random_secret()?;
    let secrets = match overlap {
        None => keys.ensure(&which.tenant, &fresh).await,
        Some(hours) => {
            let until = now + SignedDuration::from_hours(i64::from(hours));
            keys.rotate(&which.tenant, &fresh, until, now).await
        }
    };
    let secrets = secrets.with_context(|| {
        format!("table {table} could not be used: are region and credentials those of the stack's account?")
    })?;
    print(&secrets, which.json, now)
}

fn print(secrets: &Secrets, as_json: bool, now: Timestamp) -> anyhow::Result<()> {
    if !as_json {
        line(secrets.current.reveal())?;
        return Ok(());
    }
    let previous = secrets
        .previous
        .iter()
        .filter(|(_, until)| *until > now)
        .map(|(secret, until)| json!({ "secret": secret.reveal(), "until": until }));
    print::json(&json!({ "secret": secrets.current.reveal(), "previous": previous.collect::<Vec<_>>() }))?;
    Ok(())
}
