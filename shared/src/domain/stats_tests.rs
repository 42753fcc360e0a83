use super::*;
use crate::domain::change::Shard;
use crate::domain::job::{Carrier, Event, JobError, transition};
use crate::testing::conformance::queued_job;
use crate::testing::history::{History, history};
use proptest::prelude::*;
use std::time::Duration;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn any_history() -> impl Strategy<Value = History> {
    (1_usize..12, 0_usize..150, any::<u64>()).prop_map(|(jobs, steps, seed)| {
        let mut random = fastrand::Rng::with_seed(seed);
        history("t", jobs, steps, now(), || random.f64())
    })
}

/// Pages as a table keeps them.
#[derive(Default)]
struct Book {
    counts: BTreeMap<Page, Counts>,
    last: BTreeMap<(Page, Shard), Sequence>,
}

impl Book {
    /// Takes in a batch of one shard. Pages for which `written` says no are not written, as when the process dies.
    fn tell(&mut self, shard: &Shard, batch: &[Change], mut written: impl FnMut() -> bool) {
        for (page, entries) in pages(batch) {
            if !written() {
                continue;
            }
            let place = (page.clone(), shard.clone());
            let Some((last, counts)) = after(self.last.get(&place), &entries) else { continue };
            self.last.insert(place, last);
            let kept = self.counts.entry(page).or_default();
            for (count, by) in counts {
                *kept.entry(count).or_default() += by;
            }
        }
    }

    /// What is not nothing.
    fn sums(&self) -> BTreeMap<Page, Counts> {
        let mut sums = self.counts.clone();
        sums.values_mut().for_each(|counts| counts.retain(|_, by| *by != 0));
        sums.retain(|_, counts| !counts.is_empty());
        sums
    }
}

/// The shards of a history: each job has its own for its whole life.
fn shards(history: &History, shards: u8) -> BTreeMap<Shard, Vec<Change>> {
    let mut by_shard: BTreeMap<Shard, Vec<Change>> = BTreeMap::new();
    for change in &history.changes {
        let job = change.after().or(change.before()).unwrap();
        let shard = job.id.as_str().bytes().last().unwrap() % shards;
        by_shard.entry(Shard::new(shard.to_string())).or_default().push(change.clone());
    }
    by_shard
}

fn once(history: &History) -> BTreeMap<Page, Counts> {
    let mut book = Book::default();
    book.tell(&Shard::new("one"), &history.changes, || true);
    book.sums()
}

proptest! {
    #[test]
    fn the_counts_are_the_states(history in any_history()) {
        let mut expected: BTreeMap<Page, Counts> = BTreeMap::new();
        for job in &history.jobs {
            let count = Count { kind: job.kind.clone(), what: What::In(job.state) };
            *expected.entry(Page::States(job.tenant.clone())).or_default().entry(count).or_default() += 1;
        }
        let mut states = once(&history);
        states.retain(|page, _| matches!(page, Page::States(_)));
        prop_assert_eq!(states, expected);
    }

    #[test]
    fn every_attempt_that_began_has_ended_or_runs(history in any_history()) {
        let mut happened: BTreeMap<Happened, i64> = BTreeMap::new();
        let (mut waited, mut ran) = (0, 0);
        for (count, by) in once(&history).into_values().flatten() {
            match count.what {
                What::Happened(what) => *happened.entry(what).or_default() += by,
                What::Waited(_) => waited += by,
                What::Ran(_) => ran += by,
                What::In(_) => {}
            }
        }
        let of = |what| happened.get(&what).copied().unwrap_or(0);
        prop_assert_eq!(of(Happened::Started), waited);
        let running = history.jobs.iter().filter(|job| job.state == State::Running).count();
        let running = i64::try_from(running).unwrap();
        // Every run is in the histogram but those that crashed or were put off.
        prop_assert_eq!(of(Happened::Started), ran + of(Happened::Snoozed) + of(Happened::Crashed) + running);
    }

    /// Shards come in any order among each other; batches of any size, each told again from any place, and written in part.
    #[test]
    fn whatever_is_told_again_counts_once(history in any_history(), seed: u64, count in 1_u8..4) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut book = Book::default();
        let mut left: Vec<(Shard, Vec<Change>, usize)> =
            shards(&history, count).into_iter().map(|(shard, changes)| (shard, changes, 0)).collect();
        while !left.is_empty() {
            let at = random.usize(..left.len());
            let (shard, changes, done) = &mut left[at];
            let end = (*done + random.usize(1..8)).min(changes.len());
            // The same batch until it is written whole; then some of it once more, from anywhere, even out of order.
            while random.f64() < 0.5 {
                book.tell(shard, &changes[*done..end], || random.f64() < 0.5);
            }
            book.tell(shard, &changes[*done..end], || true);
            while random.f64() < 0.3 {
                let from = random.usize(..end);
                book.tell(shard, &changes[from..random.usize(from..end) + 1], || true);
            }
            *done = end;
            if *done == changes.len() {
                left.remove(at);
            }
        }
        prop_assert_eq!(book.sums(), once(&history));
    }

    #[test]
    fn a_count_reads_back(kind in "[a-z0-9-]{1,20}", text in ".*") {
        let all = State::ALL.map(What::In).into_iter().chain(Happened::ALL.map(What::Happened));
        let all = all.chain([What::Waited(0), What::Waited(15), What::Ran(0), What::Ran(15)]);
        for what in all {
            let count = Count { kind: kind.clone(), what };
            prop_assert_eq!(Count::parse(&count.to_string()), Some(count));
        }
        if let Some(count) = Count::parse(&text) {
            prop_assert_eq!(count.to_string(), text);
        }
    }
}

