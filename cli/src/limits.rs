//! `millrace limits`: how many jobs of a kind may start, in any account.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use millrace::{
    aws::{Aws, DynamoLimits},
    domain::{
        id::Tenant,
        rate::{Limit, Rate, Whose},
    },
    jobs::{KINDS, kind},
    ports::Limits,
};
use serde::Serialize;

use crate::{
    local::JOBS_TABLE,
    print::{self, line},
    stack,
};

/// What to do with rate limits.
///
/// Works on the account that the AWS environment variables or profile name. For the local system, source its local.env first.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the limits that hold: those that were set here, and those that the kinds' own code names.
    List(List),
    /// Set a limit, in place of the one that is there. It holds in every worker 15 seconds later at most.
    Set(Set),
    /// Remove a limit that was set. The one that the kind's own code names holds again, if there is one.
    Remove(Remove),
}

/// Which limits to show.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
}

/// A limit to set.
#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    scope: Scope,
    /// How many jobs may start, evenly spread: 10/s, 600/m, 1000/h or 5/d.
    #[arg(long, value_parser = |text: &str| text.parse::<Rate>())]
    rate: Rate,
    /// How many may start at once after a quiet time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::LARGEST_BURST)))]
    burst: u32,
    #[command(flatten)]
    place: Place,
}

/// A limit to remove.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    place: Place,
}

/// What a limit is on: all jobs of a kind together, unless a tenant is named.
#[derive(Args)]
struct Scope {
    /// The kind of job, for example echo.
    #[arg(value_parser = known)]
    kind: String,
    /// Only the jobs of this tenant.
    #[arg(long, value_parser = |text: &str| Tenant::parse(text), conflicts_with = "each_tenant")]
    tenant: Option<Tenant>,
    /// The jobs of each tenant that has no limit of its own, each for itself.
    #[arg(long)]
    each_tenant: bool,
}

/// Where the limits are.
#[derive(Args)]
struct Place {
    /// The table of jobs [default: the output JobsTable of the stack].
    #[arg(long, env = "JOBS_TABLE")]
    table: Option<String>,
    /// The deployed stack; asked for its table with the SAM command line.
    #[arg(long, env = "MILLRACE_STACK", default_value = "millrace")]
    stack: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The name that the kind has now. A limit for a name that nobody has would bind nobody.
fn known(name: &str) -> Result<String, String> {
    let known = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    kind(name).map(|kind| kind.name.to_owned()).ok_or_else(|| format!("not a kind; the kinds are {}", known()))
}

impl Scope {
    fn whose(&self) -> Whose {
        match &self.tenant {
            Some(tenant) => Whose::Tenant(tenant.clone()),
            None if self.each_tenant => Whose::EachTenant,
            None => Whose::All,
        }
    }
}

impl Place {
    async fn open(&self) -> anyhow::Result<DynamoLimits> {
        let table = match &self.table {
            Some(table) => table.clone(),
            None => stack::output(&self.stack, JOBS_TABLE, "--table").await?,
        };
        Ok(DynamoLimits::new(Aws::load().await.dynamodb(), table))
    }
}

/// A limit as it is shown.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Shown {
    kind: String,
    /// `*` is each tenant, absent is all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    rate: String,
    /// `operator` or `code`.
    set_by: &'static str,
}

impl Shown {
    fn of(limit: &Limit, set_by: &'static str) -> Self {
        let tenant = match &limit.whose {
            Whose::All => None,
            Whose::EachTenant => Some("*".to_owned()),
            Whose::Tenant(tenant) => Some(tenant.to_string()),
        };
        Self { kind: limit.kind.clone(), tenant, rate: limit.rate.to_string(), set_by }
    }

    fn line(&self) -> String {
        let whose = match self.tenant.as_deref() {
            None => "all".to_owned(),
            Some("*") => "each tenant".to_owned(),
            Some(tenant) => format!("tenant {tenant}"),
        };
        format!("{:<20}  {whose:<30}  {:<20}  {}", self.kind, self.rate, self.set_by)
    }
}

