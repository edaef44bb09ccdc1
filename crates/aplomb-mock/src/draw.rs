//! Random draws: pure functions of the seed, the prompt and the attempt.
//!
//! Written here rather than taken from a crate, so that a seed means the same faults in every version.

/// The quantity to draw, so that a prompt's faults and its latency are independent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lot {
    Fault = 1,
    Latency = 2,
    LatencySpread = 3,
    Filler = 4,
    Words = 5,
    Input = 6,
    Brownout = 7,
}

/// Returns the key of a prompt: 64 bits of FNV-1a, mixed.
pub(crate) fn key(prompt: &str) -> u64 {
    let hash = prompt.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

/// Draws 64 bits.
pub(crate) fn bits(seed: u64, key: u64, number: u64, lot: Lot) -> u64 {
    [key, number, lot as u64]
        .into_iter()
        .fold(mix(seed), |state, word| mix(state ^ mix(word)))
}

/// Draws a number in `[0, 1)`.
pub(crate) fn unit(seed: u64, key: u64, number: u64, lot: Lot) -> f64 {
    // The upper 53 bits are what an f64 holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    let mantissa = (bits(seed, key, number, lot) >> 11) as f64;
    mantissa / 9_007_199_254_740_992.0
}

/// One step of `SplitMix64` (Steele, Lea and Flood 2014).
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for n in 0..10_000_u32 {
            let drawn = unit(7, key(&format!("prompt {n}")), 1, Lot::Fault);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..10")]
            let tenth = (drawn * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|n| (880..1120).contains(n)), "{tenths:?}");
    }

    #[test]
    fn lots_seeds_and_attempts_are_independent() {
        let one = bits(1, 2, 3, Lot::Fault);
        assert_ne!(one, bits(2, 2, 3, Lot::Fault));
        assert_ne!(one, bits(1, 3, 3, Lot::Fault));
        assert_ne!(one, bits(1, 2, 4, Lot::Fault));
        assert_ne!(one, bits(1, 2, 3, Lot::Latency));
    }
}
