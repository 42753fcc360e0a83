//! What is wrong with a stack, and what to do about it.

use serde::Serialize;

use super::{
    expect::{Expected, Function, Queue},
    look::{self, Facts},
};

/// AWS's advice for the visibility timeout of a queue that a function reads, in timeouts of the function.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
const VISIBILITY: i64 = 6;
/// What the template sets, which is the most there is: a job that waits for a limit is received again and again.
const RECEIVES: i64 = 1000;
/// Fourteen days in seconds, the longest that SQS keeps a message.
const RETENTION: i64 = 1_209_600;
/// To what most findings lead.
const DEPLOY: &str = "Deploy the template again; if it does not help, somebody changed this by hand.";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weight {
    /// Work stands still, or may be lost.
    Problem,
    /// Works, but nobody would hear if it did not.
    Advice,
}

impl Weight {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Advice => "advice",
        }
    }
}

/// Something that is not as it must be.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) weight: Weight,
    /// Of what: `function millrace-echo`.
    pub(super) what: String,
    pub(super) says: String,
    pub(super) todo: String,
}

/// What is wrong, worst first.
pub(super) fn check(expected: &Expected, facts: &Facts) -> Vec<Finding> {
    let mut doctor = Doctor { expected, facts, findings: Vec::new() };
    for function in &expected.functions {
        doctor.function(function);
    }
    doctor.alarms();
    doctor.findings.sort_by_key(|finding| finding.weight);
    doctor.findings
}

struct Doctor<'a> {
    expected: &'a Expected,
    facts: &'a Facts,
    findings: Vec<Finding>,
}

