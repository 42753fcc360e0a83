use crate::ports::PortError;
use std::sync::{Arc, Mutex, PoisonError};

/// A fault that a port may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The call is refused and nothing happens.
    Refuse,
    /// The call is carried out and its answer is lost.
    LoseAnswer,
    /// The process ends before the call.
    DieBefore,
    /// The process ends after the call was carried out and before it hears of it.
    DieAfter,
}

type Dice = Box<dyn FnMut(&'static str) -> f64 + Send>;
/// The dice, and the parts of all calls that are refused and whose answers are lost.
type Plan = (Dice, f64, f64);

/// Which call ends its maker, how many of them from now, and how.
type Doom = (&'static str, usize, Fault);

/// What goes wrong with the calls of a port: nothing, unless it is told to.
#[derive(Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Option<Plan>>>,
    script: Arc<Mutex<Vec<(&'static str, Fault)>>>,
    dooms: Arc<Mutex<Vec<Doom>>>,
}

impl Faults {
    /// Refuses a part of all calls and loses the answer of another part. `dice` draws a number from 0 to 1 for each call.
    pub fn at_random(&self, refuse: f64, lose: f64, dice: impl FnMut(&'static str) -> f64 + Send + 'static) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some((Box::new(dice), refuse, lose));
    }

    /// From now on nothing goes wrong.
    pub fn none(&self) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.dooms.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The next call of this name is refused.
    pub fn refuse_next(&self, call: &'static str) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push((call, Fault::Refuse));
    }

    /// The next call of this name is carried out and its answer is lost.
    pub fn lose_next_answer(&self, call: &'static str) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push((call, Fault::LoseAnswer));
    }

    /// Whoever makes the `nth` call of this name from now on, from 1, ends before it: the call never returns.
    pub fn die_before(&self, call: &'static str, nth: usize) {
        self.doom(call, nth, Fault::DieBefore);
    }

    /// Whoever makes the `nth` call of this name from now on, from 1, ends after it was carried out.
    pub fn die_after(&self, call: &'static str, nth: usize) {
        self.doom(call, nth, Fault::DieAfter);
    }

    fn doom(&self, call: &'static str, nth: usize, fault: Fault) {
        self.dooms.lock().unwrap_or_else(PoisonError::into_inner).push((call, nth, fault));
    }

    /// Whether this is the call whose maker ends here.
    fn dies(&self, call: &'static str, fault: Fault) -> bool {
        let mut dooms = self.dooms.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = dooms.iter().position(|(doomed, _, how)| (*doomed, *how) == (call, fault)) else { return false };
        dooms[at].1 -= 1;
        let now = dooms[at].1 == 0;
        if now {
            dooms.remove(at);
        }
        now
    }

    fn take(&self, call: &'static str, fault: Fault) -> bool {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = script.iter().position(|entry| *entry == (call, fault)) {
            script.remove(at);
            return true;
        }
        drop(script);
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match plan.as_mut() {
            Some((dice, refuse, lose)) => {
                let part = if fault == Fault::Refuse { *refuse } else { *lose };
                part > 0.0 && dice(call) < part
            }
            None => false,
        }
    }

    /// To be called before a call is carried out. Yields, so that other tasks may come in between.
    ///
    /// # Errors
    /// When the call is to be refused.
    pub async fn before(&self, call: &'static str) -> Result<(), PortError> {
        tokio::task::yield_now().await;
        if self.dies(call, Fault::DieBefore) {
            std::future::pending::<()>().await;
        }
        if self.take(call, Fault::Refuse) {
            return Err(PortError::Throttled(anyhow::anyhow!("{call}: refused by the test")));
        }
        Ok(())
    }

    /// To be called after a call was carried out. Yields, so that a task can be ended in between.
    ///
    /// # Errors
    /// When the answer is to be lost.
    pub async fn after(&self, call: &'static str) -> Result<(), PortError> {
        tokio::task::yield_now().await;
        if self.dies(call, Fault::DieAfter) {
            std::future::pending::<()>().await;
        }
        if self.take(call, Fault::LoseAnswer) {
            return Err(PortError::Unavailable(anyhow::anyhow!("{call}: the answer was lost by the test")));
        }
        Ok(())
    }
}
