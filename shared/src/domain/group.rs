//! Jobs that are waited for together: when the last of them is over, one more job runs.
//!
//! A group is a set of the members that are not over yet. A member leaves the set when it first reaches a final state and
//! never comes back, however often that is told; so the set is empty once, whatever is repeated.

use super::id::{GroupId, InvalidId, JobId, Tenant};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Most jobs of a group.
pub const MAX_MEMBERS: u16 = 100;

/// A job's place in a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// Which group.
    pub group: GroupId,
    /// Which of its jobs, from 0.
    pub index: u16,
}

impl Member {
    /// The job that has this place, always the same.
    #[must_use]
    pub fn job(&self) -> JobId {
        JobId::derived(&["group", self.group.as_str(), &self.index.to_string()])
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.index)
    }
}

impl FromStr for Member {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId::new("a member of a group");
        let (group, index) = text.split_once('/').ok_or_else(|| wrong.clone())?;
        let index = index.parse().ok().filter(|index| *index < MAX_MEMBERS).ok_or(wrong)?;
        Ok(Self { group: group.parse()?, index })
    }
}

impl TryFrom<String> for Member {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

/// A group as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its identifier.
    pub id: GroupId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What was asked for: tells a repeat from another request under the same key.
    pub fingerprint: String,
    /// How many jobs it has, 1 to [`MAX_MEMBERS`].
    pub size: u16,
    /// The jobs that are not over yet.
    pub open: BTreeSet<u16>,
    /// The job that runs when all are over. Only who made the group reads it.
    pub on_complete: Value,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When all its jobs were on their queues. Without it, who asked for the group was not answered.
    pub accepted_at: Option<Timestamp>,
    /// When it was given up, because its jobs were not all taken and nobody can ask again.
    pub abandoned_at: Option<Timestamp>,
    /// When its last job was over and the one that follows was on its queue.
    pub completed_at: Option<Timestamp>,
}

impl Group {
    /// Its jobs, in their order.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        (0..self.size).map(|index| self.member(index).job())
    }

    /// One of its places.
    #[must_use]
    pub fn member(&self, index: u16) -> Member {
        Member { group: self.id.clone(), index }
    }

    /// The job that runs when all are over, always the same.
    #[must_use]
    pub fn completion(&self) -> JobId {
        JobId::derived(&["group-completion", self.id.as_str()])
    }

    /// Whether the job that follows is to be submitted now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.open.is_empty() && self.completed_at.is_none() && self.abandoned_at.is_none()
    }

    /// Whether its jobs have all been taken, told by its maker or by the jobs themselves.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted_at.is_some() || self.open.is_empty()
    }
}

/// The group of this request: derived from the caller's key, so that a repeat finds it.
#[must_use]
pub fn derived_id(tenant: &Tenant, key: &str) -> GroupId {
    GroupId::derived(&["group", tenant.as_str(), key])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_reads_back_and_nothing_else_does() {
        for wrong in ["", "grp_1", "grp_1/", "grp_1/100", "grp_1/-1", "job_1/1", "grp_1/1/1", "grp_1/ 1"] {
            assert!(wrong.parse::<Member>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_place_has_a_job_of_its_own(key in ".*", a in 0..MAX_MEMBERS, b in 0..MAX_MEMBERS) {
            let group = derived_id(&Tenant::parse("t").unwrap(), &key);
            let [a, b] = [a, b].map(|index| Member { group: group.clone(), index });
            prop_assert_eq!(a.job() == b.job(), a == b);
            prop_assert_eq!(a.to_string().parse::<Member>().unwrap(), a);
        }
    }
}
