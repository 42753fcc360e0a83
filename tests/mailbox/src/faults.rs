//! Faults on request (`POST /faults`): what SES, the network or the event path may do wrong, drawn from a seed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::App;
use crate::api::Problem;

/// How many are hit: a share of all (0 to 1), or the next so many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// Each with this probability.
    Share(f64),
    /// Each, until so many were hit.
    Next {
        /// How many are left.
        next: u64,
    },
}

impl Default for Amount {
    fn default() -> Self {
        Self::Share(0.0)
    }
}

/// What goes wrong from now on. `{}` is nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Calls refused as too fast; the mail is not accepted.
    pub throttle: Amount,
    /// Calls refused for good; the mail is not accepted.
    pub refuse: Amount,
    /// Calls whose mail is accepted, but whose connection breaks instead of the answer.
    pub drop_answer: Amount,
    /// Recipients, but the simulator's, whose mail comes back for good.
    pub bounce: Amount,
    /// Recipients, but the simulator's, who call the mail spam.
    pub complain: Amount,
    /// Mails whose events come in the reverse order.
    pub reorder: Amount,
    /// Events that never come.
    pub lose: Amount,
    /// Events that come twice, the second time `delay_ms` later.
    pub repeat: Amount,
    /// Events that come `delay_ms` later.
    pub delay: Amount,
    /// In milliseconds.
    pub delay_ms: u64,
    /// Which are hit follows from it, and from the order in which they come.
    pub seed: u64,
}

impl Default for Faults {
    fn default() -> Self {
        let none = Amount::default();
        Self {
            throttle: none,
            refuse: none,
            drop_answer: none,
            bounce: none,
            complain: none,
            reorder: none,
            lose: none,
            repeat: none,
            delay: none,
            delay_ms: 5_000,
            seed: 0,
        }
    }
}

/// One of [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttle,
    Refuse,
    DropAnswer,
    Bounce,
    Complain,
    Reorder,
    Lose,
    Repeat,
    Delay,
}

impl Fault {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Throttle, "throttle"),
        (Self::Refuse, "refuse"),
        (Self::DropAnswer, "drop_answer"),
        (Self::Bounce, "bounce"),
        (Self::Complain, "complain"),
        (Self::Reorder, "reorder"),
        (Self::Lose, "lose"),
        (Self::Repeat, "repeat"),
        (Self::Delay, "delay"),
    ];
}

impl Faults {
    fn amount(&mut self, fault: Fault) -> &mut Amount {
        match fault {
            Fault::Throttle => &mut self.throttle,
            Fault::Refuse => &mut self.refuse,
            Fault::DropAnswer => &mut self.drop_answer,
            Fault::Bounce => &mut self.bounce,
            Fault::Complain => &mut self.complain,
            Fault::Reorder => &mut self.reorder,
            Fault::Lose => &mut self.lose,
            Fault::Repeat => &mut self.repeat,
            Fault::Delay => &mut self.delay,
        }
    }

    fn are_shares(&mut self) -> bool {
        Fault::ALL.iter().all(|(fault, _)| match self.amount(*fault) {
            Amount::Share(share) => (0.0..=1.0).contains(share),
            Amount::Next { .. } => true,
        })
    }
}

/// Draws whether a fault happens, and counts how often it did.
#[derive(Default)]
pub(crate) struct Disturbance(Mutex<Drawn>);

#[derive(Default)]
struct Drawn {
    faults: Faults,
    dice: fastrand::Rng,
    happened: [u64; Fault::ALL.len()],
}

impl Disturbance {
    pub(crate) fn set(&self, faults: Faults) {
        let dice = fastrand::Rng::with_seed(faults.seed);
        *self.lock() = Drawn { faults, dice, happened: Default::default() };
    }

    /// Whether this fault happens now.
    pub(crate) fn hits(&self, fault: Fault) -> bool {
        let mut drawn = self.lock();
        let Drawn { faults, dice, happened } = &mut *drawn;
        let hit = match faults.amount(fault) {
            Amount::Share(share) => *share > 0.0 && dice.f64() < *share,
            Amount::Next { next: 0 } => false,
            Amount::Next { next } => {
                *next -= 1;
                true
            }
        };
        happened[fault as usize] += u64::from(hit);
        hit
    }

    pub(crate) fn delay_ms(&self) -> u64 {
        self.lock().faults.delay_ms
    }

    /// The faults as they are by now, and how often each has happened since they were asked for.
    fn told(&self) -> Value {
        let drawn = self.lock();
        let happened: serde_json::Map<String, Value> = Fault::ALL
            .iter()
            .map(|(fault, name)| ((*name).to_owned(), drawn.happened[*fault as usize].into()))
            .collect();
        json!({ "faults": drawn.faults, "happened": happened })
    }

    fn lock(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/faults", get(told).post(set))
}

async fn told(State(app): State<App>) -> Json<Value> {
    Json(app.disturbance.told())
}

async fn set(State(app): State<App>, faults: Result<Json<Faults>, JsonRejection>) -> Result<Json<Value>, Problem> {
    let known = "A fault is a share from 0 to 1 or {\"next\": <count>}. There are throttle, refuse, drop_answer, bounce, \
                 complain, reorder, lose, repeat and delay, and the numbers delay_ms and seed";
    let refused = Problem(StatusCode::UNPROCESSABLE_ENTITY, known);
    let Ok(Json(mut faults)) = faults else { return Err(refused) };
    if !faults.are_shares() {
        return Err(refused);
    }
    app.disturbance.set(faults);
    Ok(Json(app.disturbance.told()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router;
    use crate::testing::{app, get_json, post};

    #[test]
    fn a_share_is_hit_as_the_seed_says_and_a_count_at_once() {
        let faults =
            Faults { throttle: Amount::Share(0.2), refuse: Amount::Next { next: 2 }, seed: 7, ..Faults::default() };
        let draw = || {
            let disturbance = Disturbance::default();
            disturbance.set(faults.clone());
            let drawn: Vec<bool> = (0..1_000).map(|_| disturbance.hits(Fault::Throttle)).collect();
            let refused: Vec<bool> = (0..4).map(|_| disturbance.hits(Fault::Refuse)).collect();
            assert_eq!(refused, [true, true, false, false]);
            assert!(!disturbance.hits(Fault::Lose), "what is not asked for does not happen");
            let told = disturbance.told();
            let hit = drawn.iter().filter(|hit| **hit).count();
            assert_eq!((&told["happened"]["throttle"], &told["happened"]["refuse"]), (&json!(hit), &json!(2)));
            assert_eq!(told["faults"]["refuse"], json!({"next": 0}));
            assert!((150..250).contains(&hit), "{hit}");
            drawn
        };
        assert_eq!(draw(), draw());
    }

    #[tokio::test]
    async fn faults_are_asked_for_and_told_and_nonsense_is_refused() {
        let router = router(app());
        for bad in ["{\"lose\": 1.5}", "{\"lose\": -0.1}", "{\"loose\": 1}", "{\"lose\": {\"last\": 1}}", "7", "x"] {
            assert_eq!(post(&router, "/faults", bad).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        }
        let (status, answer) = post(&router, "/faults", "{\"lose\": {\"next\": 3}, \"delay\": 0.5, \"seed\": 4}").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!((&answer["faults"]["lose"], &answer["faults"]["delay"]), (&json!({"next": 3}), &json!(0.5)));
        assert_eq!(get_json(&router, "/faults").await, answer);
        let (_, ended) = post(&router, "/faults", "{}").await;
        assert_eq!(ended["faults"], json!(Faults::default()));
    }
}
