//! Disturbances on request, drawn from a seed.

use serde::{Deserialize, Serialize};

/// How the functions' calls are disturbed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Share of calls that are refused as too fast, 0-1.
    pub throttle: f64,
    /// Share of calls that are carried out and answered with an error, 0-1.
    pub lose_answer: f64,
    /// Which calls are hit follows from it.
    pub seed: u64,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttle,
    LoseAnswer,
}

/// Draws what happens to each call.
#[derive(Debug, Default)]
pub(crate) struct Disturb {
    faults: Faults,
    dice: fastrand::Rng,
}

impl Disturb {
    pub(crate) fn new(faults: Faults) -> Result<Self, String> {
        let Faults { throttle, lose_answer, seed } = faults;
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if !share(throttle) || !share(lose_answer) || !share(throttle + lose_answer) {
            return Err("`throttle` and `lose_answer` are shares from 0 to 1, 1 at most together".to_owned());
        }
        Ok(Self { faults, dice: fastrand::Rng::with_seed(seed) })
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }

    pub(crate) fn draw(&mut self) -> Option<Fault> {
        let Faults { throttle, lose_answer, .. } = self.faults;
        if throttle + lose_answer == 0.0 {
            return None;
        }
        match self.dice.f64() {
            x if x < throttle => Some(Fault::Throttle),
            x if x < throttle + lose_answer => Some(Fault::LoseAnswer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_calls_is_hit_and_the_seed_says_which() {
        let faults = Faults { throttle: 0.05, lose_answer: 0.01, seed: 7 };
        let draw = || {
            let mut disturb = Disturb::new(faults).unwrap();
            (0..10_000).map(|_| disturb.draw()).collect::<Vec<_>>()
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        let hit = |fault| drawn.iter().filter(|one| **one == Some(fault)).count();
        assert!((400..600).contains(&hit(Fault::Throttle)), "{}", hit(Fault::Throttle));
        assert!((50..150).contains(&hit(Fault::LoseAnswer)), "{}", hit(Fault::LoseAnswer));
        assert!(Disturb::new(Faults { throttle: 1.1, ..faults }).is_err());
        assert_eq!(Disturb::default().draw(), None);
    }
}
