//! `millrace keys`: API keys, in any account.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use millrace::{
    aws::{Aws, Keys},
    domain::{
        id::Tenant,
        key::{InvalidKey, Scope},
    },
};
use serde_json::json;
use std::collections::BTreeSet;

use crate::{
    local::KEYS_TABLE,
    print::{self, line},
    stack,
};

/// What to do with API keys.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key and print it. It is shown this once: the table holds only a hash of it.
    ///
    /// Works on the account that the AWS environment variables or profile name. For the local system, source its
    /// local.env first. Single sign-on is not read: `eval "$(aws configure export-credentials --format env)"` turns it
    /// into variables.
    Create(Create),
}

/// A new key.
#[derive(Args)]
pub(crate) struct Create {
    /// Whose key it is: 1 to 64 letters, digits, _ and -.
    #[arg(long, value_parser = |text: &str| Tenant::parse(text))]
    tenant: Tenant,
    /// What it opens: jobs:write, jobs:read, audience:write, audience:read or admin. May be given several times.
    #[arg(long, required = true, value_name = "SCOPE", value_parser = |text: &str| text.parse::<Scope>())]
    scope: Vec<Scope>,
    /// What its owner calls it.
    #[arg(long)]
    name: Option<String>,
    /// The table of keys [default: the output KeysTable of the stack].
    #[arg(long)]
    table: Option<String>,
    /// The deployed stack; asked for its table with the SAM command line.
    #[arg(long, env = "MILLRACE_STACK", default_value = "millrace")]
    stack: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Create(create) = command;
    let table = match create.table {
        Some(table) => table,
        None => stack::output(&create.stack, KEYS_TABLE, "--table").await?,
    };
    let keys = Keys::new(Aws::load().await.dynamodb(), table.clone());
    let scopes: BTreeSet<Scope> = create.scope.into_iter().collect();
    let made = keys.create(create.tenant.clone(), scopes.clone(), create.name, Timestamp::now()).await;
    let key = match made {
        Ok(key) => key,
        Err(millrace::aws::CreateKeyError::Invalid(error @ InvalidKey::Name)) => bail!("--name: {error}"),
        Err(error) => {
            return Err(error).with_context(|| {
                format!("table {table} did not take the key: are region and credentials those of the stack's account?")
            });
        }
    };
    if create.json {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let made =
            json!({"key": key.reveal(), "id": key.id().as_str(), "tenant": create.tenant.as_str(), "scopes": scopes});
        print::json(&made)?;
    } else {
        line(key.reveal())?;
    }
    Ok(())
}
