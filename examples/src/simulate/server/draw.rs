//! Random draws as a pure function: the fate of the `k`-th attempt of a prompt does not depend on others.

/// The draws of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The draws of the `attempt`-th request for a prompt; `of` distinguishes several of them.
    pub(crate) const fn new(seed: u64, prompt: u64, attempt: u32, of: u64) -> Self {
        let words = [seed, prompt, attempt as u64, of];
        let (mut state, mut n) = (0x9e37_79b9_7f4a_7c15, 0);
        while n < words.len() {
            state = mix(state ^ words[n]);
            n += 1;
        }
        Self(state)
    }

    /// A number from 0 to 1, 1 excluded.
    pub(crate) fn share(self) -> f64 {
        unit(self.0)
    }

    /// A number from the standard normal distribution, by the method of Box and Muller.
    pub(crate) fn normal(self) -> f64 {
        let (a, b) = (1.0 - unit(self.0), unit(mix(self.0)));
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finalizer of SplitMix64.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_spread_evenly_and_repeat() {
        let draw = |n| Draw::new(1, n, 0, 0).share();
        let below = (0..10_000).filter(|n| draw(*n) < 0.25).count();
        assert!((2_350..2_650).contains(&below), "{below}");
        assert_eq!(draw(7).to_bits(), draw(7).to_bits());
        let mean = (0..10_000).map(|n| Draw::new(1, n, 0, 0).normal()).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05, "{mean}");
    }
}
