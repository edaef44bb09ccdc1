//! Parts of a reading.

use std::time::Duration;

use aplomb_core::{Dimension, Reading};

/// A reading of whatever is known.
pub(super) fn reading(
    dimension: Dimension,
    window: Option<Duration>,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
) -> Reading {
    let mut reading = Reading::of(dimension);
    if let Some(limit) = limit {
        reading = reading.with_limit(limit);
    }
    if let Some(remaining) = remaining {
        reading = reading.with_remaining(remaining);
    }
    if let Some(reset) = reset {
        reading = reading.with_reset(reset);
    }
    if let Some(window) = window {
        reading = reading.with_window(window);
    }
    reading
}

/// A count, without decimals, parameters or further items of a list. Negative numbers mean "unknown" and are ignored.
pub(super) fn number(text: &str) -> Option<u64> {
    let (mut number, mut digits) = (0_u64, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => number = number.checked_mul(10)?.checked_add((byte - b'0').into())?,
            b'.' | b',' | b';' => break,
            _ => return None,
        }
        digits += 1;
    }
    (digits > 0).then_some(number)
}