impl Doctor<'_> {
    fn problem(&mut self, what: String, says: impl Into<String>, todo: impl Into<String>) {
        self.findings.push(Finding { weight: Weight::Problem, what, says: says.into(), todo: todo.into() });
    }

    fn advice(&mut self, what: String, says: impl Into<String>, todo: impl Into<String>) {
        self.findings.push(Finding { weight: Weight::Advice, what, says: says.into(), todo: todo.into() });
    }

    fn function(&mut self, function: &Function) {
        let what = || format!("function {}", function.name);
        let Some(found) = self.facts.functions.get(&function.name) else {
            return self.problem(
                what(),
                "is not there",
                "Is --stack its name, and is this the version that is deployed? Then deploy it.",
            );
        };
        // Lambda stops a function that was not called for weeks; the next call starts it.
        if !["Active", "Inactive"].contains(&found.state.as_str()) {
            let says = format!("cannot be called: its state is {}", found.state);
            self.problem(what(), says, "`aws lambda get-function-configuration` gives the reason.");
        }
        if found.update == "Failed" {
            self.problem(what(), "could not be updated, and is still what it was", DEPLOY);
        }
        if found.may_loop == Some(false) {
            let says = "is stopped by Lambda when a job has come back some 16 times by its own messages";
            self.problem(what(), says, "Set RecursiveLoop to Allow: attempts and times to live are what bounds a job.");
        }
        for queue in &function.queues {
            self.queue(queue, function, found.timeout);
        }
        for dead in &function.dead {
            self.dead(dead);
        }
        if function.streams {
            let read = |source: &&look::Source| source.function == function.name && source.queue.is_none();
            self.reader(format!("stream of {}", function.name), function, self.facts.sources.iter().find(read));
        }
        if function.scheduled {
            let mut schedules = self.facts.schedules.iter().filter(|schedule| schedule.function == function.name);
            match schedules.next() {
                None => self.problem(what(), "is called by no schedule: nothing that is due starts", DEPLOY),
                Some(schedule) if !schedule.enabled => self.problem(
                    format!("schedule {}", schedule.name),
                    format!("is disabled: {} does not tick, and nothing that is due starts", function.name),
                    "Enable it.",
                ),
                Some(_) => {}
            }
        }
    }

    fn queue(&mut self, queue: &Queue, function: &Function, timeout: i64) {
        let what = || format!("queue {}", queue.name);
        let facts = self.facts;
        let Some(found) = facts.queues.get(&queue.name) else {
            return self.problem(what(), "is not there: its lane takes no jobs", DEPLOY);
        };
        let least = VISIBILITY * timeout + i64::from(queue.window);
        if found.visibility < least {
            let says = format!(
                "shows a message again after {} s, while {} may still hold its batch: {timeout} s for each run",
                found.visibility, function.name
            );
            self.problem(what(), says, format!("Set the visibility timeout to {least} s or more."));
        }
        match &found.redrive {
            Some((dead, receives)) if *dead == queue.dead => {
                if *receives < RECEIVES {
                    let says = format!(
                        "puts a message aside after {receives} receives, of which waiting for a limit takes many"
                    );
                    self.problem(what(), says, format!("Set maxReceiveCount to {RECEIVES}."));
                }
            }
            _ => self.problem(what(), format!("does not send its dead letters to {}", queue.dead), DEPLOY),
        }
        self.retention(&queue.name, found);
        let (own, others): (Vec<_>, Vec<_>) = facts
            .sources
            .iter()
            .filter(|source| source.queue.as_ref() == Some(&queue.name))
            .partition(|source| source.function == function.name);
        for other in others {
            let says = format!("is read by {} too, which takes messages away", other.function);
            self.problem(what(), says, "Delete that event source.");
        }
        let own = own.first().copied();
        self.reader(what(), function, own);
        let Some(own) = own else { return };
        if !own.partial {
            let says = "is read without ReportBatchItemFailures: what failed in a batch is deleted with what did not";
            self.problem(what(), says, DEPLOY);
        }
        if own.concurrency != i32::try_from(queue.concurrency).ok() {
            let now = own.concurrency.map_or_else(|| "no bound".to_owned(), |most| most.to_string());
            let says = format!("has MaximumConcurrency {now}, and the table of functions says {}", queue.concurrency);
            self.advice(what(), says, "Change infra/functions.json and deploy, so that the next deployment keeps it.");
        }
    }

    /// Whoever has to read something.
    fn reader(&mut self, what: String, function: &Function, source: Option<&look::Source>) {
        let name = &function.name;
        match source {
            None => self.problem(what, format!("has no reader: {name} is never called with what arrives"), DEPLOY),
            Some(source) if !["Enabled", "Creating", "Enabling", "Updating"].contains(&source.state.as_str()) => {
                let says = format!("has no reader: the event source of {name} is {}", source.state);
                self.problem(what, says, "Enable the event source.");
            }
            Some(source) if source.last.starts_with("PROBLEM") => {
                self.problem(what, format!("is not read: {}", source.last), format!("Look into the log of {name}."));
            }
            Some(_) => {}
        }
    }

    fn dead(&mut self, name: &str) {
        let what = || format!("dead letters {name}");
        let facts = self.facts;
        let Some(found) = facts.queues.get(name) else {
            return self.problem(what(), "have no queue: a message that cannot be read is lost", DEPLOY);
        };
        self.retention(name, found);
        let there = found.visible + found.in_flight;
        if there > 0 {
            let todo = format!("`millrace dlq list --stack {}` shows them and why.", self.expected.stack);
            self.problem(what(), format!("are waiting: about {there}"), todo);
        }
        if !facts.alarms.iter().any(|alarm| alarm.depth_of.as_deref() == Some(name)) {
            self.problem(what(), "have no alarm", DEPLOY);
        }
    }

    fn retention(&mut self, name: &str, found: &look::Queue) {
        if found.retention < RETENTION {
            let says = format!("keeps a message for {} s only, and then deletes it", found.retention);
            self.problem(format!("queue {name}"), says, format!("Set its retention period to {RETENTION} s, 14 days."));
        }
    }

    fn alarms(&mut self) {
        for alarm in self.facts.alarms.iter().filter(|alarm| alarm.ringing) {
            self.problem(format!("alarm {}", alarm.name), "is ringing", alarm.says.clone());
        }
        let deaf: Vec<&str> =
            self.facts.alarms.iter().filter(|alarm| !alarm.actions).map(|alarm| alarm.name.as_str()).collect();
        if !deaf.is_empty() {
            let says = format!("have no action, so that nobody hears them: {}", deaf.join(", "));
            self.advice("alarms".to_owned(), says, "Give them an SNS topic that somebody reads.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::look::{Alarm, Schedule, Source};

    fn expected() -> Expected {
        Expected::of("mill").unwrap()
    }

    /// Facts of a stack with nothing to find.
    fn healthy() -> Facts {
        let mut facts = Facts::default();
        for function in expected().functions {
            for queue in function.queues {
                let redrive = Some((queue.dead, RECEIVES));
                let found = look::Queue { visibility: 200, retention: RETENTION, visible: 9, in_flight: 9, redrive };
                facts.queues.insert(queue.name.clone(), found);
                let concurrency = i32::try_from(queue.concurrency).ok();
                facts.sources.push(Source { queue: Some(queue.name), concurrency, ..source(&function.name) });
            }
            for dead in function.dead {
                let found =
                    look::Queue { visibility: 30, retention: RETENTION, visible: 0, in_flight: 0, redrive: None };
                facts.alarms.push(Alarm {
                    name: dead.clone(),
                    says: "Look.".to_owned(),
                    ringing: false,
                    actions: true,
                    depth_of: Some(dead.clone()),
                });
                facts.queues.insert(dead, found);
            }
            if function.streams {
                facts.sources.push(source(&function.name));
            }
            if function.scheduled {
                let (name, function) = (function.name.clone(), function.name.clone());
                facts.schedules.push(Schedule { name, enabled: true, function });
            }
            let (state, update) = ("Active".to_owned(), "Successful".to_owned());
            facts.functions.insert(function.name, look::Function { state, update, timeout: 30, may_loop: Some(true) });
        }
        facts
    }

    fn source(function: &str) -> Source {
        Source {
            function: function.to_owned(),
            queue: None,
            state: "Enabled".to_owned(),
            partial: true,
            concurrency: None,
            last: "OK".to_owned(),
        }
    }

    /// The only finding, as one line.
    fn finding(spoil: impl FnOnce(&mut Facts)) -> String {
        let mut facts = healthy();
        spoil(&mut facts);
        let findings = check(&expected(), &facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(!findings[0].todo.is_empty());
        format!("{}: {} {}", findings[0].weight.as_str(), findings[0].what, findings[0].says)
    }

    fn echo(facts: &mut Facts) -> &mut look::Function {
        facts.functions.get_mut("mill-echo").unwrap()
    }

    fn low(facts: &mut Facts) -> &mut look::Queue {
        facts.queues.get_mut("mill-echo-low").unwrap()
    }

    fn low_source(facts: &mut Facts) -> &mut Source {
        facts.sources.iter_mut().find(|source| source.queue.as_deref() == Some("mill-echo-low")).unwrap()
    }

    fn said(found: &str, parts: &[&str]) {
        assert!(parts.iter().all(|part| found.contains(part)), "{found}");
    }

    #[test]
    fn a_healthy_stack_has_nothing_to_find() {
        let facts = healthy();
        assert!(facts.functions.len() > 5 && facts.queues.len() > 15 && facts.sources.len() > 10);
        assert!(check(&expected(), &facts).is_empty());
    }

    #[test]
    fn what_is_not_there_is_missed() {
        said(
            &finding(|facts| drop(facts.functions.remove("mill-echo"))),
            &["problem: function mill-echo is not there"],
        );
        said(&finding(|facts| drop(facts.queues.remove("mill-echo-low"))), &["queue mill-echo-low is not there"]);
        said(&finding(|facts| drop(facts.queues.remove("mill-echo-dead"))), &["mill-echo-dead have no queue"]);
        said(&finding(|facts| facts.alarms.retain(|alarm| alarm.name != "mill-echo-dead.fifo")), &["have no alarm"]);
        let tickless = |facts: &mut Facts| facts.schedules.retain(|schedule| schedule.function != "mill-clock");
        said(&finding(tickless), &["function mill-clock", "no schedule"]);
    }

    #[test]
    fn a_function_that_does_not_run_is_a_problem() {
        said(&finding(|facts| echo(facts).state = "Failed".to_owned()), &["function mill-echo", "Failed"]);
        said(&finding(|facts| echo(facts).update = "Failed".to_owned()), &["could not be updated"]);
        said(&finding(|facts| echo(facts).may_loop = Some(false)), &["stopped by Lambda"]);
        said(&finding(|facts| facts.schedules[0].enabled = false), &["problem: schedule", "is disabled"]);
    }

    #[test]
    fn a_lane_without_a_reader_is_a_problem() {
        let gone = |facts: &mut Facts| {
            facts.sources.retain(|source| source.queue.as_deref() != Some("mill-echo-low"));
        };
        said(&finding(gone), &["problem: queue mill-echo-low has no reader"]);
        said(&finding(|facts| low_source(facts).state = "Disabled".to_owned()), &["no reader", "Disabled"]);
        said(&finding(|facts| low_source(facts).last = "PROBLEM: no permission".to_owned()), &["no permission"]);
        said(&finding(|facts| low_source(facts).partial = false), &["ReportBatchItemFailures"]);
        said(&finding(|facts| low_source(facts).concurrency = None), &["advice", "no bound"]);
        let taken = |facts: &mut Facts| {
            let queue = Some("mill-echo-low".to_owned());
            facts.sources.push(Source { queue, ..source("thief") });
        };
        said(&finding(taken), &["read by thief too"]);
        let stream = |facts: &mut Facts| facts.sources.retain(|source| source.queue.is_some());
        said(&finding(stream), &["stream of mill-outbox has no reader"]);
    }

    #[test]
    fn a_queue_that_would_lose_or_repeat_work_is_a_problem() {
        // The lane waits a second for its batch to fill.
        said(&finding(|facts| low(facts).visibility = 180), &["queue mill-echo-low", "after 180 s"]);
        said(&finding(|facts| low(facts).retention = 345_600), &["keeps a message for 345600 s"]);
        said(&finding(|facts| low(facts).redrive = None), &["dead letters to mill-echo-dead"]);
        let other = |facts: &mut Facts| low(facts).redrive = Some(("other".to_owned(), RECEIVES));
        said(&finding(other), &["dead letters to mill-echo-dead"]);
        let early = |facts: &mut Facts| low(facts).redrive = Some(("mill-echo-dead".to_owned(), 5));
        said(&finding(early), &["after 5 receives"]);
    }

    #[test]
    fn dead_letters_and_alarms_that_nobody_hears_are_told() {
        let waiting = |facts: &mut Facts| facts.queues.get_mut("mill-echo-dead").unwrap().visible = 3;
        said(&finding(waiting), &["problem: dead letters mill-echo-dead are waiting: about 3"]);
        said(&finding(|facts| facts.alarms[0].ringing = true), &["problem: alarm", "is ringing"]);
        said(&finding(|facts| facts.alarms[0].actions = false), &["advice: alarms have no action"]);
    }

    #[test]
    fn the_worst_is_told_first() {
        let mut facts = healthy();
        facts.alarms[0].actions = false;
        low(&mut facts).redrive = None;
        let weights: Vec<_> = check(&expected(), &facts).iter().map(|finding| finding.weight).collect();
        assert_eq!(weights, [Weight::Problem, Weight::Advice]);
    }
}
