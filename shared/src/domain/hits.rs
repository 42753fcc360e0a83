//! Opens and clicks of a campaign's mail. Programs open and click too: mail programs that fetch pictures ahead, scanners that
//! try every link. So each reader's hits are looked at together, and people and machines are told apart.
//!
//! What is known of a reader only grows, is the same whatever the order of the hits and however often each comes, and is
//! bounded. No address, no network and no mail program is in it.

use super::id::CampaignId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::iter::Sum;
use std::ops::{Add, Sub};

/// What happens so soon after SES accepted the mail is a scanner's doing: it still takes its way to the reader.
pub const SCANNED_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// Two links that are clicked within this are tried out, not read.
pub const BURST: SignedDuration = SignedDuration::from_secs(3);
/// Clicks that are kept of one reader: half of them the first ones, half the last ones.
pub const MAX_CLICKS: usize = 16;

/// Which reader of which campaign: a place in one of its chunks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderPlace {
    /// The campaign.
    pub campaign: CampaignId,
    /// The chunk's number.
    pub chunk: u32,
    /// The recipient's place in the chunk.
    pub place: usize,
}

/// What a hit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HitKind {
    /// The pixel was fetched.
    Open,
    /// A link was followed; a short digest of it.
    Click(u32),
}

/// An open or a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it is.
    pub kind: HitKind,
    /// When it was.
    pub at: Timestamp,
    /// Whether what fetched it says of itself that it is a program.
    pub known_machine: bool,
    /// When SES accepted the mail.
    pub sent_at: Timestamp,
}

impl Hit {
    /// Whether it is a machine's by itself, whatever else there is.
    fn is_machine(&self) -> bool {
        self.known_machine || self.at.duration_since(self.sent_at) < SCANNED_WITHIN
    }
}

/// A click that is kept: when in milliseconds, a digest of the link, whether it is a machine's by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Click(i64, u32, bool);

/// Who opened, or clicked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Nobody, as far as is known.
    #[default]
    Nobody,
    /// Programs only.
    Machines,
    /// A person.
    People,
}

impl By {
    /// The stable name; `None` is nobody.
    #[must_use]
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Nobody => None,
            Self::Machines => Some("machines"),
            Self::People => Some("people"),
        }
    }
}

/// What is known of one reader's hits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderHits {
    /// A machine opened.
    #[serde(default, rename = "m", skip_serializing_if = "std::ops::Not::not")]
    opened_by_machine: bool,
    /// What opened was no known machine, and came late enough.
    #[serde(default, rename = "p", skip_serializing_if = "std::ops::Not::not")]
    opened_by_person: bool,
    /// The clicks.
    #[serde(default, rename = "c", skip_serializing_if = "BTreeSet::is_empty")]
    clicks: BTreeSet<Click>,
    /// There were more, between the first and the last ones.
    #[serde(default, rename = "g", skip_serializing_if = "std::ops::Not::not")]
    gap: bool,
}

impl ReaderHits {
    /// What is known with these hits too.
    #[must_use]
    pub fn with<'h>(&self, hits: impl IntoIterator<Item = &'h Hit>) -> Self {
        let mut known = self.clone();
        for hit in hits {
            match hit.kind {
                HitKind::Open if hit.is_machine() => known.opened_by_machine = true,
                HitKind::Open => known.opened_by_person = true,
                HitKind::Click(link) => {
                    known.clicks.insert(Click(hit.at.as_millisecond(), link, hit.is_machine()));
                    if known.clicks.len() > MAX_CLICKS
                        && let Some(middle) = known.clicks.iter().nth(MAX_CLICKS / 2).copied()
                    {
                        known.clicks.remove(&middle);
                        known.gap = true;
                    }
                }
            }
        }
        known
    }

    /// Who clicked. A click is a machine's when it is so by itself, or when another link was clicked within [`BURST`] of it. Of
    /// one so close to the clicks that are not kept nobody knows, and it counts as a machine's.
    #[must_use]
    pub fn clicked(&self) -> By {
        let burst = i64::try_from(BURST.as_millis()).unwrap_or(i64::MAX);
        let edges = self.gap.then(|| {
            let mut inner = self.clicks.iter().skip(MAX_CLICKS / 2 - 1).map(|click| click.0);
            (inner.next().unwrap_or(i64::MIN), inner.next().unwrap_or(i64::MAX))
        });
        let by_person = |click: &&Click| {
            let Click(at, link, machine) = **click;
            let beside = |other: &Click| other.1 != link && (other.0 - at).abs() <= burst;
            let at_the_gap = edges.is_some_and(|(from, to)| at >= from - burst && at <= to + burst);
            !machine && !at_the_gap && !self.clicks.iter().any(beside)
        };
        if self.clicks.is_empty() {
            By::Nobody
        } else if self.clicks.iter().any(|click| by_person(&click)) {
            By::People
        } else {
            By::Machines
        }
    }

    /// Who opened. Whoever clicks has opened, also where pictures are not shown; a machine that clicks need not have.
    #[must_use]
    pub fn opened(&self) -> By {
        if self.opened_by_person || self.clicked() == By::People {
            By::People
        } else if self.opened_by_machine {
            By::Machines
        } else {
            By::Nobody
        }
    }

    /// Its part of the campaign's counts.
    #[must_use]
    pub fn counts(&self) -> HitCounts {
        let (opened, clicked) = (self.opened(), self.clicked());
        HitCounts {
            opened_people: i64::from(opened == By::People),
            opened_machines: i64::from(opened == By::Machines),
            clicked_people: i64::from(clicked == By::People),
            clicked_machines: i64::from(clicked == By::Machines),
        }
    }
}

/// How many of a campaign's readers opened and clicked: each is counted with people or with machines, never with both. One
/// store keeps the counts in several parts, of which each may be below zero; their sum is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HitCounts {
    /// Opened by a person.
    pub opened_people: i64,
    /// Opened by machines only.
    pub opened_machines: i64,
    /// Clicked by a person.
    pub clicked_people: i64,
    /// Clicked by machines only.
    pub clicked_machines: i64,
}

impl HitCounts {
    /// The stable names and values, in one order.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, i64); 4] {
        [
            ("opened_people", self.opened_people),
            ("opened_machines", self.opened_machines),
            ("clicked_people", self.clicked_people),
            ("clicked_machines", self.clicked_machines),
        ]
    }

    /// The counts from values by stable name.
    #[must_use]
    pub fn from_fields(value: impl Fn(&str) -> i64) -> Self {
        Self {
            opened_people: value("opened_people"),
            opened_machines: value("opened_machines"),
            clicked_people: value("clicked_people"),
            clicked_machines: value("clicked_machines"),
        }
    }

    fn combined(self, other: Self, with: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            opened_people: with(self.opened_people, other.opened_people),
            opened_machines: with(self.opened_machines, other.opened_machines),
            clicked_people: with(self.clicked_people, other.clicked_people),
            clicked_machines: with(self.clicked_machines, other.clicked_machines),
        }
    }
}

impl Add for HitCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.combined(other, |a, b| a + b)
    }
}

impl Sub for HitCounts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.combined(other, |a, b| a - b)
    }
}

impl Sum for HitCounts {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
#[path = "hits_tests.rs"]
mod tests;