/// What is counted when these things happen to a job, each so many seconds after it was accepted.
#[track_caller]
fn counts_of(steps: &[(Event, u64)]) -> Vec<String> {
    let mut job = queued_job("1", now());
    let mut told = Vec::new();
    for (event, seconds) in steps {
        let next = transition(&job, event, now() + Duration::from_secs(*seconds)).expect("it is possible");
        told = happened(Some(&job), &next);
        job = next;
    }
    told.into_iter().map(|what| Count { kind: "k".into(), what }.to_string().split_off(2)).collect()
}

#[test]
fn waits_and_runs_are_measured_from_when_a_job_could_have_begun() {
    let later = |seconds| now() + Duration::from_secs(seconds);
    let claim = |seconds| (Event::Claim { lease_until: later(seconds + 60), owner: 1 }, seconds);
    let error = JobError::new("transient", "no", 1, now());
    assert_eq!(counts_of(&[claim(2)]), ["n.started", "w.7"]);
    assert_eq!(counts_of(&[claim(2), (Event::Succeed { fence: 1, result: None }, 3)]), ["n.succeeded", "r.6"]);
    let back =
        |spent| Event::GiveBack { fence: 1, run_at: later(100), spent, by: Carrier::Queue, error: Some(error.clone()) };
    assert_eq!(counts_of(&[claim(2), (back(true), 3)]), ["n.retried", "r.6"]);
    assert_eq!(counts_of(&[claim(2), (back(false), 3)]), ["n.snoozed"]);
    // The wait that was asked for is no wait.
    assert_eq!(counts_of(&[claim(2), (back(true), 3), claim(100)]), ["n.started", "w.0"]);
    // Nor is the lease of the worker that died.
    assert_eq!(counts_of(&[claim(2), claim(63)]), ["n.crashed", "n.started", "w.6"]);
    let condemn = Event::Condemn { error: error.clone() };
    assert_eq!(counts_of(&[claim(2), (condemn.clone(), 63)]), ["n.crashed", "n.dead"]);
    assert_eq!(counts_of(&[(condemn, 63)]), ["n.dead"]);
    assert_eq!(
        counts_of(&[(Event::Cancel, 1), (Event::Retry { payload: None, death: None }, 2)]),
        Vec::<String>::new()
    );
}

#[test]
fn a_bucket_holds_its_bound() {
    let of = |ms| bucket(SignedDuration::from_millis(ms));
    assert_eq!([of(-5), of(0), of(10), of(11), of(3_600_000), of(3_600_001)], [0, 0, 0, 1, 14, 15]);
}
