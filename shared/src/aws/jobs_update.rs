//! Each event as one conditional update. The conditions say what [`crate::domain::job::transition`] says; the conformance
//! suite runs on both.

use super::dead_jobs::DEAD_OF;
use super::item::{due_shard, json, ms, n, s};
use super::jobs::{KEEP_CANCELLED, KEEP_DEAD, KEEP_SUCCEEDED};
use crate::domain::job::{Carrier, Event, JobError, State};
use crate::ports::PortError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// The parts of an UpdateItem.
pub(super) struct Update {
    pub(super) expression: String,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

/// Collects an update: every attribute is named by a placeholder, so that no reserved word can hurt.
#[derive(Default)]
struct Draft {
    set: Vec<String>,
    remove: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Draft {
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let placeholder = format!(":{name}");
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        let (left, right) = (self.name(name), self.value(name, value));
        self.set.push(format!("{left} = {right}"));
    }

    fn add(&mut self, name: &str, step: i32) {
        let (left, right) = (self.name(name), self.value(&format!("{name}_step"), n(step)));
        self.set.push(format!("{left} = {left} + {right}"));
    }

    /// Sets `name` to what the attribute `from` holds.
    fn copy(&mut self, name: &str, from: &str) {
        let (left, right) = (self.name(name), self.name(from));
        self.set.push(format!("{left} = {right}"));
    }

    fn remove(&mut self, name: &str) {
        let name = self.name(name);
        self.remove.push(name);
    }

    fn state(&mut self, state: State) {
        self.set("state", s(state.as_str()));
    }

    fn finish(mut self, condition: String) -> Update {
        let mut expression = format!("SET {}", self.set.join(", "));
        if !self.remove.is_empty() {
            expression.push_str(&format!(" REMOVE {}", self.remove.join(", ")));
        }
        self.names.retain(|placeholder, _| expression.contains(placeholder) || condition.contains(placeholder));
        Update { expression, condition, names: self.names, values: self.values }
    }

    /// The worker that holds this claim still owns the job.
    fn owned(&mut self, fence: u64) -> String {
        let (state, fence_name) = (self.name("state"), self.name("fence"));
        let (running, fence) = (self.value("running", s(State::Running.as_str())), self.value("mine", n(fence)));
        format!("{state} = {running} AND {fence_name} = {fence}")
    }

    fn end(&mut self, state: State, now: Timestamp, keep: Duration) {
        self.state(state);
        self.set("finished_at", ms(now));
        self.set("expires_at", n((now + keep).as_second()));
        for name in ["lease_until", "due_shard", "due_at"] {
            self.remove(name);
        }
    }

