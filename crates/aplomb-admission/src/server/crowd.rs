//! Whether calls are refused because too many are in flight.

/// Calls, by how many others were in flight when they were sent: accepted, and refused.
///
/// A server that takes `n` calls at a time accepts those that find fewer than `n` others, and refuses the rest, whenever they
/// come. Chance does not ask how many there are; and a rate gives calls way again as time passes, not as others end.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    accepted: [u8; LEVELS],
    refused: [u8; LEVELS],
    total: u16,
}

/// A limit of so many or more is not found this way.
const LEVELS: usize = 64;

/// So many calls are remembered; then all counts are halved.
const REMEMBERED: u16 = 200;

/// The least numbers of accepted and of refused calls that show a limit.
const ACCEPTED: u32 = 8;
const REFUSED: u32 = 12;

/// The share of calls that may contradict it: an answer that was on its way when the next call was sent.
const CONTRADICTING: f64 = 0.1;

impl Default for Crowd {
    fn default() -> Self {
        Self { accepted: [0; LEVELS], refused: [0; LEVELS], total: 0 }
    }
}

impl Crowd {
    /// A call was accepted that found so many others in flight.
    pub(super) fn accepted(&mut self, others: u16) {
        self.count(others, true);
    }

    /// A call was refused that found so many others in flight.
    pub(super) fn refused(&mut self, others: u16) {
        self.count(others, false);
    }

    fn count(&mut self, others: u16, accepted: bool) {
        if self.total >= REMEMBERED {
            let counts = self.accepted.iter_mut().chain(&mut self.refused);
            self.total = counts
                .map(|count| {
                    *count /= 2;
                    u16::from(*count)
                })
                .sum();
        }
        let level = usize::from(others).min(LEVELS - 1);
        let count = if accepted {
            &mut self.accepted[level]
        } else {
            &mut self.refused[level]
        };
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// How many calls the server takes at a time, if that explains who is accepted and who is refused.
    pub(super) fn limit(&self) -> Option<u32> {
        let sum = |counts: &[u8]| counts.iter().map(|count| u32::from(*count)).sum::<u32>();
        let (mut below, mut refused_below) = (0, 0);
        let (all_accepted, all_refused) = (sum(&self.accepted), sum(&self.refused));
        let mut best = None;
        for limit in 1..LEVELS {
            below += u32::from(self.accepted[limit - 1]);
            refused_below += u32::from(self.refused[limit - 1]);
            let contradicting = refused_below + (all_accepted - below);
            if best.is_none_or(|(_, least, _)| contradicting < least) {
                best = Some((limit, contradicting, below));
            }
        }
        let (limit, contradicting, accepted) = best?;
        let is_clear = f64::from(contradicting) <= CONTRADICTING * f64::from(all_accepted + all_refused);
        let is_seen = accepted >= ACCEPTED && all_refused >= REFUSED + contradicting;
        (is_clear && is_seen).then(|| u32::try_from(limit).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn a_limit_of_places_is_found_wherever_calls_come_from() {
        for limit in [1, 2, 8, 40] {
            let (mut crowd, mut random) = (Crowd::default(), StdRng::seed_from_u64(1));
            for _ in 0..200 {
                let others = random.random_range(0..2 * limit);
                if others < limit {
                    crowd.accepted(others);
                } else {
                    crowd.refused(others);
                }
            }
            assert_eq!(crowd.limit(), Some(limit.into()));
        }
    }

    #[test]
    fn chance_is_no_limit() {
        for share in [0.05, 0.2, 0.5, 0.9] {
            for seed in 0..200 {
                let (mut crowd, mut random) = (Crowd::default(), StdRng::seed_from_u64(seed));
                for _ in 0..random.next_u32() % 300 {
                    let others = random.random_range(0..20);
                    if random.random_bool(share) {
                        crowd.refused(others);
                    } else {
                        crowd.accepted(others);
                    }
                    assert_eq!(crowd.limit(), None, "{share} {seed}");
                }
            }
        }
    }

    #[test]
    fn a_few_calls_show_nothing() {
        let mut crowd = Crowd::default();
        for others in 0..8 {
            if others < 4 {
                crowd.accepted(others);
            } else {
                crowd.refused(others);
            }
        }
        assert_eq!(crowd.limit(), None);
    }
}
