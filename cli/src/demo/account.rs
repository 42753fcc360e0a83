//! What a campaign came to: by its own account, and counted in the mailbox.

use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::BTreeMap;

use super::campaign::Campaign;
use super::mailbox::Counts;
use crate::print::{self, line};

/// Both sides of a campaign.
#[derive(Serialize)]
pub(crate) struct Account {
    pub(crate) campaign: String,
    pub(crate) subscribers: usize,
    pub(crate) total: u64,
    /// The recipients by state.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Who unsubscribed during the pause.
    pub(crate) left: String,
    pub(crate) mails: usize,
    pub(crate) exactly_one: usize,
    pub(crate) none: usize,
    pub(crate) several: usize,
    pub(crate) strangers: usize,
    pub(crate) seconds: f64,
}

impl Account {
    /// Holds a campaign against the mails that each address of its audience got.
    pub(crate) fn new(campaign: Campaign, audience: &[String], left: String, got: &Counts, seconds: f64) -> Self {
        let of = |email: &String| got.by_recipient.get(&email.to_lowercase()).copied().unwrap_or(0);
        let with = |wanted: fn(usize) -> bool| audience.iter().filter(|email| wanted(of(email))).count();
        let (exactly_one, none, several) = (with(|n| n == 1), with(|n| n == 0), with(|n| n > 1));
        Self {
            campaign: campaign.id,
            subscribers: audience.len(),
            total: campaign.total,
            counts: campaign.counts,
            left,
            mails: got.total,
            exactly_one,
            none,
            several,
            strangers: got.by_recipient.len() - (exactly_one + several),
            seconds: (seconds * 10.0).round() / 10.0,
        }
    }

    /// An error unless it adds up, says what is expected of some states, and agrees with the mailbox: one mail for everybody but
    /// the one who left.
    pub(crate) fn check(&self, expected: &[(&str, u64)]) -> anyhow::Result<()> {
        let count = |state: &str| self.counts.get(state).copied().unwrap_or(0);
        let adds_up = self.counts.values().sum::<u64>() == self.total && self.total == self.subscribers as u64;
        let as_expected = expected.iter().all(|(state, number)| count(state) == *number);
        let agrees = self.exactly_one + 1 == self.subscribers && self.none == 1 && self.strangers == 0;
        if !(adds_up && as_expected && agrees) {
            bail!("the account does not add up, or the mailbox does not agree with it");
        }
        Ok(())
    }

    /// Shows it.
    pub(crate) fn show(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print::json(self).context("standard output");
        }
        line(format_args!("\nCampaign {}: {} s from its start to its end", self.campaign, self.seconds))?;
        for (state, number) in self.counts.iter().filter(|(_, number)| **number > 0) {
            line(format_args!("  {state:<12} {number:>6}"))?;
        }
        line(format_args!("  {:<12} {:>6}   of {} subscribers", "total", self.total, self.subscribers))?;
        line(format_args!("In the mailbox: {} mails of this campaign", self.mails))?;
        line(format_args!(
            "  {} addresses got exactly one, {} none ({} had left), {} several; {} got one without subscribing",
            self.exactly_one, self.none, self.left, self.several, self.strangers
        ))?;
        Ok(())
    }
}