    fn die(&mut self, error: &JobError, now: Timestamp) -> Result<(), PortError> {
        self.end(State::Dead, now, KEEP_DEAD);
        self.copy(DEAD_OF, "tenant");
        self.set("error", json(error)?);
        Ok(())
    }
}

/// `event` at `now` as an update of the item with this key.
pub(super) fn update(pk: &str, event: &Event, now: Timestamp) -> Result<Update, PortError> {
    let mut draft = Draft::default();
    draft.set("updated_at", ms(now));
    let condition = match event {
        Event::Release { run_at } => {
            draft.state(State::Queued);
            draft.remove("due_shard");
            draft.remove("due_at");
            let scheduled = draft.value("scheduled", s(State::Scheduled.as_str()));
            let (run_at_name, found) = (draft.name("run_at"), draft.value("found", ms(*run_at)));
            format!("#state = {scheduled} AND {run_at_name} = {found}")
        }
        Event::Claim { lease_until, owner } => {
            draft.state(State::Running);
            draft.add("attempt", 1);
            draft.add("fence", 1);
            draft.set("started_at", ms(now));
            draft.set("lease_until", ms(*lease_until));
            draft.set("owner", n(*owner));
            draft.remove("due_shard");
            draft.remove("due_at");
            claimable(&mut draft, now)
        }
        Event::Heartbeat { fence, lease_until } => {
            draft.set("lease_until", ms(*lease_until));
            draft.owned(*fence)
        }
        Event::Progress { fence, progress } => {
            draft.set("progress", json(progress)?);
            draft.owned(*fence)
        }
        Event::Succeed { fence, result } => {
            draft.end(State::Succeeded, now, KEEP_SUCCEEDED);
            if let Some(result) = result {
                draft.set("result", json(result)?);
            }
            draft.owned(*fence)
        }
        Event::GiveBack { fence, run_at, spent, by, error } => {
            match by {
                Carrier::Queue => draft.state(State::Queued),
                Carrier::Clock => {
                    draft.state(State::Scheduled);
                    draft.set("due_shard", s(due_shard(pk)));
                    draft.set("due_at", ms(*run_at));
                }
            }
            draft.set("run_at", ms(*run_at));
            draft.remove("lease_until");
            if !spent {
                draft.add("attempt", -1);
            }
            if let Some(error) = error {
                draft.set("error", json(error)?);
            }
            let (owned, asked) = (draft.owned(*fence), draft.name("cancel_requested"));
            format!("{owned} AND attribute_not_exists({asked})")
        }
        Event::Bury { fence, error } => {
            draft.die(error, now)?;
            draft.owned(*fence)
        }
        Event::Condemn { error } => {
            draft.die(error, now)?;
            unowned(&mut draft, now)
        }
        Event::Cancel => {
            draft.end(State::Cancelled, now, KEEP_CANCELLED);
            unowned(&mut draft, now)
        }
        Event::AskCancel => {
            draft.set("cancel_requested", AttributeValue::Bool(true));
            let running = draft.value("running", s(State::Running.as_str()));
            let state = draft.name("state");
            format!("{state} = {running}")
        }
        Event::Stop { fence } => {
            draft.end(State::Cancelled, now, KEEP_CANCELLED);
            draft.owned(*fence)
        }
        Event::Retry { payload, death } => {
            draft.state(State::Scheduled);
            draft.set("attempt", n(0));
            draft.set("run_at", ms(now));
            draft.set("due_shard", s(due_shard(pk)));
            draft.set("due_at", ms(now));
            for name in ["finished_at", "expires_at", "start_by", "progress", "cancel_requested", DEAD_OF] {
                draft.remove(name);
            }
            if let Some(payload) = payload {
                draft.set("payload", json(payload)?);
                draft.set("edited", AttributeValue::Bool(true));
            }
            let state = draft.name("state");
            let dead = draft.value("dead", s(State::Dead.as_str()));
            match death {
                Some(death) => {
                    let (died_at, death) = (draft.name("finished_at"), draft.value("death", ms(*death)));
                    format!("{state} = {dead} AND {died_at} = {death}")
                }
                None => {
                    let cancelled = draft.value("cancelled", s(State::Cancelled.as_str()));
                    format!("{state} IN ({dead}, {cancelled})")
                }
            }
        }
    };
    Ok(draft.finish(condition))
}

/// Nobody owns it, its time has come and has not passed, it has attempts left, and nobody wants it cancelled.
fn claimable(draft: &mut Draft, now: Timestamp) -> String {
    let now = draft.value("now", ms(now));
    let states =
        [State::Queued, State::Scheduled, State::Running].map(|state| draft.value(state.as_str(), s(state.as_str())));
    let [queued, scheduled, running] = states;
    let [state, run_at, lease, start_by, attempt, max, asked] =
        ["state", "run_at", "lease_until", "start_by", "attempt", "max_attempts", "cancel_requested"]
            .map(|name| draft.name(name));
    format!(
        "{attempt} < {max} AND attribute_not_exists({asked}) AND (attribute_not_exists({start_by}) OR {start_by} > {now}) AND \
         (({state} IN ({queued}, {scheduled}) AND (attribute_not_exists({run_at}) OR {run_at} <= {now})) \
         OR ({state} = {running} AND {lease} <= {now}))"
    )
}

/// It is not final and nobody holds a live lease.
fn unowned(draft: &mut Draft, now: Timestamp) -> String {
    let now = draft.value("now", ms(now));
    let states =
        [State::Queued, State::Scheduled, State::Running].map(|state| draft.value(state.as_str(), s(state.as_str())));
    let [queued, scheduled, running] = states;
    let (state, lease) = (draft.name("state"), draft.name("lease_until"));
    format!("{state} IN ({queued}, {scheduled}) OR ({state} = {running} AND {lease} <= {now})")
}
