//! What must hold in every storm.

use super::storm::Storm;
use super::work::AtWork;
use super::*;
use crate::domain::id::JobId;

impl Storm<'_> {
    /// A final job never changes, unless somebody meddles with it.
    pub(super) fn check_ended(&mut self) {
        for job in self.world.jobs.all() {
            if job.state.is_final() && !self.meddled.contains(&job.id) {
                let first = self.ended.entry(job.id.clone()).or_insert_with(|| job.clone());
                assert_eq!(*first, job, "a final job changed");
            }
        }
    }

    /// Looks at what has become of everything.
    pub(super) fn check(&self, work: &AtWork, tally: &mut Tally) {
        for queue in self.queues() {
            assert!(queue.all().is_empty(), "messages are left: {:?}", queue.all());
        }
        for letters in ["echo-dead", "echo-dead.fifo"] {
            assert!(self.world.queues.get(letters).all().is_empty());
        }
        assert_eq!(work.shared, Vec::<JobId>::new(), "jobs with two owners at a time");
        assert_eq!(work.beside, Vec::<JobId>::new(), "jobs beside another of their ordering key");
        assert_eq!(work.strayed, Vec::<JobId>::new(), "jobs whose handler was run without a lease");
        tally.count("killed", self.killed);
        tally.count("outlived its lease", work.outlived);
        let jobs = self.world.jobs.all().into_iter().map(|job| (job.id.clone(), job));
        let jobs: BTreeMap<JobId, Job> = jobs.collect();
        self.check_accepted(&jobs, work, tally);
        self.check_order(work, tally);
        self.check_effects(&jobs, tally);
    }

    /// What was accepted has come to its end, and not before its time.
    fn check_accepted(&self, jobs: &BTreeMap<JobId, Job>, work: &AtWork, tally: &mut Tally) {
        for caller in &self.callers {
            let Some(id) = &caller.accepted else {
                tally.count("gave up", 1);
                continue;
            };
            let job = jobs.get(id).unwrap_or_else(|| panic!("{id} was accepted and is lost"));
            assert!(job.state.is_final(), "{id} was accepted and is stuck: {job:?}");
            assert_eq!(job.lane(), caller.lane());
            tally.count(caller.lane().as_str(), 1);
            if self.meddled.contains(id) {
                continue;
            }
            let wanted = job.created_at + caller.delay;
            assert!(work.first_start.get(id).is_none_or(|at| *at >= wanted), "{id} was started before its time");
            if caller.payload["fail"] == "permanent" && caller.payload["fail_attempts"].is_null() {
                assert_eq!(job.state, State::Dead, "{id} cannot succeed");
            }
        }
    }

    /// Who was accepted before another of its key asked was over before that one was started.
    fn check_order(&self, work: &AtWork, tally: &mut Tally) {
        let accepted = |id| self.callers.iter().any(|caller| caller.accepted.as_ref() == Some(id));
        for (first, second) in &self.promised {
            let meddled = self.meddled.contains(first) || self.meddled.contains(second);
            if let Some(over) = work.over_before.get(second).filter(|_| !meddled && accepted(second)) {
                assert!(over.contains(first), "{second} was started before {first}");
                tally.count("in order", 1);
            }
        }
    }

    /// Each job has its effect once at most, and once if it succeeded.
    fn check_effects(&self, jobs: &BTreeMap<JobId, Job>, tally: &mut Tally) {
        let mut mails: BTreeMap<String, usize> = BTreeMap::new();
        for (_, mail) in self.mailer.sent() {
            *mails.entry(mail.tags[0].1.clone()).or_default() += 1;
        }
        for (id, job) in jobs {
            let sent = mails.get(id.as_str()).copied().unwrap_or(0);
            assert!(sent <= 1, "{id} sent {sent} mails");
            assert!(job.attempt <= job.max_attempts, "{id} had {} attempts of {}", job.attempt, job.max_attempts);
            if let (Some(started), Some(expires)) = (job.started_at, job.expires_at) {
                assert!(started < expires, "{id} was started after its time");
            }
            match job.state {
                State::Succeeded => {
                    assert_eq!(sent, 1, "{id} succeeded without its mail");
                    tally.count("succeeded", 1);
                }
                State::Dead => tally.count(&job.error.as_ref().expect("a dead job says why").class, 1),
                State::Cancelled => tally.count("cancelled", 1),
                _ => tally.count("never queued", 1),
            }
        }
    }
}