/// What the operator has set and, where that leaves it, what the kinds name themselves.
fn holding(set: &[Limit]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = set.iter().map(|limit| Shown::of(limit, "operator")).collect();
    for kind in KINDS {
        for (whose, rate) in [(Whose::All, kind.policy.all), (Whose::EachTenant, kind.policy.each_tenant)] {
            let is_set = set.iter().any(|limit| limit.kind == kind.name && limit.whose == whose);
            if let Some(rate) = rate.filter(|_| !is_set) {
                shown.push(Shown::of(&Limit { kind: kind.name.to_owned(), whose, rate }, "code"));
            }
        }
    }
    shown.sort();
    shown
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(List { place }) => {
            let shown = holding(&place.open().await?.all().await.context("the limits")?);
            if place.json {
                return Ok(print::json(&shown)?);
            }
            for limit in shown {
                line(limit.line())?;
            }
        }
        Command::Set(Set { scope, rate, burst, place }) => {
            let limit = Limit { kind: scope.kind.clone(), whose: scope.whose(), rate: rate.burst(burst) };
            place.open().await?.set(&limit).await.context("the limit")?;
            let shown = Shown::of(&limit, "operator");
            if place.json {
                return Ok(print::json(&shown)?);
            }
            line(shown.line())?;
        }
        Command::Remove(Remove { scope, place }) => {
            if !place.open().await?.remove(&scope.kind, &scope.whose()).await.context("the limit")? {
                bail!("there is no such limit: `millrace limits list` shows those there are");
            }
            if place.json {
                print::json(&serde_json::json!({ "removed": true }))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn set(arguments: &str) -> Result<Limit, String> {
        let arguments = ["limits", "set"].into_iter().chain(arguments.split(' ')).chain(["--table", "jobs"]);
        match Cli::try_parse_from(arguments).map_err(|error| error.to_string())?.command {
            Command::Set(set) => {
                let whose = set.scope.whose();
                Ok(Limit { kind: set.scope.kind, whose, rate: set.rate.burst(set.burst) })
            }
            _ => Err("another command".into()),
        }
    }

    #[test]
    fn a_limit_is_on_all_on_each_tenant_or_on_one() {
        let limit = |whose, rate: &str| Limit { kind: "echo".into(), whose, rate: rate.parse().unwrap() };
        assert_eq!(set("echo --rate 10/s").unwrap(), limit(Whose::All, "10/s"));
        assert_eq!(set("echo --each-tenant --rate 10/s --burst 5").unwrap(), limit(Whose::EachTenant, "10/s burst 5"));
        let acme = Whose::Tenant(Tenant::parse("acme").unwrap());
        assert_eq!(set("echo --tenant acme --rate 1/m").unwrap(), limit(acme, "1/m"));
        for wrong in
            ["echo", "ecko --rate 1/s", "echo --rate 0/s", "echo --rate 1/s --burst 0", "echo --rate 1/s --tenant a/b"]
        {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        assert!(set("ecko --rate 1/s").unwrap_err().contains("echo"), "it names the kinds");
        assert!(set("echo --rate 1/s --tenant a --each-tenant").is_err());
    }

    #[test]
    fn a_limit_is_shown_with_who_set_it() {
        let limit = Limit { kind: "echo".into(), whose: Whose::EachTenant, rate: "10/s burst 2".parse().unwrap() };
        let shown = holding(&[limit]);
        let echo: Vec<&Shown> = shown.iter().filter(|limit| limit.kind == "echo").collect();
        assert_eq!(echo.len(), 1);
        assert!(echo[0].line().contains("each tenant") && echo[0].line().ends_with("operator"), "{}", echo[0].line());
        let json = serde_json::to_value(echo[0]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"kind": "echo", "tenant": "*", "rate": "10/s burst 2", "set_by": "operator"})
        );
    }
}
